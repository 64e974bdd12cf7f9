"""The search for better training parameters: trials that are measured, and all of them kept.

A trial trains on the train part, is calibrated as any model is, scores the tune part, and its
thresholds are solved exactly there. The gate part is never read. Optuna only proposes; the
store is the record, and a study that was interrupted asks for the same trials again, takes what
is known from the store, and goes on. How many trials are asked for at once depends on the
technique alone (all, or a generation), so one worker or many, or a new start, make no difference.

Reference:
    Bergstra and Bengio 2012 (random search); Deb, Pratap, Agarwal and Meyarivan 2002 (NSGA-II).
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
import time
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical import calibrators
from nethical.canonical import canonical_json, digest
from nethical.data.roles import Roles
from nethical.data.table import LabelledTable
from nethical.engine import local
from nethical.errors import DataError, NethicalError, UsageError
from nethical.governance.configurations import fitness
from nethical.governance.thresholds import solve
from nethical.metrics.intervals import normal_quantile
from nethical.models import catalog
from nethical.models.base import Settings, filled
from nethical.plan import Plan
from nethical.run import silent
from nethical.threads import one_blas_thread
from nethical.trained import TrainedModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from nethical.governance.store import GovernanceStore
    from nethical.models.base import Parameter
    from nethical.preparation import Prepared
    from nethical.run import Progress

    Values = Mapping[str, Any]

__all__ = [
    "TECHNIQUES",
    "Limits",
    "Trial",
    "affordable_increase",
    "latency_ms",
    "rows_of",
    "search",
]

TECHNIQUES = ("random_search", "grid_search", "evolutionary")
STORED_AT_ONCE = 4
SMALLEST_POPULATION = 4
GENERATIONS = 5
PARTS = ("train", "calibrate", "tune")
TIMED_CALLS = 20
LOSS_WEIGHT = 1e-3
ALPHA = 0.05
POWER = 0.9


@dataclass(frozen=True)
class Limits:
    """What a trial's thresholds must keep on the tune part.

    Args:
        max_false_positive_rate: That of the baseline, and what the gate can be shown to allow.
        baseline_false_positive_rate: Of the baseline on the tune part.
    """

    max_false_positive_rate: float
    baseline_false_positive_rate: float


@dataclass(frozen=True)
class Trial:
    """One configuration that was tried.

    Args:
        number: From 1.
        name: As it is shown, such as ``random_v15``.
        parameters: Of the model type.
        outcome: What was measured on the tune part: ``recall``, ``precision``,
            ``false_positive_rate``, ``brier``, ``review_share``, ``latency_ms``, ``thresholds``;
            or ``error``, why nothing could be.
    """

    number: int
    name: str
    parameters: Values
    outcome: Values

    @property
    def is_complete(self) -> bool:
        """Whether it could be trained and measured."""
        return "error" not in self.outcome

    @property
    def value(self) -> float:
        """What the proposer climbs: recall within the limit, and a little of the Brier loss."""
        return float(self.outcome["recall"] - LOSS_WEIGHT * self.outcome["brier"])

    @property
    def fitness(self) -> float:
        """The fitness score of what is known of a trial: three terms, agreement is not."""
        found, _ = fitness(
            self.outcome["recall"],
            self.outcome["false_positive_rate"],
            self.outcome["latency_ms"],
            None,
        )
        return math.nan if found is None else found


def affordable_increase(limit: float, n_gate: int, n_tune: int, *, alpha: float = ALPHA) -> float:
    """Return the increase of the false positive rate that a gate can be shown to allow.

    If each row that changes changes for the worse, the bound on the gate part then keeps the
    limit with 90 % probability, although the increase is only known from the tune part.

    Args:
        limit: The increase that is allowed, in (0, 1).
        n_gate: Negatives of the gate part.
        n_tune: Negatives of the tune part.
        alpha: One-sided error rate of the bound.

    Example:
        >>> round(affordable_increase(0.02, 800, 600), 4)
        0.0084
    """
    if min(n_gate, n_tune) <= 0:
        return 0.0
    z = normal_quantile(1 - alpha) / math.sqrt(n_gate)
    z += normal_quantile(POWER) * math.sqrt(1 / n_gate + 1 / n_tune)
    return ((math.sqrt(z * z + 4 * limit) - z) / 2) ** 2


def search(  # noqa: PLR0913 - what is searched, how, and where it is kept
    plan: Plan,
    prepared: Prepared,
    store: GovernanceStore,
    *,
    technique: str,
    iterations: int,
    limits: Limits,
    workers: int = 1,
    progress: Progress = silent,
) -> tuple[str, list[Trial]]:
    """Return the id of the study and every trial, in order.

    Args:
        plan: What each trial does with other parameters; its seed decides the proposals.
        prepared: The parts, with a tune part.
        store: Where trials are kept; those that are there already are not run again.
        technique: One of ``TECHNIQUES``.
        iterations: How many trials; a grid may have fewer points.
        limits: What thresholds must keep.
        workers: Processes.
        progress: Told how far it has come.

    Raises:
        UsageError: There is no such technique, nothing to search, or fewer than one iteration.
        DataError: The tune part lacks a class.
    """
    space = _checked(plan, technique, iterations, prepared)
    proposals = _proposer(technique, space, iterations, plan.seed)
    study_id = store.open_study(
        plan.slot, technique, iterations, _identity(plan, prepared, space, limits)
    )
    known = store.trials(study_id)
    trials: list[Trial] = []
    with _parts(prepared, workers) as parts:
        task = partial(_evaluate, parts, plan.to_document(), limits)
        while batch := proposals.ask():
            numbered = list(enumerate(batch, len(trials) + 1))
            missing = [(number, values) for number, values in numbered if number not in known]
            found = local.run(task, [values for _, values in missing], workers=workers)
            for fresh in _in_lots(zip(missing, found, strict=True)):
                store.record_trials(study_id, [(n, v, outcome) for (n, v), outcome in fresh])
                known |= {number: (values, outcome) for (number, values), outcome in fresh}
                progress("search", max(known), iterations)
            for number, values in numbered:
                name = f"{technique.partition('_')[0]}_v{number}"
                trials.append(Trial(number, name, values, known[number][1]))
            proposals.tell(trials[-len(batch) :])
    return study_id, trials


def _in_lots(found: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield what comes in lots of a few, so that a store is written now and then."""
    iterator = iter(found)
    while lot := list(itertools.islice(iterator, STORED_AT_ONCE)):
        yield lot


def _checked(
    plan: Plan, technique: str, iterations: int, prepared: Prepared
) -> tuple[Parameter, ...]:
    """Return the space to search."""
    if technique not in TECHNIQUES:
        raise UsageError(
            f"there is no technique {technique!r}", mend=f"choose one of {', '.join(TECHNIQUES)}"
        )
    if iterations < 1:
        raise UsageError(
            f"{iterations} iterations", mend="pass --optimization-iterations 1 or more"
        )
    space = catalog.traits(plan.model_type).space
    if not space:
        raise UsageError(
            f"the model type {plan.model_type} declares no parameters to search",
            mend="leave --optimize-config out, or train another type",
        )
    if not prepared.parts["tune"].has_both_classes:
        raise DataError(
            "the tune part lacks a class, so no threshold can be solved on it",
            mend="give more labelled rows of both classes, or leave --optimize-config out",
        )
    return space


def _identity(
    plan: Plan, prepared: Prepared, space: Sequence[Parameter], limits: Limits
) -> dict[str, Any]:
    """Return what makes a study the same study: the rows, the plan, the space, the limits."""
    beside = ("models_dir", "threads", "replace", "parameters")
    document = {k: v for k, v in plan.to_document().items() if k not in beside}
    return {
        "plan": document,
        "data": prepared.loaded.digest,
        "gate": prepared.split.gate_digest,
        "space": [parameter.to_document() for parameter in space],
        "limits": vars(limits),
    }


# --- who proposes ----------------------------------------------------------------------------


class _Proposer:
    """Asks Optuna, in memory, for the next trials, and tells it how they went."""

    def __init__(
        self,
        sampler: Any,  # noqa: ANN401 - of Optuna
        space: Sequence[Parameter],
        iterations: int,
        at_once: int,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._distributions = {p.name: _distribution(p) for p in space}
        self._left = iterations
        self._at_once = at_once
        self._asked: list[Any] = []
        self._study.enqueue_trial({p.name: p.default for p in space})

    def ask(self) -> Sequence[Values]:
        """Return the parameters of the next trials, none when enough were asked for."""
        n = min(self._at_once, self._left)
        self._left -= n
        self._asked = [self._study.ask(self._distributions) for _ in range(n)]
        return [dict(trial.params) for trial in self._asked]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Tell how the trials went that were asked for last."""
        import optuna

        for asked, trial in zip(self._asked, trials, strict=True):
            if trial.is_complete:
                self._study.tell(asked, trial.value)
            else:
                self._study.tell(asked, state=optuna.trial.TrialState.FAIL)


class _Grid:
    """Points of a product of levels, in an order that the seed decides."""

    def __init__(self, space: Sequence[Parameter], iterations: int, seed: int) -> None:
        levels, size = 1, 0
        while True:
            axes = [_levels(parameter, levels) for parameter in space]
            product = math.prod(map(len, axes))
            if product >= iterations or (product == size and levels > FINEST):
                break
            size, levels = product, levels + 1
        points = list(itertools.product(*axes))
        order = np.random.default_rng(seed).permutation(len(points))[:iterations]
        names = [parameter.name for parameter in space]
        self._points = [dict(zip(names, points[place], strict=True)) for place in order]

    def ask(self) -> Sequence[Values]:
        """Return all points, and none when they were asked for."""
        batch, self._points = self._points, []
        return batch

    def tell(self, trials: Sequence[Trial]) -> None:
        """Take no notice: a grid does not learn."""


FINEST = 64


def _proposer(
    technique: str, space: Sequence[Parameter], iterations: int, seed: int
) -> _Proposer | _Grid:
    if technique == "grid_search":
        return _Grid(space, iterations, seed)
    import optuna

    seed = int.from_bytes(digest(canonical_json([technique, seed])).encode()[7:15]) % 2**31
    if technique == "random_search":
        return _Proposer(optuna.samplers.RandomSampler(seed=seed), space, iterations, iterations)
    population = max(SMALLEST_POPULATION, iterations // GENERATIONS)
    sampler = optuna.samplers.NSGAIISampler(population_size=population, seed=seed)
    return _Proposer(sampler, space, iterations, population)


def _distribution(parameter: Parameter) -> Any:  # noqa: ANN401 - of Optuna
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    low, high = _ends(parameter)
    if parameter.is_whole:
        return IntDistribution(int(low), int(high), log=parameter.is_log)
    return FloatDistribution(low, high, log=parameter.is_log)


def _ends(parameter: Parameter) -> tuple[float, float]:
    if parameter.low is None or parameter.high is None:
        raise UsageError(
            f"the parameter {parameter.name!r} has no two ends to search between",
            mend="declare low and high in the space of the model type",
        )
    return parameter.low, parameter.high


def _levels(parameter: Parameter, n: int) -> list[Any]:
    """Return n values of a parameter at most, evenly over its range."""
    if parameter.choices:
        return list(parameter.choices)
    low, high = _ends(parameter)
    place = np.array([0.5]) if n == 1 else np.linspace(0, 1, n)
    values = low * (high / low) ** place if parameter.is_log else low + (high - low) * place
    if parameter.is_whole:
        return sorted({round(value) for value in values.tolist()})
    return [float(value) for value in values]


# --- a trial ---------------------------------------------------------------------------------


class _parts:  # noqa: N801 - used like a function, as context managers are
    """Gives the parts to trials: as they are, or as a folder that other processes read."""

    def __init__(self, prepared: Prepared, workers: int) -> None:
        self._prepared = prepared
        self._folder = tempfile.TemporaryDirectory() if workers > 1 else None

    def __enter__(self) -> Prepared | str:
        if self._folder is None:
            return self._prepared
        _write_parts(self._prepared, Path(self._folder.name))
        return self._folder.name

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _write_parts(prepared: Prepared, folder: Path) -> None:
    """Write the rows that trials read; the folder is readable by its owner only."""
    from pyarrow import feather

    for name in PARTS:
        part = prepared.parts[name]
        feather.write_feather(part.frame, folder / f"{name}.arrow", compression="uncompressed")
        np.save(folder / f"{name}.npy", part.y)
    (folder / "roles.json").write_text(json.dumps(prepared.roles.to_document()))


@lru_cache(maxsize=1)
def _read_parts(folder: str) -> Mapping[str, LabelledTable]:
    from pyarrow import feather

    place = Path(folder)
    roles = Roles.from_document(json.loads((place / "roles.json").read_text()))
    return {
        name: LabelledTable(
            feather.read_table(place / f"{name}.arrow", memory_map=True),
            roles,
            np.load(place / f"{name}.npy", allow_pickle=False),
        )
        for name in PARTS
    }


def _evaluate(
    source: Prepared | str, document: Values, limits: Limits, parameters: Values
) -> dict[str, Any]:
    """Return what a trial measures, or why it cannot."""
    plan = replace(Plan.from_document(document), parameters=parameters)
    parts = _read_parts(source) if isinstance(source, str) else source.parts
    try:
        with one_blas_thread():
            return _measured(plan, parts, limits)
    except NethicalError as error:
        return {"error": error.what}


def _measured(plan: Plan, parts: Mapping[str, LabelledTable], limits: Limits) -> dict[str, Any]:
    space = catalog.traits(plan.model_type).space
    settings = Settings(plan.epochs, plan.batch_size, 1, None, filled(space, plan.parameters))
    train, calibrate, tune = (parts[name] for name in PARTS)
    model = catalog.build(plan.model_type, settings).fit(
        train, rng=np.random.default_rng(plan.seed), progress=silent
    )
    scores = model.score(calibrate)
    strict = catalog.traits(plan.model_type).learns_from_normals
    calibrator: calibrators.Calibrator
    if calibrate.has_both_classes:
        calibrator = calibrators.fit(scores, calibrate.y, strict=strict)
    else:
        calibrator = calibrators.fit_to_normals(scores)
    y_proba = calibrator.predict(model.score(tune))
    thresholds, zone = solve(
        tune.y, y_proba, max_false_positive_rate=limits.max_false_positive_rate
    )
    trained = TrainedModel(plan.slot, plan.model_type, tune.roles, model, calibrator, thresholds)
    called = y_proba >= thresholds.block
    tp, fp = int(np.sum(called & (tune.y == 1))), int(np.sum(called & (tune.y == 0)))
    positives = int(tune.y.sum())
    return {
        "recall": tp / positives,
        "precision": tp / (tp + fp) if tp + fp else None,
        "false_positive_rate": fp / (len(tune) - positives),
        "brier": float(np.mean((y_proba - tune.y) ** 2)),
        "review_share": zone.review_share,
        "latency_ms": latency_ms(trained, tune),
        "thresholds": {
            "block": thresholds.block,
            "gray_low": thresholds.gray_low,
            "gray_high": thresholds.gray_high,
            "confidence": thresholds.confidence,
        },
    }


def rows_of(table: LabelledTable, places: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """Yield rows of a table as a caller would give them, one mapping each."""
    yield from table.frame.take(places).to_pylist()


def latency_ms(trained: TrainedModel, table: LabelledTable) -> float:
    """Return the median CPU time of one decision, in milliseconds."""
    rows = list(rows_of(table, np.arange(min(TIMED_CALLS, len(table)))))
    trained.predict_row(rows[0])
    times = []
    for row in rows:
        began = time.thread_time_ns()
        trained.predict_row(row)
        times.append((time.thread_time_ns() - began) / 1e6)
    return float(np.median(times))
