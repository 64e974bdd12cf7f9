"""Measure the transformer beside the project's logistic type and scikit-learn's on texts.

    python benchmarks/type_texts.py [SHARED]

Each model learns from the same rows and is judged on the same others, on one CPU thread; what a
fit costs is CPU seconds of this process, what a score costs CPU milliseconds a row. Data sets
lie in SHARED/data and are skipped when they are not there.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable

TYPES = ("simple_transformer", "logistic")
SEED = 7


@dataclass(frozen=True)
class Task:
    """Which columns of a file are read, and how its rows are split.

    Args:
        file: Its name without suffix.
        texts: The text columns.
        others: Further feature columns and their roles.
        group: Rows of one value stay together, or None to split at random.
        sizes: Rows to train on and to judge by at most.
    """

    file: str
    texts: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()
    group: str | None = None
    sizes: tuple[int, int] = (6000, 2500)


TASKS = (
    Task("text_davidson_hate", ("text",)),
    Task(
        "agent_xinject_traces",
        ("tool_response", "output"),
        group="attacker_instruction",
        sizes=(3800, 1200),
    ),
    Task(
        "agent_asse_security",
        ("text",),
        others=(("actions", "sequence"),),
        group="scenario",
        sizes=(550, 250),
    ),
)


def rows(shared: Path) -> list[dict]:
    """Return what each model reached and cost on each data set that is there."""
    import torch

    torch.set_num_threads(1)
    measured = []
    for task in TASKS:
        path = shared / "data" / f"{task.file}.parquet"
        if not path.exists():
            print(f"skipped: {path} is not there", file=sys.stderr)
            continue
        train, test = split(task, path)
        what = f"{task.file}, {len(train):,} / {len(test):,} rows"
        measured += [{"what": what, "model": n} | ours(n, train, test) for n in TYPES]
        measured.append({"what": what, "model": "TF-IDF + LR"} | scikit_learn(task, train, test))
    return measured


def split(task: Task, path: Path) -> tuple[LabelledTable, LabelledTable]:
    """Return the train and the test rows of a task."""
    import pyarrow.parquet as pq

    from nethical.data.roles import Role, RoleHints, infer
    from nethical.data.table import LabelledTable, normalise

    names = [*task.texts, *(name for name, _ in task.others), "label"]
    frame = normalise(pq.read_table(path, columns=names + ([task.group] if task.group else [])))
    roles = dict.fromkeys(task.texts, Role.TEXT) | {n: Role(role) for n, role in task.others}
    if task.group:
        roles[task.group] = Role.GROUP
    table, _ = LabelledTable.read(frame, infer(frame, RoleHints(roles)))
    rng = np.random.default_rng(0)
    if table.groups is None:
        order = rng.permutation(len(table))
    else:  # groups in random order, each whole
        place = rng.permutation(int(table.groups.max()) + 1)
        order = np.argsort(place[table.groups], kind="stable")
        last = table.groups[order[task.sizes[0] - 1]]
        order = order[(table.groups[order] != last) | (np.arange(len(order)) < task.sizes[0])]
    first, second = task.sizes
    return table.rows(order[:first]), table.rows(order[first : first + second])


def ours(name: str, train: LabelledTable, test: LabelledTable) -> dict:
    """Return what one of the project's types reaches and costs."""
    from nethical.models import catalog
    from nethical.models.base import Settings
    from nethical.run import silent

    model = catalog.build(name, Settings())
    fit_cpu_s, _ = timed(lambda: model.fit(train, rng=np.random.default_rng(SEED), progress=silent))
    score_cpu_s, scores = timed(lambda: model.score(test))
    return reached(test, scores) | costs(fit_cpu_s, score_cpu_s, len(test))


def scikit_learn(task: Task, train: LabelledTable, test: LabelledTable) -> dict:
    """Return what TF-IDF of words and characters with logistic regression reaches and costs."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    names = [*task.texts, *(name for name, _ in task.others)]

    def joined(table: LabelledTable) -> list[str]:
        columns = [table.texts(name).fill_null("").to_pylist() for name in names]
        return ["\n".join(cells) for cells in zip(*columns, strict=True)]

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), min_df=3, sublinear_tf=True
    )
    model = make_pipeline(make_union(words, characters), LogisticRegression(C=10, max_iter=300))
    fit_cpu_s, _ = timed(lambda: model.fit(joined(train), train.y))
    score_cpu_s, scores = timed(lambda: model.decision_function(joined(test)))
    return reached(test, scores) | costs(fit_cpu_s, score_cpu_s, len(test))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds that work took, and its result."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def reached(test: LabelledTable, scores: NDArray[np.float64]) -> dict:
    """Return accuracy at even odds, and ROC-AUC."""
    from sklearn.metrics import roc_auc_score

    return {
        "accuracy": float(np.mean((scores > 0) == test.y)),
        "roc_auc": float(roc_auc_score(test.y, scores)),
    }


def costs(fit_cpu_s: float, score_cpu_s: float, n_rows: int) -> dict:
    """Return CPU seconds of a fit and milliseconds of a score."""
    return {"fit_cpu_s": fit_cpu_s, "score_ms_per_row": 1000 * score_cpu_s / n_rows}


def main() -> None:
    """Print a table."""
    here = Path(__file__).resolve().parents[1]
    shared = Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "shared"
    print("| rows | model | accuracy | ROC-AUC | fit, CPU s | score, CPU ms a row |")
    print("|---|---|---|---|---|---|")
    for row in rows(shared):
        print(
            f"| {row['what']} | {row['model']} | {row['accuracy']:.3f} | {row['roc_auc']:.3f} "
            f"| {row['fit_cpu_s']:.1f} | {row['score_ms_per_row']:.2f} |"
        )


if __name__ == "__main__":
    main()
