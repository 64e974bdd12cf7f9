"""Measure how often the promotion gate is wrong, on decisions whose truth is known.

    python benchmarks/promotion_errors.py [--scale 1.0] [--only null,power,...] [--seed 1]

Baseline and candidate decide the same rows: recall .85, false positive rate .08, and a
correlation of .6 between the two, four negatives a positive. What people and clocks say is left
out of the gate here (agreement waived, latency equal), as each of them has its own section. A
figure stands beside its standard error and what is asked of it. The table goes to standard
output, the figures to benchmarks/results/*.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr

from nethical.gate import Verdict
from nethical.governance.agreement import agreement
from nethical.governance.latency import LatencyComparison, compare_latency
from nethical.governance.promotion import Evidence, Policy, decide
from nethical.governance.thresholds import Curve
from nethical.metrics.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Rng = np.random.Generator
Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

HERE = Path(__file__).resolve().parent
RECALL, FALSE_POSITIVE_RATE, CORRELATION = 0.85, 0.08, 0.6
NEGATIVES = 4
ATTEMPTS = 10
SEPARATION, PREVALENCE = 2.0, 0.3
PRIOR = math.log(PREVALENCE / (1 - PREVALENCE))
SAME = Interval(0.0, 0.0, 0.0)
NO_LATENCY = LatencyComparison(SAME, SAME, 0.0, 0.0, 0.0, 1)
POLICY = Policy()


@dataclass(frozen=True)
class Figure:
    """Something measured.

    Args:
        case: What was done.
        n: Rows, positives or cases that it rests on.
        event: What was measured.
        times: How often it was done.
        value: The figure; a share in [0, 1] unless ``unit`` says otherwise.
        error: Its standard error; 0 where there is none.
        unit: Of the figure; ``%`` for shares.
        asked: What it should be, in words; empty where nothing is asked.
        is_met: Whether it is; None where nothing is asked.
    """

    case: str
    n: int
    event: str
    times: int
    value: float
    error: float = 0.0
    unit: str = "%"
    asked: str = ""
    is_met: bool | None = None

    def __str__(self) -> str:
        """Return the line of the table."""
        scale = 100 if self.unit == "%" else 1
        digits = 4 if self.unit == "ms" else 2
        value = f"{scale * self.value:,.{digits}f} +-{scale * self.error:.{digits}f} {self.unit}"
        verdict = {True: "met", False: "MISSED", None: ""}[self.is_met]
        return (
            f"  {self.case:<42} n {self.n:>7,}  {self.event:<30} {self.times:>5,}  "
            f"{value:>20}  {self.asked:<22} {verdict}"
        )


def share(case: str, n: int, event: str, happened: list[bool]) -> Figure:
    """Return a share with its standard error."""
    rate = float(np.mean(happened))
    error = math.sqrt(rate * (1 - rate) / len(happened))
    return Figure(case, n, event, len(happened), rate, error)


def mean(case: str, n: int, event: str, values: list[float], *, unit: str = "") -> Figure:
    """Return a mean with its standard error."""
    error = float(np.std(values) / math.sqrt(len(values)))
    return Figure(case, n, event, len(values), float(np.mean(values)), error, unit)


def at_most(found: Figure, limit: float, *, errors: float = 0.0) -> Figure:
    """Return a share with the limit that it is held to, so many standard errors above it."""
    allowed = limit + errors * math.sqrt(limit * (1 - limit) / found.times)
    words = f"at most {100 * limit:g} %" + (f" + {errors:g} se" if errors else "")
    return replace(found, asked=words, is_met=found.value <= allowed + 1e-12)


def at_least(found: Figure, limit: float) -> Figure:
    """Return a share with the least that is asked."""
    return replace(found, asked=f"at least {100 * limit:g} %", is_met=found.value >= limit)


# Pairs of decisions


@dataclass(frozen=True)
class Pairing:
    """The baseline's rate, and those of the candidate where the baseline hits and where not."""

    rate: float
    where_hit: float
    where_missed: float

    @classmethod
    def of(cls, rate: float, gain: float = 0.0) -> Pairing:
        """Return the pairing of two rates with a correlation of .6."""
        other = rate + gain
        spread = math.sqrt(rate * (1 - rate) * other * (1 - other))
        both = rate * other + CORRELATION * spread
        return cls(rate, both / rate, (other - both) / (1 - rate))


@dataclass(frozen=True)
class Counts:
    """Pairs of one class on one part: what the baseline hit, and candidates of it.

    Args:
        n: Rows.
        hits: Of the baseline.
        both: Hits of the baseline that a candidate hits too, shape (candidates,).
        only: Other rows that it hits, shape (candidates,).
    """

    n: int
    hits: int
    both: np.ndarray
    only: np.ndarray

    @classmethod
    def draw(cls, rng: Rng, n: int, hits: int, pairing: Pairing, candidates: int) -> Counts:
        """Return candidates of a baseline whose hits on these rows are known."""
        both = rng.binomial(hits, pairing.where_hit, candidates)
        only = rng.binomial(n - hits, pairing.where_missed, candidates)
        return cls(n, hits, both, only)

    def gains(self) -> Floats:
        """Return how much oftener each candidate hits."""
        return (self.both + self.only - self.hits) / self.n

    def calls(self, which: int) -> tuple[Bools, Bools]:
        """Return what baseline and candidate call each row, shape (n,) each."""
        place = np.arange(self.n)
        baseline = place < self.hits
        both, only = int(self.both[which]), int(self.only[which])
        return baseline, (place < both) | ((place >= self.hits) & (place < self.hits + only))


@dataclass(frozen=True)
class Part:
    """Rows of both classes."""

    positives: Counts
    negatives: Counts

    @classmethod
    def draw(
        cls, rng: Rng, n: int, candidates: int, *, gain: float = 0.0, hits: tuple[int, int]
    ) -> Part:
        """Return candidates on rows of which the baseline's hits are known."""
        recall, rate = Pairing.of(RECALL, gain), Pairing.of(FALSE_POSITIVE_RATE)
        return cls(
            Counts.draw(rng, n, hits[0], recall, candidates),
            Counts.draw(rng, NEGATIVES * n, hits[1], rate, candidates),
        )

    def best(self) -> int:
        """Return the candidate of most recall among those of few false positives."""
        few = self.negatives.gains() <= POLICY.max_false_positive_increase
        return int(np.argmax(np.where(few, self.positives.gains(), -1.0)))

    def passes_naively(self, which: int) -> bool:
        """Return whether the point estimates keep the limits."""
        return bool(
            self.positives.gains()[which] >= POLICY.min_recall_gain
            and self.negatives.gains()[which] <= POLICY.max_false_positive_increase
        )

    def verdict(self, which: int, attempt: int) -> Verdict:
        """Return what the gate says."""
        sides = [counts.calls(which) for counts in (self.positives, self.negatives)]
        baseline, candidate = (np.concatenate(side) for side in zip(*sides, strict=True))
        y = (np.arange(len(baseline)) < self.positives.n).astype(np.int8)
        evidence = Evidence(y, baseline, candidate, latency=NO_LATENCY, waiver="simulated")
        return decide(evidence, POLICY, attempt=attempt).verdict


def baseline_hits(rng: Rng, n: int) -> tuple[int, int]:
    """Return how many rows of each class the baseline calls positive."""
    return int(rng.binomial(n, RECALL)), int(rng.binomial(NEGATIVES * n, FALSE_POSITIVE_RATE))


# What is measured


def null(rng: Rng, scale: float) -> Iterator[Figure]:
    """Run ten campaigns on one gate part, each the best of many that are no better."""
    for n in (100, 400):
        for candidates in (20, 200):
            gated, naive = [], []
            for _ in range(math.ceil(3000 * scale)):
                tune, gate = baseline_hits(rng, n), baseline_hits(rng, n)
                passed = [False, False]
                for attempt in range(1, ATTEMPTS + 1):
                    chosen = Part.draw(rng, n, candidates, hits=tune).best()
                    part = Part.draw(rng, n, candidates, hits=gate)
                    passed[0] |= part.verdict(chosen, attempt) == Verdict.PASS
                    passed[1] |= part.passes_naively(part.best())
                gated.append(passed[0])
                naive.append(passed[1])
            case = f"10 campaigns, best of {candidates}, no better"
            yield at_most(share(case, n, "promoted, gate", gated), 0.05)
            yield at_least(share(case, n, "promoted, naive rule", naive), 0.6)


def promoted(rng: Rng, n: int, gain: float, times: int) -> list[bool]:
    """Return whether candidates of a true gain are promoted at their first attempt."""
    parts = (Part.draw(rng, n, 1, gain=gain, hits=baseline_hits(rng, n)) for _ in range(times))
    return [part.verdict(0, 1) == Verdict.PASS for part in parts]


def power(rng: Rng, scale: float) -> Iterator[Figure]:
    """Judge one candidate that is worse by one point, and one that is better by five."""
    event = "promoted, first attempt"
    for n in (100, 400, 2000):
        found = promoted(rng, n, -0.01, math.ceil(10_000 * scale))
        yield at_most(share("recall truly .01 worse", n, event, found), 0.01)
    for n in (100, 400, 1000, 2000):
        found = promoted(rng, n, 0.05, math.ceil(2000 * scale))
        told = share("recall truly .05 better", n, event, found)
        yield at_least(told, 0.95) if n == 2000 else told


def clustered(rng: Rng, clusters: int, size: int, rise: float) -> Evidence:
    """Return rows in sessions that one side calls positive as a whole, one more than the other."""
    n = clusters * size
    codes = np.repeat(np.arange(clusters), size)
    changed = rng.random(clusters) < rise
    baseline = rng.random(n) < FALSE_POSITIVE_RATE
    candidate = baseline | changed[codes]
    y = np.zeros(n, dtype=np.int8)
    return Evidence(y, baseline, candidate, codes, latency=NO_LATENCY, waiver="simulated")


def sessions(rng: Rng, scale: float) -> Iterator[Figure]:
    """Judge a rise of false positives beyond the limit that comes in whole sessions."""
    for clusters in (30, 60, 150):
        for size in (2, 20):
            happened = []
            for _ in range(math.ceil(2000 * scale)):
                evidence = clustered(rng, clusters, size, 0.025)
                line = decide(evidence, POLICY, attempt=1).lines[1]
                happened.append(line.verdict == Verdict.PASS)
            case = f"FP rise {0.025 * (1 - FALSE_POSITIVE_RATE):.3f} in sessions of {size}"
            yield at_most(share(case, clusters, "passed, first attempt", happened), 0.05)


def scored(rng: Rng, n: int) -> tuple[np.ndarray, Floats]:
    """Return labels, 30 % positive, and true probabilities of two normal classes 2 apart."""
    y = (rng.random(n) < PREVALENCE).astype(np.int8)
    return y, probability(rng.normal(size=n) + SEPARATION * y)


def probability(x: Floats) -> Floats:
    """Return the true probabilities of what the classes are told apart by."""
    return 1 / (1 + np.exp(-(SEPARATION * (x - SEPARATION / 2) + PRIOR)))


def placed(p: float) -> float:
    """Return what has this probability."""
    return (math.log(p / (1 - p)) - PRIOR) / SEPARATION + SEPARATION / 2


def broken(low: float, high: float) -> tuple[bool, bool, float]:
    """Return whether a gray zone breaks its limits in truth, and the true share of its rows."""
    a, b = placed(low), placed(high)
    missed, blocked = ndtr(a - SEPARATION), ndtr(-b)
    positive, negative = ndtr(b - SEPARATION) - missed, 1 - blocked - ndtr(a)
    reviewed = PREVALENCE * positive + (1 - PREVALENCE) * negative
    return bool(missed > 0.05), bool(blocked > 0.05), max(float(reviewed), 0.0)


def gray(rng: Rng, scale: float) -> Iterator[Figure]:
    """Draw calibrate parts, and look whether the gray zone keeps its limits in truth."""
    for n in (300, 1000, 5000, 20_000):
        ours, plain = [], []
        for _ in range(math.ceil(1000 * scale)):
            y, p = scored(rng, n)
            curve = Curve(y, p)
            zone = curve.gray_zone(curve.most_recall(max_false_positive_rate=0.1) or 0.5)
            ours.append(broken(zone.low, zone.high))
            plain.append(broken(np.quantile(p[y == 1], 0.05), np.quantile(p[y == 0], 0.95)))
        for rule, found in (("gray zone", ours), ("plug-in rule", plain)):
            missed, blocked, reviewed = zip(*found, strict=True)
            for event, happened in (("misses > 5 %", missed), ("false blocks > 5 %", blocked)):
                one = share(rule, n, event, list(happened))
                yield at_most(one, 0.05, errors=2) if rule == "gray zone" else one
            yield mean(rule, n, "reviewed", list(reviewed), unit="%")


def against_itself(rng: Rng, score: Callable[[Any], float], rows: list[Any], times: int) -> Any:  # noqa: ANN401 - comparisons
    """Return comparisons of a model with itself while other processes keep all cores busy."""
    busy = [sys.executable, "-c", "while True: sum(range(10_000))"]
    loads = [subprocess.Popen(busy) for _ in range(os.cpu_count() or 1)]
    try:
        return [compare_latency(score, score, rows, rng=rng) for _ in range(times)]
    finally:
        for load in loads:
            load.kill()
            load.wait()


def latency(rng: Rng, scale: float) -> Iterator[Figure]:
    """Compare a model with itself on a busy machine, by its row scorer and by whole tables."""
    from nethical.testing.cases import Case

    case = Case("boosted")
    model, table = case.fitted("numeric"), case.rows("numeric")
    scorer = model.row_scorer()
    if scorer is None:
        raise TypeError("boosted scores no single rows")
    columns = [column.name for column in table.features]
    rows = table.frame.select(columns).to_pylist()
    pieces = [table.slice(k, 1) for k in range(len(table))]
    by_row = against_itself(rng, scorer, rows, math.ceil(200 * scale))
    yield from judged("against itself, all cores busy", by_row)
    whole = against_itself(
        rng, lambda one: float(model.score(one)[0]), pieces, math.ceil(40 * scale)
    )
    yield from judged("the same, a row as a table", whole)


def judged(name: str, found: list[LatencyComparison]) -> Iterator[Figure]:
    """Count what the gate says, and how far a model lies from itself."""
    none = np.zeros(1, dtype=np.int8)
    verdicts = []
    for one in found:
        evidence = Evidence(none, none == 1, none == 1, latency=one, waiver="simulated")
        verdicts.append(decide(evidence, POLICY, attempt=1).lines[2].verdict)
    n = found[0].calls
    failed = share(name, n, "FAIL", [v == Verdict.FAIL for v in verdicts])
    yield at_most(failed, 0.0)
    yield share(name, n, "PASS", [v == Verdict.PASS for v in verdicts])
    for label in ("p50", "p95"):
        gaps = [abs(getattr(one, label).estimate) for one in found]
        beyond = [gap > one.floor_ms for gap, one in zip(gaps, found, strict=True)]
        yield at_most(share(name, n, f"{label} beyond the floor", beyond), 0.05, errors=2)
        yield mean(name, n, f"{label} gap", gaps, unit="ms")
    yield mean(name, n, "floor", [one.floor_ms for one in found], unit="ms")
    yield mean(name, n, "median of a call", [one.baseline_ms for one in found], unit="ms")


def speed(rng: Rng, scale: float) -> Iterator[Figure]:
    """Count what a million configurations decide about 100,000 rows."""
    n, configurations = 100_000, math.ceil(1_000_000 * scale)
    y, p = scored(rng, n)
    block, low, high = (rng.random(configurations) for _ in range(3))
    confidence = np.full(configurations, 0.7)
    seconds = []
    for _ in range(5):
        began = time.process_time()
        Curve(y, p).outcomes(block, low, high, confidence)
        seconds.append(time.process_time() - began)
    best = Figure("prefix sums", n, "configurations", 5, configurations / min(seconds), unit="/s")
    yield replace(best, asked="at least 1,000,000 /s", is_met=best.value >= 1_000_000)
    began = time.process_time()
    curve = Curve(y, p)
    tried = len(curve.cuts())
    curve.most_recall(max_false_positive_rate=0.1)
    rate = tried / (time.process_time() - began)
    yield Figure("all cuts, sort and choice included", n, "configurations", 1, rate, unit="/s")


@dataclass(frozen=True)
class Decided:
    """Decisions of a configuration, and what people say of them.

    Args:
        agrees: Whether people decide likewise, shape (n,).
        gray: Whether a row lies in the gray zone, shape (n,).
        truth: The agreement over all of them.
    """

    agrees: Bools
    gray: Bools
    truth: float

    @classmethod
    def draw(cls, rng: Rng, n: int = 20_000) -> Decided:
        """Return decisions that agree often where they are sure, and hardly where they are not."""
        y, p = scored(rng, n)
        agrees = (p >= 0.5) == (np.where(rng.random(n) < 0.05, 1 - y, y) == 1)
        return cls(agrees, (p > 0.3) & (p < 0.7), float(agrees.mean()))

    def sample(self, rng: Rng, grays: int, audits: int, *, fixed: bool) -> dict[str, Any]:
        """Return reviewed cases of both strata, as ``agreement`` takes them."""
        picked, chance, names = [], [], []
        for name, rows, k in (
            ("gray", np.flatnonzero(self.gray), grays),
            ("audit", np.flatnonzero(~self.gray), audits),
        ):
            by_chance = rows[rng.random(len(rows)) < k / len(rows)]
            chosen = rng.choice(rows, k, replace=False) if fixed else by_chance
            picked.append(chosen)
            chance.append(np.full(len(chosen), k / len(rows)))
            names.extend([name] * len(chosen))
        return {
            "agrees": self.agrees[np.concatenate(picked)],
            "inclusion_probability": np.concatenate(chance),
            "strata": names,
        }


def people(rng: Rng, scale: float) -> Iterator[Figure]:
    """Estimate agreement from gray cases and an audit, and from gray cases alone."""
    naive: list[float] = []
    for audits in (20, 50, 200):
        for fixed in (True, False):
            gaps, covered = [], []
            for _ in range(math.ceil(2000 * scale)):
                decided = Decided.draw(rng)
                cases = decided.sample(rng, 200, audits, fixed=fixed)
                found = agreement(**cases)
                if found is None:
                    raise ValueError("nothing was reviewed")
                gaps.append(found.interval.estimate - decided.truth)
                covered.append(found.interval.low <= decided.truth)
                gray_only = cases["agrees"][[name == "gray" for name in cases["strata"]]]
                naive.append(float(gray_only.mean()) - decided.truth)
            case = f"200 gray, {audits} audits, {'fixed' if fixed else 'each by chance'}"
            bias = mean(case, 200 + audits, "bias", gaps, unit="%")
            yield replace(bias, asked="within 1 %", is_met=abs(bias.value) <= 0.01)
            yield at_least(share(case, 200 + audits, "lower bound holds", covered), 0.94)
    yield mean("gray cases only", 200, "bias", naive, unit="%")


SECTIONS: dict[str, Callable[[Rng, float], Iterator[Figure]]] = {
    "null": null,
    "power": power,
    "sessions": sessions,
    "gray": gray,
    "latency": latency,
    "speed": speed,
    "agreement": people,
}


def main() -> None:
    """Measure the sections that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="part of the draws to make")
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
            print(one, flush=True)
        results[section] = {"cpu_s": time.process_time() - began, "figures": found}
    target = HERE / "results" / f"promotion-errors-{time.strftime('%Y%m%dT%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwritten to {target}")


if __name__ == "__main__":
    main()
