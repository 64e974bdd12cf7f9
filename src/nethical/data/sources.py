"""Where a table comes from: a file, a set that scikit-learn ships, Kaggle, or a known truth.

A source that was named and cannot be had is an error, never a fallback. Where nothing was
named, a small catalogue of Kaggle sets is tried if credentials are there; then the rows are
synthetic, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data import files
from nethical.data.roles import Role, RoleHints
from nethical.data.rows import seed_key
from nethical.data.table import normalise, to_arrow
from nethical.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.kaggle import Download

__all__ = ["DEFAULT_SAMPLES", "Source", "find", "sample"]

DEFAULT_SAMPLES = 10_000
DEFAULT_TASK = "risk"
DEFAULT_TASKS = {
    "anomaly": "sessions",
    "correlation": "events",
    "simple_transformer": "text",
}
SKLEARN_SETS = ("breast_cancer", "digits", "iris", "wine")


@dataclass(frozen=True)
class Source:
    """A table and where it came from.

    Args:
        name: Such as ``file:rows.csv``, ``sklearn:wine``, ``kaggle:...``, ``synthetic:risk``.
        frame: The normalised table.
        hints: What the source itself says about its columns.
        details: Further JSON values for the record, such as digests of files.
        fallback: Why synthetic rows take the place of real ones, or empty.
    """

    name: str
    frame: pa.Table
    hints: RoleHints = field(default_factory=RoleHints)
    details: dict[str, Any] = field(default_factory=dict)
    fallback: str = ""

    @property
    def is_synthetic(self) -> bool:
        """Whether the rows were generated."""
        return self.name.startswith("synthetic:")


def find(  # noqa: PLR0913 - what names a source
    data: Any,  # noqa: ANN401 - a path, a name, a frame or None
    *,
    kaggle: Sequence[str] = (),
    model_type: str,
    num_samples: int | None,
    seed: int,
    fall_back: bool = True,
    texts: Collection[str] = (),
) -> Source:
    """Return the table to learn from.

    Args:
        data: A path, ``sklearn:NAME``, ``synthetic:TASK[,knob=value...]``, a frame, or None.
        kaggle: Kaggle handles ``OWNER/NAME[/versions/N][:FILE]``, joined into one table.
        model_type: Decides which catalogue sets are tried when nothing was named.
        num_samples: Rows to generate or draw; None for the default.
        seed: Decides what is generated and drawn.
        fall_back: Whether synthetic rows may stand in when nothing was named.
        texts: Columns that hold names or codes, never numbers.

    Raises:
        DataError: The source cannot be had, or nothing was named and no fallback is allowed.
        UsageError: Its name makes no sense.
    """
    if data is not None and kaggle:
        raise UsageError(
            "both a data path and a Kaggle set were named", mend="name one source of rows"
        )
    if kaggle:
        return _sampled(_from_kaggle(kaggle, texts), num_samples, seed)
    if isinstance(data, str) and data.startswith("sklearn:"):
        return _sampled(_from_sklearn(data.removeprefix("sklearn:")), num_samples, seed)
    if isinstance(data, str) and data.startswith("synthetic:"):
        return _generated(data.removeprefix("synthetic:"), num_samples or DEFAULT_SAMPLES, seed)
    if isinstance(data, (str, Path)):
        path = Path(data)
        source = Source(f"file:{path.name}", files.load(path, texts=texts))
        return _sampled(source, num_samples, seed)
    if data is not None:
        return _sampled(Source("frame", to_arrow(data)), num_samples, seed)
    return _unnamed(model_type, num_samples or DEFAULT_SAMPLES, seed, fall_back=fall_back)


def _unnamed(model_type: str, n_rows: int, seed: int, *, fall_back: bool) -> Source:
    from nethical.data import kaggle

    reason = "no data was named and no Kaggle credentials were found"
    if kaggle.credentials_found():
        reason = f"no data was named and the catalogue has no set for {model_type}"
        for entry in kaggle.CATALOGUE.get(model_type, ()):
            try:
                download = kaggle.download(entry.handle)
            except DataError as error:
                reason = f"no data was named and {entry.handle} cannot be had: {error.what}"
                continue
            frame = files.load(download.folder / entry.file, encoding=entry.encoding)
            hints = RoleHints({entry.label_column: Role.LABEL}, (entry.positive_label,))
            details = {"handle": download.handle, "files": download.files}
            source = Source(f"kaggle:{download.handle}", frame, hints, details)
            return _sampled(source, n_rows, seed)
    if not fall_back:
        raise DataError(reason, mend="name a table with --data PATH, or allow synthetic rows")
    made = _generated(DEFAULT_TASKS.get(model_type, DEFAULT_TASK), n_rows, seed)
    return Source(made.name, made.frame, made.hints, made.details, fallback=reason)


def _generated(task: str, n_rows: int, seed: int) -> Source:
    from nethical.data import synthetic

    name, *settings = task.split(",")
    knobs = {}
    for setting in settings:
        knob, _, value = setting.partition("=")
        try:
            knobs[knob] = float(value)
        except ValueError:
            raise UsageError(
                f"synthetic:{task} sets {setting!r}", mend="write knobs as NAME=NUMBER"
            ) from None
    made = synthetic.generate(name, n_rows, seed=seed, **knobs)
    details = {"task": name, "knobs": knobs, "best_accuracy": round(made.best_accuracy, 6)}
    return Source(f"synthetic:{task}", normalise(made.table), details=details)


def _from_sklearn(name: str) -> Source:
    if name not in SKLEARN_SETS:
        raise UsageError(
            f"scikit-learn ships no set {name!r} for classification",
            mend=f"choose one of {', '.join(SKLEARN_SETS)}",
        )
    import pyarrow as pa
    from sklearn import datasets

    loaded = getattr(datasets, f"load_{name}")()
    columns = {str(column): loaded.data[:, i] for i, column in enumerate(loaded.feature_names)}
    words = np.array([str(word) for word in loaded.target_names])
    table = pa.table({**columns, "label": pa.array(words[loaded.target].tolist())})
    return Source(f"sklearn:{name}", normalise(table))


def _from_kaggle(handles: Sequence[str], texts: Collection[str]) -> Source:
    import pyarrow as pa

    from nethical.data import kaggle

    frames, pinned, digests = [], [], {}
    for handle in handles:
        base, _, file = handle.partition(":")
        download = kaggle.download(base)
        path = download.folder / _table_of(download, base, file)
        frames.append(files.load(path, texts=texts))
        pinned.append(download.handle)
        digests[download.handle] = download.files
    names = [frame.column_names for frame in frames]
    if any(name != names[0] for name in names):
        raise DataError(
            f"the Kaggle sets {', '.join(handles)} have other columns than each other",
            mend="train on one of them, or join them by hand and pass --data",
        )
    frame = normalise(pa.concat_tables(frames, promote_options="permissive"))
    return Source(f"kaggle:{'+'.join(pinned)}", frame, details={"files": digests})


def _table_of(download: Download, handle: str, file: str) -> str:
    """Return the named file of a download, or its one table file."""
    if file in download.files:
        return file
    tables = [name for name in download.files if name.lower().endswith(files.SUFFIXES)]
    if not file and len(tables) == 1:
        return tables[0]
    held = f"holds {len(tables)} table files" if not file else f"holds no file {file!r}"
    raise DataError(
        f"the Kaggle set {handle} {held}: {', '.join(tables[:10])}",
        mend=f"name one as {handle}:FILE",
    )


def sample(total: int, n_rows: int, seed: int) -> NDArray[np.int64]:
    """Return the places of a seeded sample of rows, ascending, shape (n_rows,)."""
    rng = np.random.default_rng(np.frombuffer(seed_key(seed, "sample"), dtype=np.uint64))
    return np.sort(rng.choice(total, n_rows, replace=False))


def _sampled(source: Source, n_rows: int | None, seed: int) -> Source:
    """Return a seeded random sample of a named source, in its own order, if one was asked for."""
    total = source.frame.num_rows
    if n_rows is None or n_rows >= total:
        return source
    import pyarrow as pa

    rows = sample(total, n_rows, seed)
    details = {**source.details, "sampled_from": total}
    return Source(source.name, source.frame.take(pa.array(rows)), source.hints, details)
