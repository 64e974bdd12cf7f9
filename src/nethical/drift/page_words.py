"""How a drift report says its values: names, numbers and what verdicts mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nethical import markdown as md
from nethical.reports.blocks import Code, Said, Strong, Tone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nethical.reports.blocks import Piece, Words

    Json = Mapping[str, Any]

__all__ = [
    "METRICS",
    "QUESTIONS",
    "TONES",
    "VERDICTS",
    "Json",
    "difference",
    "group_words",
    "joined",
    "measured",
    "metric_words",
    "named",
    "p_value",
    "rows_needed",
    "ruling",
    "short_ruling",
    "signed",
]

METRICS = {
    "accuracy": "Accuracy",
    "recall": "Recall",
    "false_positive_rate": "False positive rate",
    "flag_rate": "Share called positive",
    "precision": "Precision",
    "prevalence": "Share of positives",
    "ece": "Calibration error",
    "brier": "Brier loss",
    "log_loss": "Log loss",
    "score_distribution": "Score distribution",
    "calibration_line": "Calibration line",
}
# Where more is worse. How scores are distributed is neither good nor bad.
LOSSES = {"false_positive_rate", "ece", "brier"}
GAINS = {"accuracy", "recall"}
VERDICTS = {"drift": "Drift", "no_drift": "No drift", "inconclusive": "Inconclusive"}
TONES = {"drift": Tone.BAD, "no_drift": Tone.GOOD, "inconclusive": Tone.OPEN}
QUESTIONS = {
    "same_model_other_rows": "One model on other rows: does it still do as well as on those of the "
    "reference?",
    "same_rows_two_models": "Two models on the same rows, compared row by row: does one do "
    "otherwise than the other?",
    "training_process": "Two ways of training, several models of each: do they differ by more than "
    "training again does? What counts here are models, not rows.",
    "single_retrain": "Different models, too few of each to know how much training again changes "
    "by itself. The differences below are real for these models, but no drift can be read from "
    "them, so nothing is judged.",
    "same_model_same_rows": "The same model on the same rows: there is no question to answer.",
}
UNJUDGED = {"single_retrain", "same_model_same_rows"}
PLAIN_RULINGS = {
    "within": "within margin",
    "undecided": "undecided",
    "not_assessable": "not assessable",
}


def named(cohort_id: str) -> Code:
    """Return a cohort as it is called."""
    return Code(cohort_id)


def metric_words(metric: str) -> Words:
    """Return what a metric is called; one of no known name as it is."""
    return METRICS.get(metric, Said(metric))


def joined(items: Sequence[Words], last: str = "and") -> tuple[Piece, ...]:
    """Return words in a row, with commas, and a word of ours before the last of them.

    Example:
        >>> joined(["accuracy", "recall", "loss"])
        ('accuracy', ', ', 'recall', ' and ', 'loss')
    """
    told: list[Piece] = []
    for place, item in enumerate(items):
        if place:
            told.append(f" {last} " if place == len(items) - 1 else ", ")
        told.extend(item if isinstance(item, tuple) else (item,))
    return tuple(told)


def signed(value: float | None) -> str:
    """Return a difference with its sign.

    Example:
        >>> signed(0.0843), signed(-0.00001), signed(None)
        ('+0.084', '0.000', 'unknown')
    """
    if value is None:
        return md.UNKNOWN
    text = f"{value:+.3f}"
    return text if text.strip("+-") != "0.000" else "0.000"


def difference(effect: Json) -> str:
    """Return a difference and its interval, kept on one line."""
    low, high = map(signed, effect["ci"])
    if effect["effect"] is None:
        return md.UNKNOWN
    return f"{signed(effect['effect'])} [{low},\u00a0{high}]"


def measured(measure: Json) -> str:
    """Return a value and its interval, kept on one line."""
    low, high = map(md.number, measure["ci"])
    if measure["value"] is None:
        return md.UNKNOWN
    return f"{md.number(measure['value'])} [{low},\u00a0{high}]"


def p_value(p: float | None) -> str:
    """Return a p-value to two significant digits.

    Example:
        >>> p_value(0.0123), p_value(3.2e-47), p_value(None)
        ('0.012', '3.2e-47', 'unknown')
    """
    return md.UNKNOWN if p is None else f"{p:.2g}"


def short_ruling(effect: Json, kind: str) -> str:
    """Return what an effect's interval says of its margin, in a few words."""
    verdict = effect["verdict"]
    if verdict != "beyond":
        return PLAIN_RULINGS[verdict]
    if kind in UNJUDGED:
        return "differs, not judged"
    metric, change = effect["metric"], effect["effect"]
    if metric not in LOSSES | GAINS:
        return "beyond margin"
    return f"{'worse' if (change > 0) == (metric in LOSSES) else 'better'}, beyond margin"


def ruling(effect: Json, kind: str) -> Words:
    """Return the same for a table, where what counts weighs more."""
    text = short_ruling(effect, kind)
    if effect["verdict"] == "not_assessable":
        return "too few models" if kind == "training_process" else "too few labels"
    return Strong(text) if effect["verdict"] == "beyond" and kind not in UNJUDGED else text


def rows_needed(effect: Json) -> str:
    """Return how many rows would decide an effect that is undecided."""
    return md.count(effect["rows_needed"]) if effect["verdict"] == "undecided" else ""


def group_words(group: Mapping[str, str]) -> Said:
    """Return a group as people read it."""
    return Said(" and ".join(f"{column} = {value}" for column, value in group.items()))
