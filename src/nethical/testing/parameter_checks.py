"""What a model type owes whoever sets its parameters; a type without any owes nothing here."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np

from nethical.errors import TrainingError, UsageError
from nethical.models.base import Parameter
from nethical.testing.promises import BrokenPromiseError, require, require_equal

if TYPE_CHECKING:
    from collections.abc import Callable

    from nethical.models.base import Model, Value
    from nethical.testing.cases import Case

    Check = Callable[[Case], None]

__all__ = ["CHECKS"]

NAME = re.compile(r"[a-z][a-z0-9_]*")


def parameters_have_names_and_ranges(case: Case) -> None:
    """Each has a name of its own, choices or two limits, and a default among them."""
    names = [parameter.name for parameter in case.traits.space]
    require(len(names) == len(set(names)), f"a parameter is declared twice: {names}")
    for parameter in case.traits.space:
        name = parameter.name
        require(isinstance(parameter, Parameter), f"{parameter!r} is no Parameter")
        require(NAME.fullmatch(name), f"{name!r} is no name of lower-case words")
        json.dumps(parameter.to_document(), allow_nan=False)
        if not parameter.choices:
            low, high = parameter.low, parameter.high
            require(low is not None and high is not None, f"{name} lacks a limit or choices")
            require(_least(parameter) < (high or 0), f"{name} has no room between its limits")
            positive = not parameter.is_log or _least(parameter) > 0
            require(positive, f"{name} goes by orders of magnitude, so its least is above 0")
        try:
            parameter.check(parameter.default)
        except UsageError as error:
            raise BrokenPromiseError(f"the default of {name} is out of range: {error}") from error


def _least(parameter: Parameter) -> float:
    return 0.0 if parameter.low is None else parameter.low


def defaults_are_what_is_used_without_parameters(case: Case) -> None:
    """Told its defaults, a type gives the model that it gives when it is told nothing."""
    if not case.traits.space:
        return
    defaults = {parameter.name: parameter.default for parameter in case.traits.space}
    kind = case.richest
    scores = case.fit(case.learnt(kind), parameters=defaults).score(case.rows(kind))
    require_equal(scores, case.fitted(kind).score(case.rows(kind)), f"{kind}: other defaults")


def unknown_and_odd_parameters_are_refused(case: Case) -> None:
    """A name that is not declared, or a value out of range, is a UsageError of both lines."""
    odd: list[tuple[str, object]] = [("no_such_parameter", 1)]
    for parameter in case.traits.space:
        odd += [(parameter.name, "no such value"), (parameter.name, float("nan"))]
        odd += [(parameter.name, None), (parameter.name, True)]
        if parameter.low is not None and parameter.high is not None and not parameter.choices:
            odd += [(parameter.name, parameter.low - 1), (parameter.name, parameter.high + 1)]
        if parameter.is_whole:
            odd.append((parameter.name, _least(parameter) + 0.5))
    for name, value in odd:
        try:
            case.build(parameters={name: value})
        except UsageError as error:
            require(error.what and error.mend, f"{name}={value!r}: the refusal lacks a line")
        else:
            raise BrokenPromiseError(f"{name}={value!r} is not refused")


def every_parameter_has_an_effect(case: Case) -> None:
    """Some value of each gives other scores, finite ones, that a reloaded model gives too."""
    for parameter in case.traits.space:
        tried = [(kind, value) for kind in _richest_first(case) for value in _others(parameter)]
        require(
            any(_differs(case, kind, parameter.name, value) for kind, value in tried),
            f"{parameter.name} changes no score",
        )


def _richest_first(case: Case) -> list[str]:
    return [case.richest, *(kind for kind in case.kinds if kind != case.richest)]


def _others(parameter: Parameter) -> list[Value]:
    """Return some values that are not the default: the choices, or the limits."""
    values: list[Value] = list(parameter.choices)
    if not values:
        limits = [limit for limit in (parameter.low, parameter.high) if limit is not None]
        values = [int(limit) if parameter.is_whole else limit for limit in limits]
    return [value for value in values if value != parameter.default]


def _differs(case: Case, kind: str, name: str, value: Value) -> bool:
    """Return whether a value changes a score of a kind of table."""
    try:
        model: Model = case.fit(case.learnt(kind), parameters={name: value})
    except TrainingError:
        return False
    rows = case.rows(kind)
    scores = model.score(rows)
    said = f"{kind}, {name}={value}"
    require(np.isfinite(scores).all(), f"{said}: a score is not finite")
    again = case.restored(model.to_parts()).score(rows)
    require_equal(again, scores, f"{said}: reloaded, other scores")
    return bool((scores != case.fitted(kind).score(rows)).any())


CHECKS: tuple[Check, ...] = (
    parameters_have_names_and_ranges,
    defaults_are_what_is_used_without_parameters,
    unknown_and_odd_parameters_are_refused,
    every_parameter_has_an_effect,
)
