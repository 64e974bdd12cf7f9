import logging
import sys
import traceback
from pathlib import Path

import pytest

from nethical.canonical import digest
from nethical.data import kaggle
from nethical.data.kaggle import CATALOGUE, Download, credentials_found, download
from nethical.errors import DataError, StorageError
from nethical.models.catalog import BUILT_IN

pytest.importorskip("kagglehub")
pytestmark = pytest.mark.usefixtures("bare_machine")

fake_kaggle = sys.modules["fake_kaggle"]  # loaded by conftest.py
ARCHIVE, DOWNLOAD, GET = fake_kaggle.ARCHIVE, fake_kaggle.DOWNLOAD, fake_kaggle.GET
Answer, refusal, web_page, zipped = (
    fake_kaggle.Answer,
    fake_kaggle.refusal,
    fake_kaggle.web_page,
    fake_kaggle.zipped,
)

ROWS = b"a,label\n1,0\n2,1\n"
CANARY = "KGAT_canary_4f1d0c7e"


@pytest.fixture
def pauses():
    return []


def refused(handle, pauses, kind=DataError):
    """Return the error of a download that must fail."""
    with pytest.raises(kind) as caught:
        download(handle, sleep=pauses.append)
    assert "\n" not in caught.value.what + caught.value.mend
    return caught.value


# --- what works ------------------------------------------------------------------------------


def test_a_download_is_pinned_and_every_file_digested(server, tmp_path):
    got = download("owner/name")
    folder = tmp_path / "cache" / "datasets" / "owner" / "name" / "versions" / "3"
    files = {"notes/readme.md": digest(b"# notes"), "rows.csv": digest(ROWS)}
    assert got == Download("owner/name/versions/3", folder, files)
    assert server.calls == [GET, DOWNLOAD, ARCHIVE]


def test_a_second_download_comes_from_the_cache(server):
    first = download("owner/name")
    del server.calls[:]
    assert download("owner/name") == first
    assert server.calls == [GET]


def test_a_pinned_and_cached_set_needs_no_network(server):
    first = download("owner/name/versions/3")
    server.stop()
    assert download("owner/name/versions/3") == first
    assert server.calls == [DOWNLOAD, ARCHIVE]


def test_a_pinned_version_is_not_asked_for(server):
    assert download("owner/name/versions/2").handle == "owner/name/versions/2"
    assert GET not in server.calls


def test_too_many_requests_are_waited_for_as_long_as_the_server_asks(server, pauses):
    server.answers[GET].append(refusal(429, Retry_After="7"))
    assert download("owner/name", sleep=pauses.append).handle == "owner/name/versions/3"
    assert pauses == [7.0]


def test_a_cut_download_is_resumed(server, pauses):
    server.archive = zipped(rows__csv=b"a,label\n" + b"1,0\n" * 700_000)
    server.answers[ARCHIVE].append(Answer(cut_at=1_500_000))
    got = download("owner/name", sleep=pauses.append)
    assert got.files == {"rows.csv": digest(b"a,label\n" + b"1,0\n" * 700_000)}
    assert pauses == [1.0]
    assert server.ranges == ["bytes=1048576-"]


def test_an_expired_archive_link_is_asked_for_again(server, pauses):
    server.answers[ARCHIVE].append(Answer(403, b"expired"))
    assert download("owner/name", sleep=pauses.append).files["rows.csv"] == digest(ROWS)
    assert server.calls == [GET, DOWNLOAD, ARCHIVE, DOWNLOAD, ARCHIVE]


# --- what does not ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("route", [GET, DOWNLOAD])
def test_a_refusal_without_credentials_says_how_to_log_in(server, pauses, status, route):
    server.answers[route].append(refusal(status))
    error = refused("owner/name", pauses)
    assert f"({status})" in error.what
    assert "KAGGLE_API_TOKEN" in error.mend
    assert "https://www.kaggle.com/datasets/owner/name" in error.mend
    assert not pauses


def test_a_refusal_with_credentials_asks_for_consent(server, pauses, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", CANARY)
    server.answers[DOWNLOAD].append(refusal(403))
    assert refused("owner/name", pauses).mend.startswith("renew the token, accept the terms on")
    assert server.seen_authorization == [f"Bearer {CANARY}"] * 2


def test_an_unknown_set_is_not_found(server, pauses):
    server.answers[GET].append(refusal(404))
    assert refused("owner/nome", pauses).what == "Kaggle has no data set owner/nome"


def test_three_server_failures_end_it(server, pauses):
    server.answers[DOWNLOAD].extend([refusal(500), refusal(502), refusal(503)])
    error = refused("owner/name", pauses)
    assert error.what == "Kaggle answers 503, after 3 tries for owner/name/versions/3"
    assert pauses == [1.0, 4.0]


def test_a_server_that_is_down_is_tried_three_times(server, pauses):
    server.stop()
    error = refused("owner/name", pauses)
    assert error.what.startswith("Kaggle cannot be reached (ConnectionError), after 3 tries")
    assert "check the network" in error.mend
    assert pauses == [1.0, 4.0]


def test_unpinned_and_offline_names_the_version_that_is_cached(server, pauses):
    download("owner/name/versions/2")
    download("owner/name/versions/11")
    server.stop()
    error = refused("owner/name", pauses)
    assert error.mend == "pin the version that is cached: owner/name/versions/11"


def test_a_wrong_checksum_is_a_broken_archive_and_the_next_try_is_sound(server, pauses):
    server.md5 = b"0" * 16
    assert "arrived broken" in refused("owner/name", pauses).what
    server.md5 = None
    assert download("owner/name").files["rows.csv"] == digest(ROWS)


def test_a_truncated_archive_is_not_kept(server, pauses):
    whole, server.send_md5 = server.archive, False
    server.archive = whole[:-40]
    assert "arrived broken" in refused("owner/name", pauses).what
    server.archive = whole
    assert download("owner/name").files["rows.csv"] == digest(ROWS)


@pytest.mark.parametrize("route", [GET, DOWNLOAD])
def test_a_web_page_is_no_answer_and_is_not_kept(server, pauses, route):
    server.answers[route].append(web_page())
    error = refused("owner/name", pauses)
    assert "not what its API promises" in error.what
    assert "login page" in error.mend
    assert download("owner/name").files["rows.csv"] == digest(ROWS)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"{", b'{"currentVersionNumber": "three"}'])
def test_json_that_is_no_data_set_is_no_answer(server, pauses, body):
    server.answers[GET].append(Answer(200, body, {"Content-Type": "application/json"}))
    assert "not what its API promises" in refused("owner/name", pauses).what


def test_an_error_with_status_200_is_no_answer(server, pauses):
    server.answers[GET].append(refusal(403))
    server.answers[GET][0].status = 200
    assert "not what its API promises" in refused("owner/name", pauses).what


@pytest.mark.parametrize(
    "files",
    [
        {"rows__csv": b"\n<!DOCTYPE html><html>Sign in</html>"},
        {"rows__csv": zipped(rows__csv=ROWS)},
        {"rows__parquet": ROWS},
        {"rows__csv__gz": ROWS},
    ],
)
def test_a_file_that_is_not_what_its_suffix_says_is_refused(server, pauses, files):
    server.archive = zipped(**files)
    error = refused("owner/name", pauses)
    assert "is not what its suffix" in error.what
    assert str(Path("owner") / "name" / "versions" / "3") in error.mend


@pytest.mark.usefixtures("server")
def test_a_symbolic_link_is_refused(pauses, tmp_path):
    folder = download("owner/name").folder
    (folder / "shadow.csv").symlink_to(tmp_path / "secret.csv")
    assert "symbolic link" in refused("owner/name", pauses).what


@pytest.mark.usefixtures("server")
def test_an_empty_set_is_refused(pauses):
    folder = download("owner/name").folder
    for file in list(folder.rglob("*.*")):
        file.unlink()
    assert "holds no files" in refused("owner/name", pauses).what


@pytest.mark.usefixtures("server")
def test_a_set_beyond_the_limit_is_refused(pauses, monkeypatch):
    monkeypatch.setattr(kaggle, "MAX_TOTAL_BYTES", 10)
    assert "at most 10 are taken" in refused("owner/name", pauses).what


@pytest.mark.usefixtures("server")
def test_a_cache_that_cannot_be_written_is_a_storage_error(pauses, tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    assert "KAGGLEHUB_CACHE" in refused("owner/name", pauses, StorageError).mend


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "name",
        "a/b/c",
        "../b",
        "a/..",
        "a/b/versions/0",
        "a/b/versions/x",
        "a/b\n",
        "/b",
        "a b/c",
    ],
)
def test_a_malformed_handle_is_refused_before_any_call(server, pauses, handle):
    assert "is no Kaggle data set" in refused(handle, pauses).what
    assert server.calls == []


def test_without_kagglehub_the_mend_is_the_install_command(pauses, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert refused("owner/name", pauses).mend == 'pip install "nethical[kaggle]"'
    monkeypatch.setitem(sys.modules, "kagglehub.config", None)
    assert not credentials_found()


# --- credentials -----------------------------------------------------------------------------


def test_a_bare_machine_has_no_credentials():
    assert not credentials_found()


def test_credentials_are_found_where_kagglehub_looks(tmp_path, monkeypatch):
    folder = tmp_path / "home" / ".kaggle"
    (folder / "kaggle.json").write_text('{"username": "u", "key": "k"}')
    assert credentials_found()
    (folder / "kaggle.json").unlink()
    (folder / "access_token").write_text(CANARY)
    assert credentials_found()
    (folder / "access_token").unlink()
    monkeypatch.setenv("KAGGLE_USERNAME", "u")
    assert not credentials_found()
    monkeypatch.setenv("KAGGLE_KEY", "k")
    assert credentials_found()
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", CANARY)
    assert credentials_found()


@pytest.mark.parametrize("content", ["{", "{}", '{"username": "u"}'])
def test_a_broken_credentials_file_is_said(server, pauses, tmp_path, content):
    (tmp_path / "home" / ".kaggle" / "kaggle.json").write_text(content)
    with pytest.raises(DataError, match="credentials cannot be read"):
        credentials_found()
    refused("owner/name", pauses)
    assert server.calls == []


def _failures(server):
    yield "owner/name", None
    for answer in (refusal(401), refusal(403), refusal(404), web_page()):
        server.answers[GET].append(answer)
        yield "owner/name", DataError
    server.answers[GET].extend([refusal(500)] * 3)
    yield "owner/name", DataError
    server.md5 = b"0" * 16
    yield "owner/name/versions/7", DataError
    server.stop()
    yield "owner/name", DataError


@pytest.mark.parametrize("environment", ["LOCALHOST", "TEST"])
def test_a_token_is_never_printed_nor_logged(server, environment, monkeypatch, capfd, caplog):
    monkeypatch.setenv("KAGGLE_API_TOKEN", CANARY)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", environment)
    caplog.set_level(logging.DEBUG)
    said = ""
    for handle, kind in _failures(server):
        try:
            download(handle, sleep=lambda _: None)
        except DataError as error:
            said += "".join(traceback.format_exception(error)) + error.mend
            assert kind is DataError, said
        else:
            assert kind is None
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ""
    assert f"Bearer {CANARY}" in server.seen_authorization
    assert CANARY not in said + caplog.text


def test_a_token_too_long_for_a_path_is_never_shown(monkeypatch, pauses):
    monkeypatch.setenv("KAGGLE_API_TOKEN", CANARY * 20)
    error = refused("owner/name", pauses)
    assert CANARY not in "".join(traceback.format_exception(error)) + error.mend


# --- the catalogue ---------------------------------------------------------------------------


def test_the_catalogue_is_pinned_and_says_what_to_know():
    assert set(CATALOGUE) <= set(BUILT_IN)
    for known in (one for sets in CATALOGUE.values() for one in sets):
        assert kaggle.HANDLE.fullmatch(known.handle)["version"]
        assert Path(known.file).suffix == ".csv"
        assert all((known.label_column, known.positive_label, known.licence, known.note))
        "".encode(known.encoding)
