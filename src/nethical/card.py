"""The model card: what a model is, how sure that is, and what it does not show.

Written from the bundle's three JSON documents alone, so that the card can say nothing that they
do not. Whatever came from data is escaped, and what is not known is called unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nethical import charts
from nethical import markdown as md

__all__ = ["figures", "render"]

Document = Mapping[str, Any]

FEW_ROWS = 200
FEW_POSITIVES = 30
MOST_COLUMNS = 60
GENERATED = ("synthetic", "legacy")
MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
VERDICTS = {
    "PASS": "It met all {n} criteria below.",
    "FAIL": "It was shown to miss {names}.",
    "INSUFFICIENT_EVIDENCE": "Nothing was shown to be wrong, but too little is known of {names}.",
}
MEANINGS = {
    "precision": "of the rows called positive, the share that are",
    "recall": "of the positives, the share that it finds",
    "accuracy": "share of rows that it calls rightly",
    "f1": "balance (harmonic mean) of precision and recall",
    "ece": "mean gap between predicted and observed frequency in ten bins; 0 is best; "
    "its interval is that of `ece_debiased`",
    "ece_debiased": "the same, less what chance alone adds; this one is judged",
    "false_positive_rate": "of the negatives, the share called positive; lower is better",
    "roc_auc": "chance that a positive scores above a negative; 0.5 is guessing",
    "average_precision": "mean precision over all cuts; guessing gives the share of positives",
    "brier": "mean squared gap between probability and outcome; lower is better",
    "brier_skill": "part of the base rate's Brier loss that it removes; 0 is no better",
    "log_loss": "mean surprise at the outcome, in nats; lower is better",
    "calibration_slope": "1 is right; below 1 it is too sure of itself",
    "calibration_intercept": "0 is right; above 0 its probabilities are too low",
    "recall_at_budget": "of the positives, the share within the alert budget",
}
PURPOSES = {
    "train": "the model learnt from it",
    "tune": "settings were chosen on it",
    "calibrate": "turned scores into probabilities, and set the thresholds",
    "gate": "all numbers and verdicts above",
}
HOW_TO_READ = """\
The closer the dots lie to the dashed line, the more literally a probability can be taken: of \
100 rows given 0.8, about 80 should be positive."""
HOW_JUDGED = """\
A criterion passes when its one-sided 95 % bound lies on the right side of the limit, fails when \
the opposite bound lies on the wrong side, and is undecided between; the estimate alone decides \
nothing. A fairness criterion fails only when a group's error is shown to exceed the limit. \
n counts the rows, columns or groups looked at."""


def figures(metrics: Document) -> dict[str, str]:
    """Return the card's images by file name, each an SVG document.

    Args:
        metrics: The bundle's metrics.json.
    """
    bins: dict[str, Any] = {"n": (), "mean_proba": (), "share": (), "error": ()}
    counts: dict[str, Any] = {"edges": (0.0, 1.0), "positive": (0,), "negative": (0,)}
    is_labelled = metrics.get("positives") is not None
    cut = _part(metrics, "thresholds")
    return {
        "reliability.svg": charts.reliability(**bins | {**_part(metrics, "reliability")}),
        "scores.svg": charts.histogram(
            **counts | {**_part(metrics, "histogram")},
            threshold=md.finite(cut.get("block")),
            gray_low=md.finite(cut.get("gray_low")),
            gray_high=md.finite(cut.get("gray_high")),
            is_labelled=is_labelled,
        ),
    }


def render(model: Document, metrics: Document, run: Document) -> str:
    """Return card.md, in GitHub's Markdown.

    Args:
        model: The bundle's model.json.
        metrics: Its metrics.json.
        run: Its run.json.
    """
    blocks = [
        *_opening(model, metrics, run),
        *_criteria(metrics),
        *_performance(metrics, run),
        *_decisions(model, metrics),
        *_limits(model, metrics, run),
        *_origin(model, run),
        *_usage(run),
        *_making(run),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _opening(model: Document, metrics: Document, run: Document) -> list[str]:
    """Return the title, the verdict, and what the model is."""
    columns = _columns(model)
    read = sum(bool(column.get("feature")) for column in columns) if columns else md.UNKNOWN
    what = (
        f"A model of the type {md.code(model.get('model_type'))}, "
        f"named {md.code(model.get('name'))}, trained "
        f"{md.moment(run.get('started_at'))}. For a row of data (columns that it reads: {read}) "
        f"it returns {_returned(model)}, and a decision: allow, review or block."
    )
    synthetic = (
        "> **SYNTHETIC data.** It learnt from, and was measured on, rows that a program made up. "
        "Nothing here says how it does on real ones."
    )
    return [
        f"# Model card: {md.code(run.get('model_id'))}",
        f"> {_verdict(metrics)}",
        synthetic if _is_generated(run) else "",
        f"{what} {_standing(run)}",
    ]


def _returned(model: Document) -> str:
    """Return what its number means."""
    if _part(model, "calibrator").get("method") == "percentile":
        return "its percentile among rows that are taken for normal, which is no probability"
    positive = md.codes(_part(model, "roles", "labelling").get("positive"))
    return f"the probability that the label is {positive}"


def _verdict(metrics: Document) -> str:
    said = metrics.get("verdict")
    if said not in VERDICTS:
        return "**Verdict: unknown.** No gate has judged this model."
    criteria = _documents(metrics.get("criteria"))
    named = [md.say(c.get("name")) for c in criteria if c.get("verdict") == said]
    names = f"{len(named)} of {len(criteria)} criteria: {'; '.join(named)}"
    sentence = VERDICTS[said].format(n=len(criteria), names=names)
    return (
        f"**Verdict: {said}.** {sentence} Judged by 95 % confidence bounds, on "
        f"{md.count(metrics.get('rows'))} rows that were kept from training."
    )


def _standing(run: Document) -> str:
    """Return whether it was cleared for production, and why."""
    cleared = run.get("cleared")
    if cleared is None:
        return "Whether it was cleared for production is unknown."
    reason = md.say(run.get("reason"))
    if cleared:
        return f"It was cleared to go into production ({reason})."
    return f"It was kept as a candidate, not for production ({reason})."


def _criteria(metrics: Document) -> list[str]:
    """Return every criterion of the gate, and the notes on them."""
    criteria = _documents(metrics.get("criteria"))
    head = ("Criterion", "Verdict", "Estimate", "Bound", "Limit", "n", "Rows still needed")
    rows = [
        (
            md.say(c.get("name")),
            f"**{c['verdict'] if c.get('verdict') in VERDICTS else md.UNKNOWN}**",
            *(md.number(c.get(key), whole=True) for key in ("estimate", "bound")),
            md.given(c.get("threshold")),
            md.count(c.get("n")),
            _needed(c),
        )
        for c in criteria
    ]
    notes = [
        f"- Note on {md.say(c.get('name'))}: {md.say(c['note'])}" for c in criteria if c.get("note")
    ]
    table = md.table(head, rows, "llrrrrr") if rows else "No criterion was judged."
    return ["## What was demanded of it", table, "\n".join(notes), HOW_JUDGED]


def _needed(criterion: Document) -> str:
    needed = criterion.get("rows_needed")
    if needed is not None:
        return f"about {md.count(needed)}"
    return md.UNKNOWN if criterion.get("verdict") == "INSUFFICIENT_EVIDENCE" else "none"


def _performance(metrics: Document, run: Document) -> list[str]:
    """Return the metrics of the gate part and of the challenge sets, and the images."""
    rows, positives = md.finite(metrics.get("rows")), md.finite(metrics.get("positives"))
    measured = list(_part(metrics, "metrics").values())
    if measured and all(value is None for value in measured):
        lacking = "has a label" if positives is None else "is of the other class"
        nothing = (
            f"**Unknown.** Not one of the {md.count(rows)} rows that were kept from training "
            f"{lacking}, so nothing could be measured."
        )
        return ["## How well it does", nothing, "![Scores: shares of rows](scores.svg)"]
    share = f" ({positives / rows * 100:.1f} %)" if rows and positives is not None else ""
    top = {n: metrics[n] for n in ("precision", "recall", "accuracy", "f1", "ece") if n in metrics}
    budget = md.finite(_part(run, "plan").get("alert_budget"))
    preface = (
        f"Measured on {md.count(rows)} rows, {md.count(positives)} of them positive{share}. "
        "A row is called positive from a probability of "
        f"{md.given(_part(metrics, 'thresholds').get('block'))} on. The intervals hold with 95 % "
        "confidence, for rows like these."
    )
    blocks = [
        "## How well it does",
        preface,
        _metric_table(metrics, top | {**_part(metrics, "metrics")}, budget),
        "![Reliability: share of positives against mean probability, ten bins](reliability.svg)",
        HOW_TO_READ,
        "![Scores: shares of positives and of negatives by probability](scores.svg)",
        "Good scores keep the classes apart: negatives to the left, positives to the right.",
    ]
    blocks += _reference(metrics, budget)
    for name in sorted(_part(metrics, "challenges")):
        challenge = _part(metrics, "challenges", name)
        blocks += [
            f"### Challenge set {md.code(name)}",
            f"{md.count(challenge.get('rows'))} further rows, held to the same limits.",
            _metric_table(challenge, _part(challenge, "metrics"), budget),
        ]
    return blocks


def _reference(metrics: Document, budget: float | None) -> list[str]:
    """Return how the plainer model did on the same rows, if there is one."""
    beside = _part(metrics, "reference")
    if not beside:
        return []
    what = (
        "A plainer model that learnt from the same rows and was measured on the same rows. The "
        "model above passes only if it is shown to be no worse."
    )
    return [
        f"### Beside it: {md.code(beside.get('model_type'))}",
        what,
        _metric_table(beside, _part(beside, "metrics"), budget),
    ]


def _metric_table(metrics: Document, estimates: Document, budget: float | None) -> str:
    rows = []
    for name, value in estimates.items():
        meaning = MEANINGS.get(name, "")
        if name == "recall_at_budget" and budget is not None:
            meaning += f" of {budget * 100:.4g} % of the rows"
        interval = md.interval(_part(metrics, "intervals").get(name))
        rows.append((md.code(name), md.number(value), interval, meaning))
    return md.table(("Metric", "Value", "95 % interval", "What it means"), rows, "lrll")


def _decisions(model: Document, metrics: Document) -> list[str]:
    """Return which probability leads to which decision."""
    cut = _part(model, "thresholds") or _part(metrics, "thresholds")
    low, high = md.finite(cut.get("gray_low")), md.finite(cut.get("gray_high"))
    never_allows, never_blocks = low is not None and low <= 0, high is not None and high >= 1
    rows = [
        ("never" if never_allows else f"below {md.given(low)}", "allow", "it goes through"),
        (f"from {md.given(low)} to {md.given(high)}", "review", "a person decides"),
        ("never" if never_blocks else f"above {md.given(high)}", "block", "it is stopped"),
    ]
    rest = (
        f"The metrics count a row as positive from {md.given(cut.get('block'))} on; how that was "
        f"chosen: {md.say(cut.get('rule'))}. A decision stands but is also queued for review when "
        "the likelier of the two answers has a probability below "
        f"{md.given(cut.get('confidence'))}."
    )
    return [
        "## What it decides",
        md.table(("Probability", "Decision", "What follows"), rows, "lll"),
        rest,
    ]


def _limits(model: Document, metrics: Document, run: Document) -> list[str]:
    """Return what the reader should not conclude."""
    told = {
        **dict.fromkeys(_list(_part(run, "fitting").get("notes")), "Of the fitting"),
        **dict.fromkeys(_list(_part(run, "splits").get("notes")), "Of the parts"),
        **dict.fromkeys(_list(run.get("warnings")), "Warning of the run"),
    }
    cautions = [
        *_evidence(metrics, run),
        *_leaks(_part(run, "leaks"), is_labelled=metrics.get("positives", 0) is not None),
        *(f"{whence}: {md.say(text)}" for text, whence in told.items()),
    ]
    return [
        "## What this card does not show",
        md.bullets(_silence(model, metrics, run)),
        "Read the numbers with this in mind:",
        md.bullets(cautions),
    ]


def _silence(model: Document, metrics: Document, run: Document) -> list[str]:
    """Return the questions that no number here answers."""
    says = ["**How it does on real rows: all its data is synthetic.**"] * _is_generated(run)
    says.append(
        "How it does on rows of another kind, place or time than those it was measured on, or "
        "against people who adapt to it."
    )
    if _part(run, "splits").get("strategy") in {"random", "grouped"}:
        says.append("How it does on later rows: the parts were not divided by time.")
    fairness = [column for column in _columns(model) if column.get("role") == "fairness"]
    if fairness:
        names = ", ".join(md.code(column.get("name")) for column in fairness[:MOST_COLUMNS])
        read = any(column.get("feature") for column in fairness)
        how = "the model reads" if read else "the model does not read, though others may stand in"
        says.append(f"Fairness beyond calibration, by {names}, which {how}.")
    else:
        why = "no fairness column was named" if _columns(model) else "its columns are unknown"
        says.append(f"Whether it treats groups alike: {why}.")
    if not _part(metrics, "challenges"):
        says.append("How it does on a set made to be hard: none was measured.")
    return says


def _evidence(metrics: Document, run: Document) -> list[str]:
    """Return how thin the evidence is."""
    says = []
    rows, positives = md.finite(metrics.get("rows")), md.finite(metrics.get("positives"))
    if rows is not None and rows < FEW_ROWS:
        says.append(f"**Few rows:** {md.count(rows)} in the gate part, so intervals are wide.")
    if positives is not None and positives < FEW_POSITIVES:
        says.append(
            f"**Few positives:** recall and precision rest on {md.count(positives)} of them."
        )
    readings = md.finite(run.get("gate_readings"))
    if readings is None:
        says.append("How often the gate part has been read is unknown.")
    elif readings <= 1:
        says.append("The gate part has been read once, for this card.")
    else:
        says.append(
            f"**The gate part has been read {md.count(readings)} times.** Whoever chooses among "
            "models by the same rows makes the chosen one look better than it is."
        )
    return says


def _leaks(leaks: Document, *, is_labelled: bool) -> list[str]:
    """Return what gave the label away, and what became of it."""
    if not is_labelled:
        return ["No column was probed for leaks: there is no label that could leak."]
    if not leaks:
        return ["Whether a column gives the label away is unknown."]
    says = []
    for suspect in _documents(leaks.get("suspects")):
        column = suspect.get("column")
        fate = "nobody accepted it"
        if column in _list(leaks.get("dropped")):
            fate = "it was dropped"
        elif column in _list(leaks.get("accepted")):
            fate = "the user accepted it"
        elif not suspect.get("is_feature"):
            fate = "the model does not read it"
        says.append(
            f"**Leak:** {md.code(column)} ({md.say(suspect.get('what'))}) nearly decides the label "
            f"alone, ROC AUC {md.number(suspect.get('roc_auc'))}; {fate}."
        )
    if leaks.get("probed") is False:
        says.append("**Not probed for leaks:** a class has too few rows.")
    elif not says:
        says.append("Each column was probed alone for leaks, and none stood out.")
    if md.finite(leaks.get("duplicate_rows")):
        says.append(f"{md.count(leaks['duplicate_rows'])} rows repeat another row.")
    return [*says, *["The file was sorted by its label."] * bool(leaks.get("sorted_by_label"))]


def _origin(model: Document, run: Document) -> list[str]:
    """Return the data, the columns and the parts."""
    source, labelling = _part(run, "source"), _part(model, "roles", "labelling")
    kind = (
        "**synthetic: made up by a program**" if _is_generated(run) else "not made up by Nethical"
    )
    facts = [
        ("Source", md.code(source.get("source"))),
        ("Kind", kind if source.get("source") else md.UNKNOWN),
        ("Rows", md.count(source.get("rows"))),
        ("Columns", md.count(source.get("columns"))),
        ("Rows without a label", md.count(source.get("unlabelled"))),
        ("Content digest", md.code(source.get("digest"))),
        (
            "Positive label",
            f"{md.codes(labelling.get('positive'))} ({md.say(labelling.get('why'))})",
        ),
        ("Negative label", md.codes(labelling.get("negative"))),
        *((md.say(key), md.any_value(value)) for key, value in _part(source, "details").items()),
    ]
    columns = _columns(model)
    rows = [
        (
            md.code(c.get("name")),
            md.say(c.get("role")),
            md.say(c.get("feature") or "no"),
            md.say(c.get("why")),
        )
        for c in columns[:MOST_COLUMNS]
    ]
    more = len(columns) - MOST_COLUMNS
    return [
        "## What it learnt from",
        md.table(("Fact", "Value"), facts, "ll"),
        "### Columns",
        md.table(("Column", "Role", "Read by the model", "Why"), rows, "llll"),
        f"And {more:,} more, all in model.json." if more > 0 else "",
        *_parts(_part(run, "splits")),
    ]


def _parts(splits: Document) -> list[str]:
    positives, groups = _part(splits, "positives"), _part(splits, "groups")
    head = ("Part", "Rows", "Positives", "Groups", "Used for")
    rows = [
        (
            md.say(name),
            md.count(n),
            md.count(positives.get(name)),
            md.count(groups.get(name)) if groups else "none",
            PURPOSES.get(name, ""),
        )
        for name, n in _part(splits, "parts").items()
    ]
    says = f"How rows were divided: {md.say(splits.get('strategy'))}. No row is in two parts."
    return ["### Parts", says, md.table(head, rows, "lrrrl")]


def _usage(run: Document) -> list[str]:
    """Return how to load it, in Python and from the command line."""
    given = run.get("model_id")
    model_id = given if isinstance(given, str) and MODEL_ID.fullmatch(given) else "MODEL_ID"
    python = f"""\
```python
import nethical

model = nethical.load("models/versions/{model_id}")
probability = model.predict_proba(frame)[:, 1]
```"""
    shell = f"""\
```sh
nethical models verify {model_id}
nethical predict {model_id} DATA -o OUT
```"""
    return ["## How to use it", python, shell]


def _making(run: Document) -> list[str]:
    """Return how it was made, for whoever wants to make it again."""
    fitting, calibration, log = (_part(run, k) for k in ("fitting", "calibration", "receipt"))
    epochs = (
        f"{md.number(fitting.get('epochs_run'), whole=True)} of {md.count(fitting.get('epochs'))}"
    )
    nothing = "none was written" if "receipt" in run else md.UNKNOWN
    entry = f"{md.code(log.get('origin'))}, {md.count(log.get('tree_size'))} entries, root "
    facts = [
        ("Run", md.code(run.get("run_id"))),
        ("Epochs run", epochs),
        ("Seconds of fitting", md.number(fitting.get("seconds"))),
        *((md.say(key), md.any_value(value)) for key, value in _part(fitting, "details").items()),
        (
            "Calibration",
            f"{md.say(calibration.get('method'))}, {md.count(calibration.get('rows'))} rows",
        ),
        ("Audit log", entry + md.code(log.get("merkle_root")) if log else nothing),
        ("Row key", md.code(run.get("row_key"))),
        *((md.say(key), md.any_value(value)) for key, value in _part(run, "environment").items()),
    ]
    plan = [
        (md.code(key), md.any_value(value))
        for key, value in _part(run, "plan").items()
        if value not in (None, "", [], {})
    ]
    return [
        "## How it was made",
        _comparison(_part(run, "comparison")) if "comparison" in run else "",
        md.table(("Fact", "Value"), facts, "ll"),
        "### Plan",
        md.table(("Setting", "Value"), plan, "ll"),
    ]


def _comparison(beside: Document) -> str:
    """Return how it did beside the model that was current."""
    if not beside:
        return "It was not compared with another model."
    estimate, low, high = [*_list(beside.get("difference")), None, None, None][:3]
    better = (md.finite(high) or 0) < 0
    word = "worse" if beside.get("worse") else "better" if better else "not shown to differ"
    return (
        f"Beside the model {md.code(beside.get('current'))}, on {md.count(beside.get('n'))} rows "
        f"that neither learnt from, it is **{word}**: its Brier loss less the other's is "
        f"{md.number(estimate)} (one-sided 95 % bounds {md.interval([low, high])}; "
        "below 0 is better)."
    )


def _is_generated(run: Document) -> bool:
    return str(_part(run, "source").get("source")).lower().startswith(GENERATED)


def _columns(model: Document) -> list[Document]:
    return _documents(_part(model, "roles").get("columns"))


def _part(document: Document, *keys: str) -> Document:
    """Return the mapping at a path, empty if it is not there."""
    for key in keys:
        found = document.get(key)
        document = found if isinstance(found, Mapping) else {}
    return document


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def _documents(value: object) -> list[Document]:
    return [document for document in _list(value) if isinstance(document, Mapping)]
