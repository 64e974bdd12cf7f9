"""Models trained through the pipeline into a real log, and every way to part the two."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from nethical import Plan, Run, train
from nethical.audit.checkpoint import Checkpoint, sign_checkpoint
from nethical.audit.crosscheck import check_model
from nethical.audit.entries import decode_entry
from nethical.audit.log import Log
from nethical.audit.merkle import EMPTY_ROOT, subtree_hash
from nethical.audit.reading import LogReader
from nethical.bundle import read
from nethical.errors import IntegrityError
from nethical.keys import Keys, default_home
from nethical.registry import Registry
from nethical.run import Receipt
from nethical.signing import SIGNATURE_FILE, sign

ORIGIN = "nethical.local/test"


class ToLog:
    """A sink that writes each fact of a run to a log."""

    def __init__(self, log):
        self.log = log

    def record(self, fact, *, run_id, at):
        told = {"run_id": run_id, "timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"}
        self.log.append({**fact.to_document(), **told})

    def seal(self):
        head = self.log.seal().checkpoint
        return Receipt(head.origin, head.tree_size, head.root_hash.hex())


@pytest.fixture(scope="module")
def trained(tmp_path_factory, key):
    """Two runs in one log that held other entries before, sealed at the end; and one without."""
    folder = tmp_path_factory.mktemp("trained")
    registry = Registry(folder / "models", Keys(default_home()), lambda: datetime.now(UTC))
    log = Log(folder / "log", key, origin=ORIGIN, seal_every=1000)
    log.extend({"event_type": "operation", "i": i} for i in range(300))

    def run(*sinks):
        plan = Plan(
            "heuristic",
            data="sklearn:breast_cancer",
            threads=1,
            models_dir=str(folder / "models"),
            accept_leaks=("worst perimeter",),
        )
        outcome = train(plan, run=Run(sinks), registry=registry)
        return registry.verify(outcome.published.model_id)

    models = [run(ToLog(log)), run(ToLog(log))]
    log.seal()
    return SimpleNamespace(
        path=log.path, key=log.key, log_key=key, models=models, silent=run(), registry=registry
    )


@pytest.fixture
def log(trained, tmp_path):
    """A copy of the log, to be changed."""
    return shutil.copytree(trained.path, tmp_path / "log")


def reader(trained, path=None):
    return LogReader(path or trained.path, trained.key)


def claiming(bundle, **claims):
    """The bundle as it would be, had its signature claimed other things."""
    return replace(bundle, claims={**bundle.claims, **claims})


def refused(bundle, reader):
    with pytest.raises(IntegrityError) as caught:
        check_model(bundle, reader)
    assert caught.value.mend
    return caught.value.what


@pytest.mark.parametrize("which", [0, 1])
def test_a_model_and_its_log_vouch_for_each_other(trained, which):
    model = trained.models[which]
    event = check_model(model, reader(trained))
    assert event.event_type == "model_saved"
    assert event.document["model_id"] == model.model_id
    assert event.document["signature_digest"] == model.signature_digest
    assert event.index >= model.claims["tree_size"]


def test_a_model_still_fits_its_log_after_the_log_has_grown(trained, log):
    grown = Log(log, trained.log_key)
    grown.extend({"i": i} for i in range(700))
    grown.seal()
    assert check_model(trained.models[0], reader(trained, log)).index < 700


def test_a_claim_of_the_whole_log_is_held_against_the_checkpoint_itself(trained):
    head = reader(trained).checkpoint
    whole = claiming(trained.models[0], tree_size=head.tree_size, merkle_root=head.root_hash.hex())
    assert "no model_saved entry after" in refused(whole, reader(trained))
    fork = claiming(whole, merkle_root="ab" * 32)
    assert f"its first {head.tree_size} entries do not have the root" in refused(
        fork, reader(trained)
    )


def test_a_model_that_claims_an_empty_log_fits_any_that_tells_of_it(trained):
    empty = claiming(trained.models[0], tree_size=0, merkle_root=EMPTY_ROOT.hex())
    assert check_model(empty, reader(trained)).document["model_id"] == empty.model_id
    other = claiming(trained.models[0], tree_size=0, merkle_root="ab" * 32)
    assert "first 0 entries do not have the root abab" in refused(other, reader(trained))


def test_a_model_that_was_trained_without_a_log_is_told_from_one_that_was(trained):
    assert "trained without an audit log" in refused(trained.silent, reader(trained))


@pytest.mark.parametrize(
    "claims",
    [{"tree_size": "7"}, {"tree_size": -1}, {"merkle_root": "AB" * 32}, {"merkle_root": None}],
)
def test_a_signature_that_does_not_say_how_the_log_stood_proves_nothing(trained, claims):
    model = claiming(trained.models[0], **claims)
    assert "does not say how its log stood" in refused(model, reader(trained))


def test_a_model_of_another_log_says_which(trained, tmp_path, key):
    other = Log(tmp_path / "other", key, origin="nethical.local/other")
    other.seal()
    what = refused(trained.models[0], LogReader(other.path, other.key))
    assert "was trained with the log nethical.local/test; this is the log nethical.local/other" in (
        what
    )


def test_a_log_that_was_set_back_is_shorter_than_the_model_says(trained, log):
    kept = sorted((log / "checkpoints").iterdir(), key=lambda file: int(file.name))
    assert len(kept) == 4  # empty, at each of the two receipts, and at the end
    shutil.copy(kept[1], log / "checkpoint")
    (log / "pending").write_bytes(b"")
    what = refused(trained.models[1], reader(trained, log))
    assert f"the log was set back: it has {kept[1].name} sealed entries, and had " in what


def test_a_log_that_was_written_anew_does_not_have_the_root_that_was_signed(trained, tmp_path):
    """The key's holder writes all entries again but one, and the log verifies by itself."""
    entries = list(reader(trained).entries())
    anew = Log(tmp_path / "anew", trained.log_key, origin=ORIGIN, seal_every=1000)
    changed = [*map(decode_entry, entries)]
    changed[7] = {**changed[7], "i": "other"}
    anew.extend(changed)
    anew.seal()
    what = refused(trained.models[0], reader(trained, anew.path))
    assert what.startswith("the log was rewritten: its first ")
    assert trained.models[0].claims["merkle_root"] in what


def test_tiles_that_do_not_fit_the_checkpoint_are_blamed_instead_of_the_model(trained, log):
    tile = log / "tile/0/000"
    content = bytearray(tile.read_bytes())
    content[40] ^= 1
    tile.write_bytes(content)
    for partial in (log / "tile/1").rglob("*"):
        if partial.is_file():
            partial.unlink()
    (log / "tile/1/000.p/1").write_bytes(subtree_hash(bytes(content)))
    assert "files of the log were changed" in refused(trained.models[0], reader(trained, log))


def test_tiles_alone_are_never_believed(trained, log):
    """The tiles say the old root, and lead to it, but not to the signed checkpoint."""
    head = reader(trained).checkpoint
    forged = Checkpoint(ORIGIN, head.tree_size, bytes(32))
    (log / "checkpoint").write_bytes(sign_checkpoint(forged, trained.log_key))
    assert "files of the log were changed" in refused(trained.models[0], reader(trained, log))


def test_a_log_that_does_not_tell_of_the_model_says_from_where_on_it_was_sought(trained):
    model = replace(trained.models[0], model_id="heuristic_20240501T120000Z_abcdef")
    size = model.claims["tree_size"]
    assert refused(model, reader(trained)) == (
        f"the log does not tell of {model.model_id}: no model_saved entry after {size} entries"
    )


def test_a_model_that_was_signed_again_after_it_was_logged_is_called_swapped(trained, tmp_path):
    """The holder of the bundle key edits a file of the model and signs the folder anew."""
    model, keys = trained.models[0], trained.registry.keys
    files = {name: model.files[name] for name in model.files if name != SIGNATURE_FILE}
    files["card.md"] += b"\nIt is perfect.\n"
    signature = sign(files, name=model.model_id, key=keys.bundle_key(), claims=model.claims)
    folder = tmp_path / model.model_id
    folder.mkdir()
    for name, content in {**files, SIGNATURE_FILE: signature}.items():
        (folder / name).write_bytes(content)
    swapped = read(folder, keys.trusted())
    what = refused(swapped, reader(trained))
    assert what.startswith("the model was swapped after it was logged: entry ")
    assert model.signature_digest in what
    assert swapped.signature_digest in what


def test_a_model_that_is_signed_as_of_another_run_is_not_the_one_that_was_logged(trained):
    model = claiming(trained.models[0], run_id="run_20240501T120000Z_abcdef")
    assert "is signed as of run run_20240501T120000Z_abcdef; entry" in refused(
        model, reader(trained)
    )


def test_a_model_that_is_logged_twice_is_told_with_both_places(trained, log):
    event = check_model(trained.models[0], reader(trained))
    again = Log(log, trained.log_key)
    index = again.append({**event.document, "signature_digest": "sha256:" + "0" * 64})
    what = refused(trained.models[0], reader(trained, log))
    assert f"2 times, in entries {event.index}, {index}" in what


def test_a_model_whose_entry_is_not_sealed_yet_asks_for_a_seal(tmp_path, key, trained):
    log = Log(tmp_path / "log", key, origin=ORIGIN)
    plan = Plan("heuristic", data="sklearn:breast_cancer", threads=1)
    outcome = train(plan, run=Run([ToLog(log)]), registry=trained.registry)
    model = trained.registry.verify(outcome.published.model_id)
    assert "which tells of the model, is not sealed yet" in refused(
        model, LogReader(log.path, log.key)
    )
    log.seal()
    assert check_model(model, LogReader(log.path, log.key)).index == len(log) - 1


def test_an_entry_that_was_changed_in_its_bundle_does_not_lead_to_the_root(trained, log):
    bundle = max((log / "tile/entries").glob("001.p/*"), key=lambda file: int(file.name))
    content = bundle.read_bytes()
    place = content.index(b'"metrics_path"') + 20
    bundle.write_bytes(content[:place] + b"#" + content[place + 1 :])
    what = refused(trained.models[0], reader(trained, log))
    assert what.startswith("the files of the log were changed: the inclusion proof of entry ")
