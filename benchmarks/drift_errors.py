"""Measure how often comparisons of cohorts are wrong, on rows whose truth is known.

    python benchmarks/drift_errors.py [--scale 1.0] [--only null,power,...] [--seed 1]

Five laws of scores: two normal classes 2.2 apart, half of the rows positive (``balanced``),
30 % (``thirty``) and 5 % (``rare``); probabilities by Beta(.5, .5) (``beta``); and six values of
probability alone (``discrete``). In all of them the model's probabilities are true, so what
changes is only what a case changes. A share stands beside its standard error and what is asked
of it. The table goes to standard output, the figures to benchmarks/results/*.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nethical.drift import fairness, measures
from nethical.drift.cells import Scored, Summary, summarise
from nethical.drift.cohorts import Cohort, CohortRun
from nethical.drift.compare import Analysis, analyse
from nethical.drift.effects import Settings, Verdict
from nethical.drift.power import spent

Rng = np.random.Generator
Floats = np.ndarray[Any, np.dtype[np.float64]]
Law = Callable[[Rng, int], tuple[Floats, Floats]]
Source = Callable[[], Summary]

HERE = Path(__file__).resolve().parent
ALPHA = 0.01
SIZES = (100, 200, 500, 1000, 2000, 5000, 20_000)
GROUPS = (0.40, 0.25, 0.18, 0.10, 0.07)
NAMES = ("A", "B", "C", "D", "E")
CLUSTER, ICC = 20, 0.1
WEEKS = 52
FEATURES, TRAINED_ON, HELD_OUT, SEEDS = 10, 1000, 5000, 3


# The laws of scores


def logit(p: Floats) -> Floats:
    """Return log odds."""
    return np.log(p / (1 - p))


def sigmoid(x: Floats) -> Floats:
    """Return probabilities of log odds."""
    return 1 / (1 + np.exp(-x))


def binormal(
    rng: Rng, n: int, *, prevalence: float = 0.5, separation: float = 2.2, more: float = 0.0
) -> tuple[Floats, Floats]:
    """Return probabilities and labels; the model believes in classes 2.2 apart.

    Args:
        rng: Randomness.
        n: Rows.
        prevalence: What the model believes, and what is true but for ``more``.
        separation: How far the classes are apart in truth.
        more: What is added to the prevalence in truth.
    """
    y = (rng.random(n) < prevalence + more).astype(np.float64)
    x = rng.normal((y - 0.5) * separation)
    return sigmoid(2.2 * x + math.log(prevalence / (1 - prevalence))), y


def beta(rng: Rng, n: int) -> tuple[Floats, Floats]:
    """Return rows whose probabilities lie at both ends."""
    p = rng.beta(0.5, 0.5, n)
    return p, (rng.random(n) < p).astype(np.float64)


def discrete(rng: Rng, n: int) -> tuple[Floats, Floats]:
    """Return rows of six probabilities."""
    p = rng.choice([0.03, 0.1, 0.3, 0.5, 0.7, 0.95], n, p=[0.3, 0.25, 0.15, 0.1, 0.1, 0.1])
    return p, (rng.random(n) < p).astype(np.float64)


LAWS: dict[str, Law] = {
    "balanced": binormal,
    "thirty": partial(binormal, prevalence=0.3),
    "rare": partial(binormal, prevalence=0.05),
    "beta": beta,
    "discrete": discrete,
}


# Reports


@dataclass(frozen=True)
class Share:
    """How often something happened in so many reports.

    Args:
        case: What was changed.
        n: Rows of each side; 0 for all sizes together.
        event: What was counted.
        reports: How many there were.
        share: Of them, with its standard error.
        asked: What it should be, in words; empty where nothing is asked.
        is_met: Whether it is; None where nothing is asked.
    """

    case: str
    n: int
    event: str
    reports: int
    share: float
    error: float
    asked: str = ""
    is_met: bool | None = None


def share(case: str, n: int, event: str, happened: list[bool]) -> Share:
    """Return a share with its standard error."""
    k, rate = len(happened), float(np.mean(happened))
    return Share(case, n, event, k, rate, math.sqrt(rate * (1 - rate) / k))


def at_most(found: Share, limit: float, *, errors: float = 0.0) -> Share:
    """Return a share with the limit that it is held to, so many standard errors above it."""
    allowed = limit + errors * math.sqrt(limit * (1 - limit) / found.reports)
    words = f"at most {100 * limit:g} %" + (f" + {errors:g} se" if errors else "")
    return Share(**{**asdict(found), "asked": words, "is_met": found.share <= allowed + 1e-12})


def at_least(found: Share, limit: float) -> Share:
    """Return a share with the least that is asked."""
    words = f"at least {100 * limit:g} %"
    return Share(**{**asdict(found), "asked": words, "is_met": found.share >= limit})


def summary(p: Floats, y: Floats, **more: Any) -> Summary:  # noqa: ANN401 - fields of Scored
    """Return the cells of rows, called positive from .5 on."""
    return summarise(Scored(p, y.astype(np.int8), 0.5, **more))


def run(name: str, cells: Summary, *, model: str, rows: str = "") -> CohortRun:
    """Return a run as a store holds it."""
    rows = rows or f"rows of {name}"
    return CohortRun(name, model, model, "one process", rows, "", cells, {"threshold": 0.5})


def cohort(name: str, *runs: CohortRun) -> Cohort:
    """Return a cohort as a store holds it; the reference sorts first."""
    return Cohort(name, name, f"2026-01-01T00:00:00.00000{name != 'reference':d}Z", runs)


def report(reference: Summary, current: Summary, settings: Settings | None = None) -> Analysis:
    """Return the report of one model on other rows."""
    sides = [
        cohort(name, run(name, cells, model="one"))
        for name, cells in (("reference", reference), ("current", current))
    ]
    return analyse(sides, folder=Path(), settings=settings or Settings())


def any_p(found: Analysis) -> bool:
    """Return whether any adjusted p is below alpha."""
    tests = [test.p_adjusted for one in found.comparisons for test in one.tests]
    return any(p < found.settings.alpha for p in tests)


def is_drift(found: Analysis) -> bool:
    """Return whether the verdict is drift."""
    return found.verdict == Verdict.DRIFT


# What is measured


def null(rng: Rng, scale: float) -> Iterator[Share]:
    """Compare a model with itself on other rows of the same law, 5,000 times a size."""
    every: tuple[list[bool], list[bool]] = ([], [])
    for n in SIZES:
        p_found, drifts = [], []
        for law in LAWS.values():
            for _ in range(math.ceil(1000 * scale)):
                found = report(summary(*law(rng, n)), summary(*law(rng, n)))
                p_found.append(any_p(found))
                drifts.append(is_drift(found))
        yield at_most(share("nothing", n, "any adjusted p < .01", p_found), ALPHA, errors=3)
        yield at_most(share("nothing", n, "drift", drifts), 0.001)
        for all_sizes, of_one in zip(every, (p_found, drifts), strict=True):
            all_sizes.extend(of_one)
    yield at_most(share("nothing, all sizes", 0, "any adjusted p < .01", every[0]), ALPHA, errors=3)
    yield at_most(share("nothing, all sizes", 0, "drift", every[1]), 0.001)


def overconfident(rng: Rng, n: int, *, factor: float) -> tuple[Floats, Floats]:
    """Return balanced rows whose log odds are multiplied."""
    p, y = binormal(rng, n)
    return sigmoid(factor * logit(p)), y


def flipped(rng: Rng, n: int, *, part: float) -> tuple[Floats, Floats]:
    """Return balanced rows, a part of whose labels is wrong."""
    p, y = binormal(rng, n)
    return p, np.where(rng.random(n) < part, 1 - y, y)


CHANGES: tuple[tuple[str, int, Law, float | None], ...] = (
    ("separation 2.2 to 1.6", 1000, partial(binormal, separation=1.6), 0.9),
    ("separation 2.2 to 1.6", 5000, partial(binormal, separation=1.6), 0.99),
    ("over-confident x1.6", 5000, partial(overconfident, factor=1.6), 0.99),
    ("8 % of labels flipped", 5000, partial(flipped, part=0.08), 0.99),
    ("over-confident x1.15 (harmless)", 20_000, partial(overconfident, factor=1.15), None),
    ("prevalence +.03 (harmless)", 20_000, partial(binormal, more=0.03), None),
    ("separation 2.2 to 2.1 (harmless)", 20_000, partial(binormal, separation=2.1), None),
)


def power(rng: Rng, scale: float) -> Iterator[Share]:
    """Compare balanced rows with changed ones: harm is found, what is harmless is not."""
    for case, n, law, least in CHANGES:
        reports = [
            report(summary(*binormal(rng, n)), summary(*law(rng, n)))
            for _ in range(math.ceil((1000 if n < 20_000 else 500) * scale))
        ]
        found = share(case, n, "drift", [is_drift(one) for one in reports])
        yield at_most(found, 0.0) if least is None else at_least(found, least)
        yield share(case, n, "any adjusted p < .01", [any_p(one) for one in reports])


def features(rng: Rng, n: int) -> tuple[Floats, Floats]:
    """Return ten columns of balanced rows, of which three tell the classes apart."""
    y = (rng.random(n) < 0.5).astype(np.float64)
    x = rng.normal(size=(n, FEATURES))
    x[:, :3] += (2.2 / math.sqrt(3) * (y - 0.5))[:, None]
    return x, y


def fitted(rng: Rng, kind: str, wrong: float = 0.0) -> Any:  # noqa: ANN401 - a model of scikit-learn
    """Return a model trained on 1,000 rows of its own, a part of whose labels may be wrong."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    x, y = features(rng, TRAINED_ON)
    y = np.where(rng.random(len(y)) < wrong, 1 - y, y)
    seed = int(rng.integers(2**31))
    network = MLPClassifier((8,), learning_rate_init=0.01, max_iter=30, random_state=seed)
    model = LogisticRegression() if kind == "logistic" else network
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 30 rounds are not meant to converge
        return model.fit(x, y)


def trained(rng: Rng, name: str, models: list[Any], fixed: Any) -> Cohort:  # noqa: ANN401 - rows
    """Return the runs of models, each on the fixed rows, or on new ones where there are none."""
    runs = []
    for number, model in enumerate(models):
        x, y = features(rng, HELD_OUT) if fixed is None else fixed
        rows = f"rows {name} {number}" if fixed is None else "fixed"
        cells = summary(model.predict_proba(x)[:, 1], y)
        runs.append(run(f"{name}{number}", cells, model=f"{name} {number}", rows=rows))
    return cohort(name, *runs)


def retrain(rng: Rng, scale: float) -> Iterator[Share]:
    """Compare two trainings of one process, three seeds each, and one seed each."""
    counted: dict[tuple[str, str], list[bool]] = {}
    for kind in ("logistic", "network"):
        for _ in range(math.ceil(250 * scale)):
            sides = [[fitted(rng, kind) for _ in range(SEEDS)] for _ in "ab"]
            for rows, fixed in (("the same rows", features(rng, HELD_OUT)), ("own rows", None)):
                pair = [
                    trained(rng, name, models, fixed)
                    for name, models in zip(("reference", "current"), sides, strict=True)
                ]
                found = analyse(pair, folder=Path(), settings=Settings())
                counted.setdefault((f"3 and 3 seeds, {rows}", "drift"), []).append(is_drift(found))
                counted.setdefault((f"3 and 3 seeds, {rows}", "any adjusted p < .01"), []).append(
                    any_p(found)
                )
            single = [Cohort(c.cohort_id, c.label, c.created_at, c.runs[:1]) for c in pair]
            found = analyse(single, folder=Path(), settings=Settings())
            counted.setdefault(("1 and 1 seed", "drift"), []).append(is_drift(found))
            counted.setdefault(("1 and 1 seed", "any adjusted p < .01"), []).append(any_p(found))
    for (case, event), happened in counted.items():
        found_share = share(case, HELD_OUT, event, happened)
        told = case == "1 and 1 seed" and event != "drift"  # which no verdict rests on
        yield found_share if told else at_most(found_share, 0.0 if case[0] == "1" else ALPHA)
    yield share("3 and 3 seeds, 15 % of labels wrong", HELD_OUT, "drift", worse(rng, scale))


def worse(rng: Rng, scale: float) -> list[bool]:
    """Return whether three trainings on wrong labels are told from three on right ones."""
    found = []
    for _ in range(math.ceil(60 * scale)):
        fixed = features(rng, HELD_OUT)
        pair = [
            trained(rng, name, [fitted(rng, "logistic", wrong) for _ in range(SEEDS)], fixed)
            for name, wrong in (("reference", 0.0), ("current", 0.15))
        ]
        found.append(is_drift(analyse(pair, folder=Path(), settings=Settings())))
    return found


def sessions(rng: Rng, n: int) -> tuple[Floats, Floats, np.ndarray]:
    """Return rows in clusters of 20, whose labels and scores are both alike (correlation .1)."""
    clusters = np.repeat(np.arange(n // CLUSTER), CLUSTER)
    size = 1 / ICC - 1
    own = rng.beta(size / 2, size / 2, n // CLUSTER)[clusters]
    y = (rng.random(n) < own).astype(np.float64)
    noise = math.sqrt(ICC) * rng.normal(size=n // CLUSTER)[clusters]
    x = 2.2 * (y - 0.5) + noise + math.sqrt(1 - ICC) * rng.normal(size=n)
    return sigmoid(2.2 * x), y, clusters


def clusters(rng: Rng, scale: float) -> Iterator[Share]:
    """Compare a model with itself on clustered rows, told of the clusters and not."""
    for n in (600, 2000, 10_000):
        happened: dict[tuple[str, str], list[bool]] = {}
        for _ in range(math.ceil(1500 * scale)):
            sides = [sessions(rng, n) for _ in "ab"]
            for case, told in (("clusters given", True), ("clusters not given", False)):
                pair = [summary(p, y, clusters=c if told else None) for p, y, c in sides]
                found = report(*pair)
                tests = {test.metric: test.p for test in found.comparisons[0].tests}
                for event, did in (
                    ("any adjusted p < .01", any_p(found)),
                    ("flag rate p < .01", tests["flag_rate"] < ALPHA),
                    ("drift", is_drift(found)),
                ):
                    happened.setdefault((case, event), []).append(did)
        for (case, event), did in happened.items():
            found_share = share(case, n, event, did)
            asked = case == "clusters given" and event != "flag rate p < .01"
            yield (
                at_most(found_share, 0.015 if "adjusted" in event else 0.001)
                if asked
                else (found_share)
            )


def weekly(rng: Rng, scale: float) -> Iterator[Share]:
    """Compare each week of a year with one reference, each look at its part of alpha."""
    p_found, drifts, reports = [], [], math.ceil(1500 * scale)
    for number in range(reports):
        law = list(LAWS.values())[number % len(LAWS)]
        reference = summary(*law(rng, 5000))
        year = [
            report(
                reference, summary(*law(rng, 1000)), Settings(alpha=spent(ALPHA, WEEKS, week + 1))
            )
            for week in range(WEEKS)
        ]
        p_found.append(any(any_p(week) for week in year))
        drifts.append(any(is_drift(week) for week in year))
    yield at_most(share("52 weeks", 1000, "any adjusted p below its alpha", p_found), 0.012)
    yield at_most(share("52 weeks", 1000, "drift", drifts), 0.012)


def grouped(rng: Rng, n: int, lost: float = 0.0) -> Summary:
    """Return rows of five unequal groups; the smallest may lose a part of its recall."""
    p, y = binormal(rng, n)
    group = rng.choice(len(GROUPS), n, p=GROUPS)
    missed = (group == len(GROUPS) - 1) & (y == 1) & (rng.random(n) < lost)
    return summary(np.where(missed, p * 0.4, p), y, fairness={"group": (group, NAMES)})


def fair(rng: Rng, scale: float) -> Iterator[Share]:
    """Test five groups that are treated alike, and one whose recall is 30 % lower."""
    for n in (500, 2000, 20_000):
        happened = [
            bool(fairness.disparities(grouped(rng, n), alpha=ALPHA).alarms)
            for _ in range(math.ceil(2000 * scale))
        ]
        yield at_most(share("groups alike", n, "any alarm", happened), ALPHA, errors=3)
    for n in (2000, 20_000):
        happened = []
        for _ in range(math.ceil(500 * scale)):
            alarms = fairness.disparities(grouped(rng, n, 0.3), alpha=ALPHA).alarms
            happened.append((("group", "E"),) in {one.group for one in alarms})
        found = share("a group's recall 30 % lower", n, "alarm of that group", happened)
        yield at_least(found, 0.99) if n == 20_000 else found


def stretched(a: float, b: float, target: float) -> tuple[float, float]:
    """Return the factor of log odds that gives a calibration error, and the error itself."""
    from scipy.special import betaincinv

    true = betaincinv(a, b, (np.arange(40_000) + 0.5) / 40_000)

    def error(factor: float) -> float:
        p = sigmoid(factor * logit(true))
        bins = np.minimum((p * 10).astype(np.int64), 9)
        return float(np.abs(np.bincount(bins, true - p, minlength=10)).sum()) / len(true)

    low, high = 1.0, 8.0
    for _ in range(40 if target else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) < target else (low, middle)
    return low, error(low)


def ece(rng: Rng, scale: float) -> Iterator[Share]:
    """Count how often the 95 % interval of the calibration error holds the true one."""
    for a, b in ((0.5, 0.5), (1.0, 1.0), (2.0, 5.0)):
        for target in (0.0, 0.01, 0.037, 0.065):
            factor, truth = stretched(a, b, target)
            for n in (200, 1000, 10_000):
                held = []
                for _ in range(math.ceil(1000 * scale)):
                    true = rng.beta(a, b, n).clip(1e-12, 1 - 1e-12)
                    y = (rng.random(n) < true).astype(np.float64)
                    cells = summary(sigmoid(factor * logit(true)), y).whole
                    interval = measures.measured(cells)["ece_debiased"]
                    held.append(interval.low <= truth + 1e-9 and truth <= interval.high)
                found = share(f"Beta({a:g}, {b:g}), ECE {target:g}", n, "interval holds", held)
                yield Share(
                    **{
                        **asdict(found),
                        "asked": "92 to 98 %",
                        "is_met": 0.92 <= found.share <= 0.98,
                    }
                )


SECTIONS = {
    "null": null,
    "power": power,
    "retrain": retrain,
    "clusters": clusters,
    "weekly": weekly,
    "fairness": fair,
    "ece": ece,
}


def main() -> None:
    """Measure the sections that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="part of the reports to make")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "seed": args.seed,
        "scale": args.scale,
    }
    for section in args.only.split(","):
        began = time.process_time()
        print(f"\n{section}", flush=True)
        found = []
        for one in SECTIONS[section](np.random.default_rng(args.seed), args.scale):
            found.append(asdict(one))
            verdict = {True: "met", False: "MISSED", None: ""}[one.is_met]
            print(
                f"  {one.case:<38} n {one.n:>6,}  {one.event:<31} {one.reports:>5,}  "
                f"{100 * one.share:6.2f} +-{100 * one.error:.2f} %  {one.asked:<18} {verdict}",
                flush=True,
            )
        results[section] = {"cpu_s": time.process_time() - began, "shares": found}
    target = HERE / "results" / f"drift-errors-{time.strftime('%Y%m%dT%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwritten to {target}")


if __name__ == "__main__":
    main()
