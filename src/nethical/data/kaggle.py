"""Real data sets from Kaggle, through kagglehub: pinned, checked, digested.

kagglehub brings the cache, the resume and the credentials. What it lacks is added here: every
failure in two clear lines, tries again where waiting helps, a check of what arrived, a digest of
every file, and silence: it prints to standard output, in one mode even the token.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tarfile
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nethical.canonical import file_digest
from nethical.errors import DataError, NethicalError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["CATALOGUE", "CatalogueSet", "Download", "credentials_found", "download"]

MAX_TOTAL_BYTES = 32 * 2**30
PAUSES_S = (1.0, 4.0)  # between the three tries
MAX_PAUSE_S = 60.0  # the longest that a server's Retry-After is obeyed

SLUG = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
HANDLE = re.compile(
    rf"(?P<owner>{SLUG})/(?P<name>{SLUG})(?:/versions/(?P<version>[1-9]\d{{0,8}}))?"
)
MAGIC = {".parquet": b"PAR1", ".gz": b"\x1f\x8b", ".zip": b"PK"}
TEXT = frozenset({".csv", ".tsv", ".json", ".jsonl"})
WEB_PAGE = (b"<!doctype html", b"<html")

DENIED = (401, 403)
NOT_FOUND = 404
SLOW_DOWN = 429
SERVER_FAILED = 500
TOKEN_PAGE = "https://www.kaggle.com/settings/api"  # noqa: S105 - a page, not a token

T = TypeVar("T")


@dataclass(frozen=True)
class CatalogueSet:
    """A data set that is used when credentials are there and no data was named.

    Args:
        handle: Pinned, ``owner/name/versions/N``.
        file: The file in it that holds the rows.
        label_column: The column to predict.
        positive_label: The value of it that counts as 1, as written in the file.
        encoding: Of the file.
        licence: As stated on the data set's page.
        note: What to know before using it.
    """

    handle: str
    file: str
    label_column: str
    positive_label: str
    licence: str
    note: str
    encoding: str = "utf-8"


SPAM = CatalogueSet(
    "uciml/sms-spam-collection-dataset/versions/1",
    file="spam.csv",
    label_column="v1",
    positive_label="spam",
    licence="see the data set's page; collected from sources free for research",
    note="5,572 text messages in column v2, 13 % positive; three unnamed columns are nearly empty",
    encoding="latin-1",
)
FRAUD = CatalogueSet(
    "mlg-ulb/creditcardfraud/versions/3",
    file="creditcard.csv",
    label_column="Class",
    positive_label="1",
    licence="DbCL-1.0",
    note="284,807 card payments, 30 numbers, 0.17 % positive; a sample of it has few positives",
)
CHURN = CatalogueSet(
    "blastchar/telco-customer-churn/versions/1",
    file="WA_Fn-UseC_-Telco-Customer-Churn.csv",
    label_column="Churn",
    positive_label="Yes",
    licence="data files (c) original authors (IBM sample data)",
    note="7,043 customers, numbers and categories, 27 % positive; customerID is an id",
)
CATALOGUE: Mapping[str, tuple[CatalogueSet, ...]] = {
    "heuristic": (SPAM, CHURN),
    "logistic": (SPAM, CHURN),
    "boosted": (CHURN, FRAUD),
    "anomaly": (FRAUD,),
    "simple_transformer": (SPAM,),
}


@dataclass(frozen=True)
class Download:
    """A data set that lies in kagglehub's cache.

    Args:
        handle: Pinned, ``owner/name/versions/N``, also when the request was not.
        folder: Where its files lie; not ours, so nothing is written there.
        files: Digest (``sha256:`` and hex) of each regular file, by its path in the folder,
            sorted.
    """

    handle: str
    folder: Path
    files: dict[str, str]


def credentials_found() -> bool:
    """Return whether kagglehub would log in; looks at the environment and files, not the network.

    In kagglehub's order: ``KAGGLE_API_TOKEN`` (a token, or the path of a file with it),
    ``~/.kaggle/access_token`` (or ``.txt``), ``KAGGLE_USERNAME`` with ``KAGGLE_KEY``,
    ``kaggle.json`` in ``KAGGLE_CONFIG_DIR`` (default ``~/.kaggle``). Without kagglehub nothing
    can log in.

    Raises:
        DataError: A credentials file is there but cannot be used.
    """
    if not _may_have_credentials():
        return False
    try:
        from kagglehub.config import get_kaggle_credentials
    except ImportError:
        return False
    try:
        with _silent():
            return get_kaggle_credentials() is not None
    except (OSError, ValueError):
        # The original error may quote the token as a path: it must not be shown.
        raise DataError(
            "the Kaggle credentials cannot be read",
            mend=f"repair or remove kaggle.json, or set KAGGLE_API_TOKEN (from {TOKEN_PAGE})",
        ) from None


def _may_have_credentials() -> bool:
    """Return False where kagglehub need not be imported to know that it would find nothing."""
    named = any(name.startswith(("KAGGLE_", "COLAB_")) for name in os.environ)
    return named or any((Path.home() / ".kaggle").glob("*"))


def download(handle: str, *, sleep: Callable[[float], None] = time.sleep) -> Download:
    """Return a Kaggle data set, downloaded unless its version is in kagglehub's cache.

    A pinned and cached data set needs no network. While it runs, standard output (and standard
    error unless it is a terminal) of the whole process is held back.

    Args:
        handle: ``owner/name`` for the current version, or ``owner/name/versions/N``.
        sleep: Waits for seconds between tries.

    Raises:
        DataError: The handle is malformed; kagglehub is not installed; Kaggle does not know or
            permit the data set; the network, the archive or a file in it is broken.
        StorageError: The cache cannot be written.
    """
    match = HANDLE.fullmatch(handle)
    if match is None:
        raise DataError(
            f"{handle!r} is no Kaggle data set",
            mend="write owner/name or owner/name/versions/N, as in the data set's address",
        )
    try:
        import kagglehub
        from kagglehub.handle import DatasetHandle
    except ImportError as error:
        raise DataError(
            "kagglehub, which downloads from Kaggle, is not installed",
            mend='pip install "nethical[kaggle]"',
        ) from error
    credentials_found()
    version = match["version"] and int(match["version"])
    dataset = DatasetHandle(match["owner"], match["name"], version)
    if not version:
        dataset = dataset.with_version(_tried(_current_version, dataset, sleep))
    folder = _tried(lambda pinned: kagglehub.dataset_download(str(pinned)), dataset, sleep)
    return Download(str(dataset), Path(folder), _digests(Path(folder), dataset))


def _current_version(dataset: Any) -> int:  # noqa: ANN401 - kagglehub is untyped
    from kagglehub.clients import build_kaggle_client
    from kagglehub.exceptions import handle_call
    from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

    request = ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = dataset.owner, dataset.dataset
    with build_kaggle_client() as client:
        api = client.datasets.dataset_api_client
        answer = handle_call(lambda: api.get_dataset(request), dataset)
    if answer.current_version_number < 1:
        raise ValueError("the answer names no version")
    return int(answer.current_version_number)


# --- tries and failures ----------------------------------------------------------------------


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hold back what kagglehub and its parts print and log, except progress on a terminal."""
    log = logging.getLogger("kagglehub")
    handlers, log.handlers = log.handlers, [logging.NullHandler()]
    try:
        with (
            Path(os.devnull).open("w", encoding="utf-8") as sink,
            contextlib.redirect_stdout(sink),
            contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(sink),
        ):
            yield
    finally:
        log.handlers = handlers


def _tried(
    call: Callable[[Any], T],
    dataset: Any,  # noqa: ANN401 - kagglehub is untyped
    sleep: Callable[[float], None],
) -> T:
    """Return what the call returns, tried again where waiting may help."""
    pauses = iter(PAUSES_S)
    while True:
        try:
            with _silent():
                return call(dataset)
        except _failures() as error:
            pause = next(pauses, None)
            if pause is None or not _may_pass(error):
                failure = _explained(error, dataset)
                _remove_broken_archive(error, dataset)
                raise failure from error
            sleep(max(pause, _retry_after_s(error)))


def _failures() -> tuple[type[Exception], ...]:
    """Return what kagglehub is known to raise; many of them are nobody's contract."""
    from kagglehub import exceptions

    ours = (exceptions.BackendError, exceptions.NotFoundError, exceptions.CredentialError)
    return (*ours, *_broken(), OSError, RuntimeError, LookupError, TypeError, AttributeError)


def _broken() -> tuple[type[Exception], ...]:
    """Return what an archive or answer raises that is not what it should be."""
    from kagglehub.exceptions import DataCorruptionError

    archive = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError)
    return (DataCorruptionError, *archive, ValueError)


def _status(error: Exception) -> int:
    """Return the HTTP status of a refusal, 0 when it is something else."""
    response = getattr(error, "response", None)
    return 0 if response is None else int(response.status_code)


def _is_cut(error: Exception) -> bool:
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout  # noqa: A004

    return isinstance(error, (ConnectionError, Timeout, ChunkedEncodingError))


def _is_expired_link(error: Exception) -> bool:
    """Say whether the refusal came from where Kaggle sent us for the archive."""
    return _status(error) in DENIED and bool(error.response.history)  # type: ignore[attr-defined]


def _may_pass(error: Exception) -> bool:
    status = _status(error)
    busy = status == SLOW_DOWN or status >= SERVER_FAILED
    return busy or _is_cut(error) or _is_expired_link(error)


def _retry_after_s(error: Exception) -> float:
    response = getattr(error, "response", None)
    asked = "" if response is None else response.headers.get("Retry-After", "")
    return min(float(asked), MAX_PAUSE_S) if asked.isdecimal() else 0.0


def _explained(error: Exception, dataset: Any) -> NethicalError:  # noqa: ANN401 - untyped
    """Return the error as two lines; its own text stays out, it may hold signed addresses."""
    page = f"https://www.kaggle.com/datasets/{dataset.owner}/{dataset.dataset}"
    status = _status(error)
    if status == NOT_FOUND:
        return DataError(f"Kaggle has no data set {dataset}", mend=f"compare it with {page}")
    if status in DENIED and not _is_expired_link(error):
        login = "" if credentials_found() else f"set KAGGLE_API_TOKEN (from {TOKEN_PAGE}), "
        return DataError(
            f"Kaggle does not permit the download of {dataset} ({status})",
            mend=f"{login or 'renew the token, '}accept the terms on {page}, then run again",
        )
    if _may_pass(error):
        cause = f"answers {status}" if status else f"cannot be reached ({type(error).__name__})"
        then = "run again later" if status else "check the network, then run again"
        return DataError(
            f"Kaggle {cause}, after {len(PAUSES_S) + 1} tries for {dataset}",
            mend=_pin_cached(dataset) or f"{then}; what was downloaded is kept",
        )
    if _is_truncated(error, dataset):
        return DataError(
            f"the archive of {dataset} arrived broken ({type(error).__name__})",
            mend="run again; the broken archive was removed",
        )
    if isinstance(error, OSError) and not hasattr(error, "response"):
        return StorageError(
            f"cannot write the Kaggle cache: {error.strerror or type(error).__name__}",
            mend="free space there, or set KAGGLEHUB_CACHE to a folder that can be written",
        )
    return DataError(
        f"Kaggle's answer for {dataset} is not what its API promises ({type(error).__name__})",
        mend=f"see that no proxy or login page stands before {page}, then run again",
    )


def _pin_cached(dataset: Any) -> str:  # noqa: ANN401 - kagglehub is untyped
    """Return how to use the newest cached version, or nothing."""
    from kagglehub.cache import get_cached_path

    if dataset.is_versioned():
        return ""
    folder = Path(get_cached_path(dataset))
    complete = [int(marker.stem) for marker in folder.glob("*.complete") if marker.stem.isdecimal()]
    cached = [version for version in complete if (folder / "versions" / str(version)).is_dir()]
    return f"pin the version that is cached: {dataset}/versions/{max(cached)}" if cached else ""


def _is_truncated(error: Exception, dataset: Any) -> bool:  # noqa: ANN401 - kagglehub is untyped
    """Say whether an archive came, and came broken; a web page in its place is another matter."""
    from kagglehub.cache import get_cached_archive_path
    from kagglehub.exceptions import DataCorruptionError

    if isinstance(error, DataCorruptionError):
        return True
    if not isinstance(error, _broken()) or not dataset.is_versioned():
        return False
    archive = Path(get_cached_archive_path(dataset))
    return archive.is_file() and _head(archive).startswith((MAGIC[".zip"], MAGIC[".gz"]))


def _remove_broken_archive(error: Exception, dataset: Any) -> None:  # noqa: ANN401 - untyped
    """Remove what kagglehub would otherwise take for a complete archive the next time."""
    from kagglehub.cache import get_cached_archive_path

    if isinstance(error, _broken()) and dataset.is_versioned():
        Path(get_cached_archive_path(dataset)).unlink(missing_ok=True)


# --- what arrived ----------------------------------------------------------------------------


def _digests(folder: Path, dataset: Any) -> dict[str, str]:  # noqa: ANN401 - kagglehub is untyped
    """Return the digest of each file, after a look at what it is."""
    mend = f"remove {folder} and run again, or look at the data set's page"
    try:
        entries = sorted(folder.rglob("*"))
        links = [entry for entry in entries if entry.is_symlink()]
        if links:
            raise DataError(f"{links[0]} is a symbolic link", mend=mend)
        files = [entry for entry in entries if entry.is_file()]
        if not files:
            raise DataError(f"{dataset} holds no files", mend=mend)
        total = sum(file.stat().st_size for file in files)
        if total > MAX_TOTAL_BYTES:
            raise DataError(
                f"{dataset} holds {total} bytes; at most {MAX_TOTAL_BYTES} are taken",
                mend=f"name the files in {folder} that you need with --data",
            )
        for file in files:
            _check_content(file, mend)
        return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}", mend=mend) from error


def _check_content(file: Path, mend: str) -> None:
    """Refuse a file whose first bytes are not what its suffix says."""
    suffix, head = file.suffix.lower(), _head(file)
    if suffix in TEXT:
        web_page = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(WEB_PAGE)
        fits = not web_page and not head.startswith(tuple(MAGIC.values()))
    else:
        fits = head.startswith(MAGIC.get(suffix, b""))
    if not fits:
        raise DataError(f"{file} is not what its suffix {suffix} says", mend=mend)


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(512)
