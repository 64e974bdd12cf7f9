"""What a run is asked to do: every choice that decides its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from nethical.data.roles import Role, RoleHints
from nethical.decisions import Thresholds
from nethical.errors import UsageError
from nethical.history import NAME

__all__ = ["Plan"]

LARGEST_SEED = 2**63 - 1
LARGEST = {"seed": LARGEST_SEED, "threads": 1024, "epochs": 1_000_000}
LARGEST_COUNT = 2**31 - 1
LARGEST_DAYS = 3650


@dataclass(frozen=True)
class Plan:
    """A training run, before it runs.

    Args:
        model_type: What to train.
        data: A path, ``sklearn:NAME``, ``synthetic:TASK``, a frame, or None.
        kaggle_datasets: Kaggle handles to join into one table.
        synthetic_fallback: Whether synthetic rows may stand in when nothing was named.
        num_samples: Rows to generate or draw; None for the default.
        columns: Roles that the user gave, by column.
        positive_labels: Label values that are positive.
        use_fairness_columns: Let the model read the fairness columns too.
        split: auto, random, grouped or temporal.
        split_column: A column that says train or test.
        test_data: A table whose rows are the gate part.
        challenge_data: Further tables that must hold too.
        drop_leaks: Leave suspect columns out.
        accept_leaks: Suspect columns that the user stands for.
        threshold: Block threshold; None to set it by rule.
        thresholds: All thresholds by name (block, gray_low, gray_high, confidence), in place of
            the rule and of ``threshold``; None to set them by rule.
        alert_budget: Share of rows that may be alerted.
        windows: How far back an event log is looked at, in days.
        label_delay: Days until the label of an event is known.
        epochs: See ``models.base.Settings``.
        batch_size: See ``models.base.Settings``.
        parameters: See ``models.base.Settings``; the type's own, checked when the run begins.
        has_search: Whether rows are set apart, in a part called tune, to choose parameters on;
            the gate part is the same rows either way.
        threads: Threads of the libraries; None for the free cores.
        seed: Decides everything random.
        name: The production slot; None for the model type.
        replace: Replace the current model even by a worse one.
        max_ece: The gate's largest calibration error.
        min_accuracy: The gate's smallest accuracy.
        models_dir: Where models are published.
        as_candidate: Publish as a candidate whatever the gate says, as the promotion gate of
            configurations decides what becomes of it.

    Raises:
        UsageError: A value makes no sense.
    """

    model_type: str
    data: Any = None
    kaggle_datasets: tuple[str, ...] = ()
    synthetic_fallback: bool = True
    num_samples: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    positive_labels: tuple[str, ...] = ()
    use_fairness_columns: bool = False
    split: str = "auto"
    split_column: str | None = None
    test_data: str | None = None
    challenge_data: tuple[str, ...] = ()
    drop_leaks: bool = False
    accept_leaks: tuple[str, ...] = ()
    threshold: float | None = None
    thresholds: Mapping[str, float] | None = None
    alert_budget: float = 0.01
    windows: tuple[float, ...] = (1.0, 7.0, 30.0)
    label_delay: float = 7.0
    epochs: int = 10
    batch_size: int = 32
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    has_search: bool = False
    threads: int | None = None
    seed: int = 42
    name: str | None = None
    replace: bool = False
    max_ece: float = 0.08
    min_accuracy: float = 0.85
    models_dir: str = "models"
    as_candidate: bool = False

    def __post_init__(self) -> None:
        whole = {"epochs": 1, "batch_size": 1, "num_samples": 1, "threads": 1, "seed": 0}
        for flag, least in whole.items():
            value = getattr(self, flag)
            most = LARGEST.get(flag, LARGEST_COUNT)
            if value is not None and not least <= value <= most:
                raise UsageError(
                    f"--{flag.replace('_', '-')} is {value}",
                    mend=f"give a whole number from {least} to {most}",
                )
        for flag in ("threshold", "alert_budget", "max_ece", "min_accuracy"):
            value = getattr(self, flag)
            if value is not None and not 0 < value < 1:
                prefix = "promotion-" if flag.startswith("m") else ""
                raise UsageError(
                    f"--{prefix}{flag.replace('_', '-')} is {value}",
                    mend="give a number between 0 and 1",
                )
        if self.thresholds is not None:
            if self.threshold is not None:
                raise UsageError(
                    "both threshold and thresholds set the block threshold",
                    mend="give one of them",
                )
            Thresholds.configured(self.thresholds)
        if not (0 <= self.label_delay <= LARGEST_DAYS):
            raise UsageError(
                f"--label-delay is {self.label_delay:g}",
                mend=f"give a number of days from 0 to {LARGEST_DAYS}",
            )
        if not self.windows or not all(0 < days <= LARGEST_DAYS for days in self.windows):
            raise UsageError(
                f"--windows is {', '.join(f'{days:g}' for days in self.windows) or 'empty'}",
                mend=f"give numbers of days above 0, up to {LARGEST_DAYS}, as in 1,7,30",
            )
        if not NAME.fullmatch(self.slot):
            raise UsageError(
                f"{self.slot!r} cannot be a model name",
                mend="begin with a letter or digit, then also dots, dashes and underscores",
            )
        unknown = [role for role in self.columns.values() if role not in list(Role)]
        if unknown:
            raise UsageError(
                f"there is no role {unknown[0]!r}", mend=f"choose one of {', '.join(Role)}"
            )

    @property
    def slot(self) -> str:
        """The production slot that the model belongs to."""
        return self.model_type if self.name is None else self.name

    def hints(self, source: RoleHints) -> RoleHints:
        """Return what the user and the source say about columns; the user wins."""
        given = {name: Role(role) for name, role in self.columns.items()}
        if Role.LABEL in given.values():
            of_source = {n: role for n, role in source.roles.items() if role != Role.LABEL}
            source = RoleHints(of_source)
        if self.split_column is not None:
            given.setdefault(self.split_column, Role.IGNORE)
        positive = self.positive_labels or source.positive_labels
        return RoleHints({**source.roles, **given}, positive, self.use_fairness_columns)

    def to_document(self) -> dict[str, Any]:
        """Return the plan as JSON values; a frame in memory is named so."""
        document = {f.name: getattr(self, f.name) for f in fields(self)}
        if not isinstance(self.data, (str, Path, type(None))):
            document["data"] = "frame"
        return {
            key: list(value)
            if isinstance(value, tuple)
            else dict(value)
            if isinstance(value, Mapping)
            else str(value)
            if isinstance(value, Path)
            else value
            for key, value in document.items()
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Plan:
        """Return the plan that ``to_document`` wrote.

        Raises:
            UsageError: It has a key that this program does not know.
        """
        known = {f.name for f in fields(cls)}
        if unknown := set(document) - known:
            raise UsageError(
                f"the plan has an unknown key {min(unknown)!r}",
                mend="install the version of nethical that wrote it",
            )
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in document.items()
        }
        return cls(**values)
