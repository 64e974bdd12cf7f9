"""The laws behind the synthetic tasks: what the columns are, and what makes a row risky.

Each law draws columns from a :class:`World` and returns them with the log-odds that a row is
positive. What every task has in common (groups, drift, label noise) is added by
:mod:`nethical.data.synthetic`. No constant here was chosen by looking at a fitted model: they
follow from the wanted prevalence and best possible accuracy of the truth alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nethical.data.synthetic_sessions import sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]
    IntArray: TypeAlias = NDArray[np.int64]
    Drawn: TypeAlias = tuple[dict[str, pa.Array], FloatArray]

__all__ = ["DAY", "TASKS", "Knobs", "Task", "World", "event_log_odds"]

DAY = 86_400_000_000  # microseconds
WITHIN_ROW = 0.15  # correlation of two numeric features of a row, on the normal scale
WITHIN_GROUP = 0.3  # correlation of a feature of two rows of a group, on the normal scale
INFORMATIVE = 0.25  # log-odds of an informative missing value, as a share of its column's weight


@dataclass(frozen=True)
class Knobs:
    """What a user may change about a law; the defaults change nothing.

    Args:
        overlap: The classes overlap more above 1: log-odds are divided by it.
        label_noise: Share of labels that are flipped, in [0, .5].
        prevalence_shift: Log-odds added to every row.
        covariate_shift: How far the features move towards risk while P(label | row) stays:
            standard deviations of a number, else a taste for risky words, steps and resources.
        missing: Share of each numeric feature that is hidden, whatever its value; a hidden value
            adds nothing to the log-odds, so the truth is exact given what the row shows.
        informative_missing: 1 (or True) makes a missing value raise the log-odds.
        groups: Number of groups, 0 for none: adds the column ``group``, an effect of each group
            on the log-odds, and alike numeric features within a group.
        drift: How far the log-odds of the same features rise from the first moment to the last.
    """

    overlap: float = 1.0
    label_noise: float = 0.0
    prevalence_shift: float = 0.0
    covariate_shift: float = 0.0
    missing: float = 0.0
    informative_missing: float = 0
    groups: float = 0
    drift: float = 0.0


@dataclass(frozen=True)
class World:
    """What a law draws from.

    Args:
        n_rows: Number of rows, n.
        knobs: The checked knobs.
        rng: For the columns.
        missing_rng: For what is missing; its own, so that the values below stay the same.
        time: Microseconds from the first moment, sorted, shape (n,).
        group: Group of each row, shape (n,), in [0, knobs.groups); None without groups.
    """

    n_rows: int
    knobs: Knobs
    rng: np.random.Generator
    missing_rng: np.random.Generator
    time: IntArray
    group: IntArray | None


@dataclass(frozen=True)
class Task:
    """A law, what it is in one line, which knobs it takes and where they stand by default."""

    summary: str
    law: Callable[[World], Drawn]
    knobs: frozenset[str]
    defaults: Knobs = field(default_factory=Knobs)
    timed: bool = False


# --- parts that the laws share ---------------------------------------------------------------


@dataclass(frozen=True)
class Additive:
    """A numeric feature's share in the log-odds: weight * (x + bend * x * (1 - x)), centred.

    Monotone and smooth for bends in (-1, 1); its mean over a uniform x is 0.
    """

    weight: float
    bend: float = 0.0

    def log_odds(self, x: FloatArray, missing_bonus: float) -> FloatArray:
        """Return the share for x in [0, 1], shape (n,); NaN gives the bonus for missing."""
        centred = x + self.bend * x * (1 - x) - 0.5 - self.bend / 6
        return np.where(np.isnan(x), missing_bonus, centred) * self.weight


def _uniforms(world: World, k: int) -> FloatArray:
    """Return k uniform features in [0, 1], mildly correlated, NaN where missing, shape (n, k)."""
    from scipy.special import ndtr

    rng, knobs = world.rng, world.knobs
    shared = rng.standard_normal((world.n_rows, 1))
    own = rng.standard_normal((world.n_rows, k))
    normal = np.sqrt(WITHIN_ROW) * shared + np.sqrt(1 - WITHIN_ROW) * own
    if world.group is not None:
        of_group = rng.standard_normal((int(knobs.groups), k))[world.group]
        normal = np.sqrt(WITHIN_GROUP) * of_group + np.sqrt(1 - WITHIN_GROUP) * normal
    uniform: FloatArray = ndtr(normal + knobs.covariate_shift)
    uniform[world.missing_rng.random(uniform.shape) < knobs.missing] = np.nan
    return uniform


def _missing_bonus(world: World) -> float:
    return INFORMATIVE if world.knobs.informative_missing else 0.0


def _numeric(values: FloatArray) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, from_pandas=True)


def _take(names: Sequence[str], index: IntArray) -> pa.Array:
    import pyarrow as pa

    return pa.array(names, pa.string()).take(pa.array(index))


def _choose(world: World, weights: FloatArray, tilt: float) -> IntArray:
    """Return one index per row, drawn with odds exp(tilt * weight), shape (n,)."""
    odds = np.exp(tilt * weights)
    return world.rng.choice(len(weights), world.n_rows, p=odds / odds.sum())


# --- numbers ---------------------------------------------------------------------------------
RISK: Mapping[str, Additive] = {
    "violation_count": Additive(17.0, 0.4),
    "severity_max": Additive(15.0, -0.3),
    "recency_score": Additive(8.5, 0.3),
    "frequency_score": Additive(7.5, -0.3),
    "context_risk": Additive(6.5),
}
RISK_INTERCEPT = -1.7
MIXED_NUMBERS: Mapping[str, Additive] = {
    "severity_max": Additive(8.0, -0.3),
    "frequency_score": Additive(5.0, 0.3),
}


def _additive(world: World, features: Mapping[str, Additive]) -> Drawn:
    x = _uniforms(world, len(features))
    bonus = _missing_bonus(world)
    shares = [feature.log_odds(x[:, j], bonus) for j, feature in enumerate(features.values())]
    columns = {name: _numeric(x[:, j]) for j, name in enumerate(features)}
    return columns, np.sum(shares, axis=0)


def _risk(world: World) -> Drawn:
    columns, log_odds = _additive(world, RISK)
    return columns, log_odds + RISK_INTERCEPT


def _xor(world: World) -> Drawn:
    x = _uniforms(world, 3)
    left, right = (2 * x[:, j] - 1 for j in (0, 1))
    product = 60 * left * right
    log_odds = np.where(np.isnan(product), 4 * _missing_bonus(world), product)
    names = ("left_signal", "right_signal", "nuisance")
    return {name: _numeric(x[:, j]) for j, name in enumerate(names)}, log_odds


# --- text ------------------------------------------------------------------------------------
SLOTS: tuple[Mapping[str, float], ...] = (
    dict.fromkeys(("today", "next", "again", "later", "meanwhile", "finally", "once more"), 0.0),
    dict.fromkeys(("the agent", "our planner", "a worker", "the crawler", "one helper"), 0.0),
    {
        "reviews": -1.0,
        "summarises": -1.0,
        "reads": -0.5,
        "sorts": -0.5,
        "updates": 0.0,
        "copies": 0.5,
        "forwards": 1.0,
        "deletes": 1.5,
    },
    {
        "the weekly notes": -1.0,
        "a public page": -1.0,
        "the test report": -0.5,
        "an open ticket": -0.5,
        "the price list": 0.0,
        "a customer record": 0.5,
        "the payroll file": 1.0,
        "every password": 1.5,
    },
    {
        "for the owner": -1.0,
        "in the sandbox": -1.0,
        "in the archive": 0.0,
        "on the server": 0.0,
        "for a stranger": 1.0,
        "on a private mailbox": 1.0,
    },
    {
        "with approval": -1.0,
        "as asked": -0.5,
        "step by step": 0.0,
        "in a hurry": 0.0,
        "without logging": 0.5,
        "bypassing the check": 1.0,
    },
    dict.fromkeys(("before lunch", "this morning", "at night", "on Monday", "by noon"), 0.0),
)
TEXT_SCALE = 3.6
TEXT_INTERCEPT = -1.0


def _messages(world: World) -> tuple[pa.Array, FloatArray]:
    import pyarrow.compute as pc

    tilt = world.knobs.covariate_shift / 2
    parts, log_odds = [], np.zeros(world.n_rows)
    for slot in SLOTS:
        weights = np.array(list(slot.values()))
        index = _choose(world, weights, tilt)
        parts.append(_take(list(slot), index))
        log_odds += weights[index]
    return pc.binary_join_element_wise(*parts, " "), TEXT_SCALE * log_odds


def _text(world: World) -> Drawn:
    messages, log_odds = _messages(world)
    return {"message": messages}, log_odds + TEXT_INTERCEPT


# --- sequences -------------------------------------------------------------------------------
ACTIONS = (
    "plan",
    "list_files",
    "read_file",
    "read_secret",
    "write_file",
    "run_tests",
    "call_api",
    "send_message",
    "grant_access",
    "delete_file",
)
# A step counts its weight; the same step backwards counts as much against risk. So how often an
# action occurs says next to nothing, and the order does.
RISKY_STEPS: Mapping[tuple[str, str], float] = {
    ("read_secret", "send_message"): 1.0,
    ("read_secret", "call_api"): 0.8,
    ("grant_access", "delete_file"): 1.0,
    ("grant_access", "read_secret"): 0.6,
    ("write_file", "delete_file"): 0.5,
    ("run_tests", "write_file"): -0.5,
    ("list_files", "call_api"): 0.4,
}
STEP_FREQUENCY = 3.0  # how much likelier a step of the table is than another, either way round
SHORTEST, LONGEST = 6, 24
SEQUENCE_SCALE = 5.2
SEQUENCE_INTERCEPT = -1.5


def _step_weights() -> FloatArray:
    weights = np.zeros((len(ACTIONS), len(ACTIONS)))
    for (first, second), weight in RISKY_STEPS.items():
        weights[ACTIONS.index(first), ACTIONS.index(second)] = weight
        weights[ACTIONS.index(second), ACTIONS.index(first)] = -weight
    return weights


def _walk(world: World, weights: FloatArray) -> IntArray:
    """Return Markov chains over the actions, shape (n, LONGEST)."""
    odds = np.where(weights == 0, 1.0, STEP_FREQUENCY)
    odds = odds * np.exp(world.knobs.covariate_shift / 2 * weights)
    cumulative = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)
    cumulative[:, -1] = 1.0
    steps = np.empty((world.n_rows, LONGEST), dtype=np.int64)
    steps[:, 0] = world.rng.integers(len(ACTIONS), size=world.n_rows)
    for i in range(1, LONGEST):
        draw = world.rng.random((world.n_rows, 1))
        steps[:, i] = (draw >= cumulative[steps[:, i - 1]]).sum(axis=1)
    return steps


def _actions(world: World) -> tuple[pa.Array, FloatArray]:
    import pyarrow as pa

    weights = _step_weights()
    steps = _walk(world, weights)
    length = world.rng.integers(SHORTEST, LONGEST + 1, size=world.n_rows)
    inside = np.arange(LONGEST) < length[:, None]
    log_odds = (weights[steps[:, :-1], steps[:, 1:]] * inside[:, 1:]).sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
    sequences = pa.ListArray.from_arrays(pa.array(offsets), _take(ACTIONS, steps[inside]))
    return sequences, SEQUENCE_SCALE * log_odds


def _sequence(world: World) -> Drawn:
    sequences, log_odds = _actions(world)
    return {"actions": sequences}, log_odds + SEQUENCE_INTERCEPT


# --- events ----------------------------------------------------------------------------------
WINDOW = 7 * DAY
USUAL_LOG_AMOUNT = 3.0  # what is usual for an agent nobody has seen yet
UNUSUAL = 0.9  # log amount above the agent's usual one


def _earlier_sums(
    key: IntArray, time: IntArray, value: FloatArray, window: int
) -> tuple[FloatArray, FloatArray]:
    """Return count and sum of the values of the same key in [time - window, time), shape (n,)."""
    span = int(time.max()) + window + 1
    order = np.lexsort((time, key))
    place = (key * span + time)[order]
    first = np.searchsorted(place, np.maximum(place - window, key[order] * span))
    last = np.searchsorted(place, place)
    total = np.concatenate([[0.0], np.cumsum(value[order])])
    count, summed = np.empty(len(key)), np.empty(len(key))
    count[order] = last - first
    summed[order] = total[last] - total[first]
    return count, summed


def event_log_odds(
    agent: IntArray, resource: IntArray, time: IntArray, amount: FloatArray
) -> FloatArray:
    """Return the log-odds of each event, from the event itself and strictly earlier ones.

    An event is risky when its amount is large for its own agent, and when many events of the
    last seven days at the same resource were large for their own agents.

    Args:
        agent: Who acted, shape (n,), numbers from 0.
        resource: On what, shape (n,), numbers from 0.
        time: Microseconds from the first moment, shape (n,), not negative.
        amount: Positive, shape (n,).

    Returns:
        Log-odds of a positive label, shape (n,).
    """
    log_amount = np.log(amount)
    count, summed = _earlier_sums(agent, time, log_amount, int(time.max()) + 1)
    excess = log_amount - (USUAL_LOG_AMOUNT + summed) / (1 + count)
    count, unusual = _earlier_sums(resource, time, (excess > UNUSUAL).astype(float), WINDOW)
    return -9.0 + 5.0 * np.clip(excess, -1.0, 1.5) + 20.0 * unusual / (count + 2)


def _events(world: World) -> Drawn:
    rng, n_rows = world.rng, world.n_rows
    n_agents, n_resources = max(5, n_rows // 60), max(5, n_rows // 200)
    agent, resource = rng.integers(n_agents, size=n_rows), rng.integers(n_resources, size=n_rows)
    period = rng.uniform(0, 90 * DAY, n_resources), rng.uniform(7 * DAY, 21 * DAY, n_resources)
    since = world.time - period[0][resource]
    attacked = rng.random(n_resources) < 0.6 + 0.1 * world.knobs.covariate_shift
    compromised = attacked[resource] & (since >= 0) & (since < period[1][resource])
    unusual = rng.random(n_rows) < np.where(compromised, 0.7, 0.03)
    log_amount = rng.normal(USUAL_LOG_AMOUNT, 0.7, n_agents)[agent] + rng.normal(0, 0.3, n_rows)
    amount = np.maximum(np.round(np.exp(log_amount + 1.5 * unusual), 2), 0.01)
    columns = {
        "agent": _take([f"agent-{i}" for i in range(n_agents)], agent),
        "resource": _take([f"resource-{i}" for i in range(n_resources)], resource),
        "amount": _numeric(amount),
    }
    return columns, event_log_odds(agent, resource, world.time, amount)


# --- all kinds at once -----------------------------------------------------------------------
CHANNELS = {"console": -1.0, "schedule": -0.5, "chat": 0.5, "webhook": 1.0}
REGIONS = dict.fromkeys(("north", "east", "south", "west"), 0.0)
MIXED_INTERCEPT = -1.5


def _mixed(world: World) -> Drawn:
    columns, log_odds = _additive(world, MIXED_NUMBERS)
    for name, levels in (("channel", CHANNELS), ("region", REGIONS)):
        weights = np.array(list(levels.values()))
        index = _choose(world, weights, world.knobs.covariate_shift / 2)
        columns[name] = _take(list(levels), index)
        log_odds = log_odds + 2 * weights[index]
    columns["message"], of_text = _messages(world)
    columns["actions"], of_actions = _actions(world)
    return columns, log_odds + 0.7 * (of_text + of_actions) + MIXED_INTERCEPT


# --- the ancestor's generators ---------------------------------------------------------------
NORMAL_TRIPLES = (
    ("read", "process", "write"),
    ("login", "view", "logout"),
    ("open", "edit", "save"),
    ("query", "filter", "report"),
    ("fetch", "parse", "store"),
    ("list", "select", "close"),
    ("check", "confirm", "notify"),
    ("load", "render", "show"),
)
ATTACK_TRIPLES = (
    ("probe", "exploit", "escalate"),
    ("scan", "inject", "exfiltrate"),
    ("spoof", "hijack", "drain"),
    ("phish", "impersonate", "transfer"),
    ("crack", "dump", "leak"),
    ("tunnel", "persist", "hide"),
    ("flood", "overload", "crash"),
    ("tamper", "forge", "erase"),
)


def _certain(positive: NDArray[np.bool_]) -> FloatArray:
    """Return log-odds without noise: infinite, either way."""
    return np.where(positive, np.inf, -np.inf)


def _legacy_tabular(world: World) -> Drawn:
    x = world.rng.random((world.n_rows, len(RISK)))
    columns = {name: _numeric(x[:, j]) for j, name in enumerate(RISK)}
    return columns, _certain(x[:, 0] + x[:, 1] > 1.0)


def _legacy_anomaly(world: World) -> Drawn:
    import pyarrow as pa

    triples = NORMAL_TRIPLES + ATTACK_TRIPLES
    index = world.rng.integers(len(triples), size=world.n_rows)
    sequences = pa.array(triples, pa.list_(pa.string())).take(pa.array(index))
    return {"sequence": sequences}, _certain(index >= len(NORMAL_TRIPLES))


def _legacy_correlation(world: World) -> Drawn:
    rng, n_rows = world.rng, world.n_rows
    positive = rng.integers(2, size=n_rows) == 1
    spread = rng.random((n_rows, 4))
    values = {
        "agent_count": np.where(positive, rng.integers(4, 13, n_rows), rng.integers(1, 4, n_rows)),
        "action_rate": np.where(positive, 15 + 35 * spread[:, 0], 1 + 9 * spread[:, 0]),
        "entropy_variance": np.where(positive, 0.5, 0.0) + 0.4 * spread[:, 1],
        "time_correlation": np.where(positive, 0.6, 0.0) + 0.4 * spread[:, 2],
        "payload_similarity": np.where(positive, 0.6, 0.0) + 0.4 * spread[:, 3],
    }
    columns = {name: _numeric(column.astype(np.float64)) for name, column in values.items()}
    return columns, _certain(positive)


# --- the registry ----------------------------------------------------------------------------
COMMON = frozenset(
    {"overlap", "label_noise", "prevalence_shift", "covariate_shift", "groups", "drift"}
)
WITH_NUMBERS = COMMON | {"missing", "informative_missing"}

TASKS: Mapping[str, Task] = {
    "risk": Task("five scores in [0, 1], additive and monotone risk", _risk, WITH_NUMBERS),
    "text": Task("short agent messages, risk adds up over words", _text, COMMON),
    "sequence": Task("agent actions, risk lies in their order", _sequence, COMMON),
    "sessions": Task("agent sessions of which few leave the usual course", sessions, COMMON),
    "events": Task(
        "event log with compromised resources, risk follows from the past",
        _events,
        COMMON - {"groups"},
        timed=True,
    ),
    "mixed": Task(
        "numbers with gaps, categories, text, actions, groups and time together",
        _mixed,
        WITH_NUMBERS,
        Knobs(missing=0.1, groups=100),
        timed=True,
    ),
    "xor": Task("two signals that only tell together, and a nuisance", _xor, WITH_NUMBERS),
    "legacy_tabular": Task(
        "the ancestor's rows: violation_count + severity_max > 1", _legacy_tabular, frozenset()
    ),
    "legacy_anomaly": Task(
        "the ancestor's triples: 8 normal, 8 attacks, no action in both",
        _legacy_anomaly,
        frozenset(),
    ),
    "legacy_correlation": Task(
        "the ancestor's five correlation columns, disjoint ranges",
        _legacy_correlation,
        frozenset(),
    ),
}
