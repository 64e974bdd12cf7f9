"""Keep the checkpoints of logs in an S3 bucket with object lock, where nobody can remove them.

    nethical audit anchor LOG --anchor 'command:python examples/anchors/s3_object_lock.py'

Needs boto3. The bucket was made with object lock. Told by environment variables:

    ANCHOR_S3_BUCKET     the bucket
    ANCHOR_S3_DAYS       how many days each checkpoint stays locked; 400 when not set

and those that boto3 reads itself: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on.

To keep takes the rights s3:PutObject, PutObjectRetention, GetObjectRetention and those to verify:
GetObjectVersion, ListBucketVersions.

A checkpoint is the object {SHA-256 of the log's name}/{size}. A locked version can be neither
removed nor replaced until its date, but a newer version or a delete marker can be put over it. So
what is given is the oldest version, and what is listed is every object that ever was.
"""

# ruff: noqa: INP001 - a program that is started, no package

import hashlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PATIENCE = Config(
    connect_timeout=10,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 3},
)
MODE = "COMPLIANCE"  # the other one, GOVERNANCE, can be lifted by who has the right to


class Bucket:
    """The objects of one log in the bucket."""

    def __init__(self, origin: str) -> None:
        self.name = os.environ["ANCHOR_S3_BUCKET"]
        self.days = float(os.environ.get("ANCHOR_S3_DAYS", "400"))
        self.folder = hashlib.sha256(origin.encode()).hexdigest()
        self.s3 = boto3.client("s3", config=PATIENCE)

    def versions(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Give the name and version of all that was ever put there, newest first for each name."""
        pages = self.s3.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self.name, Prefix=f"{self.folder}/{prefix}"):
            for version in page.get("Versions", ()):
                yield version["Key"].rpartition("/")[2], version["VersionId"]

    def oldest(self, size: str) -> dict[str, str] | None:
        """Return what names the version that was put there first, None when there is none."""
        found = [version for name, version in self.versions(size) if name == size]
        key = f"{self.folder}/{size}"
        return {"Bucket": self.name, "Key": key, "VersionId": found[-1]} if found else None

    def keep(self, size: str, note: bytes) -> None:
        """Put a note there, if there is none, and see to it that it is locked."""
        until = datetime.now(UTC) + timedelta(days=self.days)
        if not self.oldest(size):
            try:
                self.s3.put_object(
                    Bucket=self.name,
                    Key=f"{self.folder}/{size}",
                    Body=note,
                    IfNoneMatch="*",
                    ObjectLockMode=MODE,
                    ObjectLockRetainUntilDate=until,
                )
            except ClientError as error:  # somebody was faster: then theirs is given, and compared
                if error.response["Error"]["Code"] != "PreconditionFailed":
                    raise
        version = self.oldest(size)
        if not version:
            raise ValueError(f"the bucket {self.name} does not keep what is put there")
        if not self.is_locked(version):
            retention = {"Mode": MODE, "RetainUntilDate": until}
            self.s3.put_object_retention(**version, Retention=retention)
            if not self.is_locked(version):
                raise ValueError(f"the bucket {self.name} does not lock what is put there")

    def is_locked(self, version: dict[str, str]) -> bool:
        """Return whether nobody can remove a version for now."""
        found = self.s3.head_object(**version)
        until = found.get("ObjectLockRetainUntilDate", datetime.min.replace(tzinfo=UTC))
        return found.get("ObjectLockMode") == MODE and bool(until > datetime.now(UTC))

    def give(self, size: str) -> bytes:
        """Return the note that was put there first, empty when there is none."""
        version = self.oldest(size)
        return self.s3.get_object(**version)["Body"].read() if version else b""

    def sizes(self) -> list[int]:
        """Return the sizes of all notes that were ever put there."""
        return sorted({int(name) for name, _ in self.versions("") if name.isdecimal()})


def main(verb: str, origin: str, size: str = "") -> None:
    """Do what the protocol of anchors asks for."""
    bucket = Bucket(origin)
    if verb == "keep":
        bucket.keep(size, sys.stdin.buffer.read())
    elif verb == "give":
        sys.stdout.buffer.write(bucket.give(size))
    elif verb == "list":
        sys.stdout.writelines(f"{each}\n" for each in bucket.sizes())
    else:
        raise ValueError(f"unknown verb {verb}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyError as error:
        sys.exit(f"{error} is not set")
    except (BotoCoreError, ClientError, TypeError, ValueError) as error:
        sys.exit(" ".join(str(error).split()))
