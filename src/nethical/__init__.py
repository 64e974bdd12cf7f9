"""Train calibrated risk models that nobody has to take on trust."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nethical.errors import NethicalError
    from nethical.pipeline import Outcome, train
    from nethical.plan import Plan
    from nethical.run import Run, Sink
    from nethical.trained import TrainedModel, load

__all__ = ["NethicalError", "Outcome", "Plan", "Run", "Sink", "TrainedModel", "load", "train"]
__version__ = "0.1.0"

_HOMES = {
    "NethicalError": "errors",
    "Outcome": "pipeline",
    "Plan": "plan",
    "Run": "run",
    "Sink": "run",
    "TrainedModel": "trained",
    "load": "trained",
    "train": "pipeline",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that start-up stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nethical' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"nethical.{_HOMES[name]}"), name)
