"""The two example anchors, against an S3 server and a time stamp authority of this machine."""

import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from nethical.audit import anchors
from nethical.audit.checkpoint import Checkpoint, sign_checkpoint
from nethical.audit.examine import examine
from nethical.audit.log import Log
from nethical.audit.notes import VerifierKey
from nethical.errors import IntegrityError, StorageError

ORIGIN = "nethical.local/test"
EXAMPLES = Path(__file__).parents[2] / "examples" / "anchors"
FOLDER = hashlib.sha256(ORIGIN.encode()).hexdigest()


def note_at(size, key, root=b"r"):
    return sign_checkpoint(Checkpoint(ORIGIN, size, root * 32), key)


def anchor_of(name):
    return anchors.anchor(f"command:'{sys.executable}' '{EXAMPLES / name}'")


@pytest.fixture
def believed(key):
    return VerifierKey.of(ORIGIN, key)


@pytest.fixture
def vary(monkeypatch):
    """Set a variable otherwise, or not at all."""

    def do(name, value):
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)

    return do


# --- S3 --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")  # a page, so that there are several
        started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        started.start()
        address, port = started.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{address}:{port}",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }.items():
            patch.setenv(name, value)
        yield started
        started.stop()


@pytest.fixture
def bucket(server, monkeypatch, request):  # noqa: ARG001 - it must run
    import boto3

    s3 = boto3.client("s3")
    name = "b" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    monkeypatch.setenv("ANCHOR_S3_BUCKET", name)
    return SimpleNamespace(name=name, s3=s3, anchor=anchor_of("s3_object_lock.py"))


def versions(bucket, size):
    """Return the versions of an object, newest first."""
    key = f"{FOLDER}/{size}"
    listed = bucket.s3.list_object_versions(Bucket=bucket.name, Prefix=key, MaxKeys=1000)
    return [v["VersionId"] for v in listed.get("Versions", ()) if v["Key"] == key]


def test_a_checkpoint_in_the_bucket_is_locked_for_its_days(bucket, key, believed, monkeypatch):
    monkeypatch.setenv("ANCHOR_S3_DAYS", "10")
    anchors.keep(bucket.anchor, note_at(5, key), believed)
    [version] = versions(bucket, 5)
    where = {"Bucket": bucket.name, "Key": f"{FOLDER}/5", "VersionId": version}
    lock = bucket.s3.head_object(**where)
    assert lock["ObjectLockMode"] == "COMPLIANCE"
    until = lock["ObjectLockRetainUntilDate"] - datetime.now(UTC)
    assert timedelta(days=9.9) < until < timedelta(days=10.1)
    assert bucket.s3.get_object(**where)["Body"].read() == note_at(5, key)


def test_the_server_lets_nobody_remove_a_locked_version(bucket, key, believed):
    from botocore.exceptions import ClientError

    anchors.keep(bucket.anchor, note_at(5, key), believed)
    [version] = versions(bucket, 5)
    where = {"Bucket": bucket.name, "Key": f"{FOLDER}/5", "VersionId": version}
    for bypass in (False, True):
        with pytest.raises(ClientError, match="AccessDenied"):
            bucket.s3.delete_object(**where, BypassGovernanceRetention=bypass)
    assert bucket.anchor.give(ORIGIN, 5) == note_at(5, key)


def test_neither_a_newer_version_nor_a_delete_marker_hides_what_was_kept(bucket, key, believed):
    for size in (5, 50):
        anchors.keep(bucket.anchor, note_at(size, key), believed)
    where = {"Bucket": bucket.name, "Key": f"{FOLDER}/5"}
    bucket.s3.put_object(**where, Body=note_at(5, key, root=b"s"))
    bucket.s3.put_object(**where, Body=b"junk")
    bucket.s3.delete_object(Bucket=bucket.name, Key=f"{FOLDER}/50")
    expected = [note_at(size, key) for size in (5, 50)]
    assert bucket.anchor.kept(ORIGIN) == expected
    with pytest.raises(IntegrityError, match="another one"):
        anchors.keep(bucket.anchor, note_at(5, key, root=b"s"), believed)
    for size in (5, 50):
        before = versions(bucket, size)
        anchors.keep(bucket.anchor, note_at(size, key), believed)
        assert versions(bucket, size) == before


def test_what_lay_there_without_a_lock_is_locked(bucket, key, believed):
    bucket.s3.put_object(Bucket=bucket.name, Key=f"{FOLDER}/5", Body=note_at(5, key))
    anchors.keep(bucket.anchor, note_at(5, key), believed)
    [version] = versions(bucket, 5)
    where = {"Bucket": bucket.name, "Key": f"{FOLDER}/5", "VersionId": version}
    assert bucket.s3.head_object(**where)["ObjectLockMode"] == "COMPLIANCE"


def test_more_checkpoints_than_a_page_lists_are_all_listed(bucket, key):
    for size in range(1, 8):
        bucket.s3.put_object(Bucket=bucket.name, Key=f"{FOLDER}/{size}", Body=b"x")
    bucket.s3.put_object(Bucket=bucket.name, Key=f"{FOLDER}/1", Body=note_at(1, key))
    assert bucket.s3.list_object_versions(Bucket=bucket.name)["IsTruncated"]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "s3_object_lock.py", "list", ORIGIN],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(size) for size in range(1, 8)]
    assert bucket.anchor.give(ORIGIN, 1) == b"x"


def test_a_bucket_without_object_lock_is_refused(bucket, key, believed, monkeypatch):
    bucket.s3.create_bucket(Bucket="plain")
    monkeypatch.setenv("ANCHOR_S3_BUCKET", "plain")
    with pytest.raises(StorageError, match="missing ObjectLockConfiguration"):
        anchors.keep(bucket.anchor, note_at(5, key), believed)
    assert bucket.anchor.kept(ORIGIN) == []


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        (("ANCHOR_S3_BUCKET", None), "'ANCHOR_S3_BUCKET' is not set"),
        (("ANCHOR_S3_BUCKET", "absent-bucket"), "NoSuchBucket"),
        (("ANCHOR_S3_DAYS", "many"), "could not convert string to float"),
        (("AWS_ENDPOINT_URL", "http://127.0.0.1:9"), "Could not connect"),
    ],
)
def test_what_is_wrong_with_the_bucket_is_told_in_one_line(
    bucket, key, believed, vary, setting, what
):
    vary(*setting)
    with pytest.raises(StorageError, match=what) as found:
        anchors.keep(bucket.anchor, note_at(5, key), believed)
    assert "\n" not in found.value.what


# --- time stamps -----------------------------------------------------------------------------

SETTINGS = """
[req]
distinguished_name = name
prompt = no
[name]
CN = somebody
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[stamping]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = critical,timeStamping
[tsa]
default_tsa = ours
[ours]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
"""


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_authority(folder, days=2):
    """Make a root, and a time stamp authority below it; return what asks it."""
    folder.mkdir()
    settings = folder / "tsa.cnf"
    settings.write_text(SETTINGS.format(folder=folder))
    (folder / "serial").write_text("01")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", settings]
    root, root_key = folder / "root.pem", folder / "root.key"
    openssl("req", "-x509", *new, "-keyout", root_key, "-out", root, "-extensions", "root")
    request = folder / "tsa.csr"
    openssl("req", *new, "-keyout", folder / "tsa.key", "-out", request, "-subj", "/CN=tsa")
    sign = ["-CA", root, "-CAkey", root_key, "-CAcreateserial", "-days", days]
    extend = ["-extfile", settings, "-extensions", "stamping"]
    openssl("x509", "-req", "-in", request, *sign, "-out", folder / "tsa.pem", *extend)
    script = folder / "answer.sh"
    script.write_text(
        f"cat > {folder}/query\n"
        f"openssl ts -reply -queryfile {folder}/query -config {settings} -out {folder}/reply || :\n"
        f"cat {folder}/reply\n"
    )
    return SimpleNamespace(root=root, command=f"sh {script}", folder=folder)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("the program openssl is not installed")
    folder = tmp_path_factory.mktemp("authorities")
    return [make_authority(folder / name) for name in ("one", "two")]


@pytest.fixture
def authority(authorities, monkeypatch, tmp_path):
    monkeypatch.setenv("ANCHOR_TSA_FOLDER", str(tmp_path / "stamped"))
    monkeypatch.setenv("ANCHOR_TSA_CA", str(authorities[0].root))
    monkeypatch.setenv("ANCHOR_TSA_COMMAND", authorities[0].command)
    for name in ("ANCHOR_TSA_URL", "ANCHOR_TSA_CHAIN"):
        monkeypatch.delenv(name, raising=False)
    return authorities[0]


@pytest.fixture
def stamped(authority, tmp_path):  # noqa: ARG001 - it must answer
    return SimpleNamespace(anchor=anchor_of("timestamp.py"), folder=tmp_path / "stamped" / FOLDER)


def test_a_checkpoint_is_kept_with_a_stamp_that_others_verify(stamped, authority, key, believed):
    anchors.keep(stamped.anchor, note_at(5, key), believed)
    assert (stamped.folder / "5.note").read_bytes() == note_at(5, key)
    told = ["-in", stamped.folder / "5.tsr", "-data", stamped.folder / "5.note"]
    openssl("ts", "-verify", *told, "-CAfile", authority.root)
    done = subprocess.run(
        [sys.executable, EXAMPLES / "timestamp.py", "when", ORIGIN, "5"],
        capture_output=True,
        text=True,
        check=True,
    )
    time = datetime.strptime(done.stdout.strip(), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=5)


def test_a_stamp_for_other_bytes_is_refused(stamped, key, believed):
    for size in (5, 6):
        anchors.keep(stamped.anchor, note_at(size, key), believed)
    shutil.copy(stamped.folder / "6.tsr", stamped.folder / "5.tsr")
    with pytest.raises(StorageError, match=r"could not give .* 5: openssl .*imprint mismatch"):
        anchors.known(stamped.anchor, ORIGIN, [believed])
    assert stamped.anchor.give(ORIGIN, 6) == note_at(6, key)


def test_a_note_that_was_exchanged_below_its_stamp_is_refused(stamped, key, believed):
    anchors.keep(stamped.anchor, note_at(5, key), believed)
    (stamped.folder / "5.note").write_bytes(note_at(5, key, root=b"s"))
    with pytest.raises(StorageError, match="imprint mismatch"):
        stamped.anchor.give(ORIGIN, 5)


def test_a_stamp_of_somebody_else_is_refused(stamped, authorities, key, believed, monkeypatch):
    monkeypatch.setenv("ANCHOR_TSA_COMMAND", authorities[1].command)
    with pytest.raises(StorageError, match=r"could not keep .*certificate verify error"):
        anchors.keep(stamped.anchor, note_at(5, key), believed)
    assert stamped.anchor.kept(ORIGIN) == []


def test_an_old_reply_is_no_reply(stamped, authority, key, believed, monkeypatch):
    anchors.keep(stamped.anchor, note_at(5, key), believed)
    monkeypatch.setenv("ANCHOR_TSA_COMMAND", f"cat {authority.folder}/reply")
    with pytest.raises(StorageError, match="openssl ts -verify failed: "):
        anchors.keep(stamped.anchor, note_at(6, key), believed)
    (stamped.folder / "5.note").unlink()
    with pytest.raises(StorageError, match="nonce mismatch"):  # even for the same bytes
        anchors.keep(stamped.anchor, note_at(5, key), believed)


def test_another_checkpoint_of_a_stamped_size_is_refused(stamped, key, believed):
    for _ in range(2):
        anchors.keep(stamped.anchor, note_at(5, key), believed)
    with pytest.raises(IntegrityError, match="another one"):
        anchors.keep(stamped.anchor, note_at(5, key, root=b"s"), believed)
    assert stamped.anchor.kept(ORIGIN) == [note_at(5, key)]


def test_an_authority_is_asked_over_http(stamped, authority, key, believed, monkeypatch):
    asked = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            query = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.headers["Content-Type"])
            if self.path != "/tsr":
                self.send_error(503)
                return
            command = authority.command.split()
            done = subprocess.run(command, input=query, capture_output=True, check=True)
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(done.stdout)

        def log_message(self, *_):
            """Say nothing."""

    monkeypatch.delenv("ANCHOR_TSA_COMMAND")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as answering:
        threading.Thread(target=answering.serve_forever).start()
        try:
            address = f"http://127.0.0.1:{answering.server_port}"
            monkeypatch.setenv("ANCHOR_TSA_URL", f"{address}/tsr")
            anchors.keep(stamped.anchor, note_at(5, key), believed)
            monkeypatch.setenv("ANCHOR_TSA_URL", f"{address}/other")
            with pytest.raises(StorageError, match="HTTP Error 503"):
                anchors.keep(stamped.anchor, note_at(6, key), believed)
        finally:
            answering.shutdown()
    assert asked == ["application/timestamp-query"] * 2
    assert stamped.anchor.kept(ORIGIN) == [note_at(5, key)]


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        (("ANCHOR_TSA_FOLDER", None), "ANCHOR_TSA_FOLDER is not set"),
        (("ANCHOR_TSA_CA", None), "ANCHOR_TSA_CA is not set"),
        (("ANCHOR_TSA_CA", "/no/such/file"), "openssl ts -verify failed"),
        (("ANCHOR_TSA_COMMAND", None), "ANCHOR_TSA_URL is not set"),
        (("ANCHOR_TSA_COMMAND", "sh -c 'echo not today >&2; exit 1'"), "sh failed: not today"),
        (("ANCHOR_TSA_COMMAND", "echo hello"), "openssl ts -verify failed"),
        (("ANCHOR_TSA_COMMAND", "/no/such/program"), "No such file"),
    ],
)
def test_what_is_wrong_with_the_authority_is_told_in_one_line(
    stamped, key, believed, vary, setting, what
):
    vary(*setting)
    with pytest.raises(StorageError, match=what) as found:
        anchors.keep(stamped.anchor, note_at(5, key), believed)
    assert "\n" not in found.value.what
    assert "Traceback" not in found.value.what


# --- end to end ------------------------------------------------------------------------------


@pytest.fixture(params=["bucket", "stamped"])
def anchor(request):
    return request.getfixturevalue(request.param).anchor


def test_a_log_that_was_set_back_or_written_anew_shows(anchor, tmp_path, key):
    log = Log(tmp_path / "log", key, origin=ORIGIN)
    for size in (3, 300):
        log.extend({"i": i} for i in range(len(log), size))
        anchors.keep(anchor, log.seal().note, log.key)
        if size == 3:
            shutil.copytree(log.path, tmp_path / "older")
    anew = Log(tmp_path / "anew", key, origin=ORIGIN)
    anew.extend({"i": "other"} for _ in range(400))
    anew.seal()
    kept = anchors.known(anchor, ORIGIN, [log.key])
    for path, faults in (
        (log.path, []),
        (tmp_path / "older", ["set back"]),
        (anew.path, ["fork"] * 2),
    ):
        assert examine(path, log.key).sound  # by itself each is what was signed
        found = examine(path, log.key, known=kept)
        assert [fault.kind for fault in found.faults] == faults
