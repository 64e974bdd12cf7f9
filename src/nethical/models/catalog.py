"""Model types by name, imported when they are asked for.

A third party adds a type by an entry point of the group ``nethical.models`` that names a
function ``build(settings) -> Model``; its class also has ``from_parts`` and, where it has
parameters or is not an ordinary learner from labels, ``traits``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nethical.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nethical.models.base import Model, Parts, Settings, Traits, Value

__all__ = ["BUILT_IN", "build", "names", "parameters", "restore", "traits"]

BUILT_IN = ("heuristic", "logistic", "boosted", "anomaly", "correlation", "simple_transformer")
GROUP = "nethical.models"


def names() -> tuple[str, ...]:
    """Return the names of all model types, ours first."""
    from importlib.metadata import entry_points

    found = sorted(point.name for point in entry_points(group=GROUP))
    return BUILT_IN + tuple(name for name in found if name not in BUILT_IN)


def _builder(name: str) -> Any:  # noqa: ANN401 - a function of a plug-in
    if name in BUILT_IN:
        return import_module(f"nethical.models.{name}").build
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=name):
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"the model type {name!r} ({point.value}) cannot be loaded: {error}",
                mend="mend or uninstall the package that brings it",
            ) from error
    raise UsageError(f"there is no model type {name!r}", mend=f"choose one of {', '.join(names())}")


def build(name: str, settings: Settings) -> Model:
    """Return an unfitted model of a type.

    Raises:
        UsageError: There is no such type, or it has no such parameter.
    """
    if settings.parameters:
        parameters(name, settings.parameters)
    model: Model = _builder(name)(settings)
    return model


def traits(name: str) -> Traits:
    """Return what the flow must know of a type.

    Raises:
        UsageError: There is no such type.
    """
    from nethical.models.base import Settings, Traits

    found: Traits = getattr(_builder(name)(Settings()), "traits", Traits())
    return found


def parameters(name: str, given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the value of every parameter of a type: the given one, else the default.

    Raises:
        UsageError: There is no such type, or no such parameter, or a value is out of range.
    """
    from nethical.models.base import filled

    return filled(traits(name).space, given)


def restore(name: str, parts: Parts) -> Model:
    """Return the model of a type that was stored as parts."""
    from nethical.models.base import Settings

    model: Model = type(_builder(name)(Settings())).from_parts(parts)
    return model
