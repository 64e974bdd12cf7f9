"""Reports of real runs, and of logs that say hostile or senseless things."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical import Plan, Run, train
from nethical.audit.crosscheck import check_model
from nethical.audit.entries import encode_entry
from nethical.audit.log import Log
from nethical.audit.merkle import leaf_hash
from nethical.audit.reading import LogReader
from nethical.audit.recompute import recompute
from nethical.audit.report import ReportSource, render
from nethical.audit.report_proofs import TITLES
from nethical.audit.runs import Event, LoggedRun, events_digest, find_run
from nethical.data import synthetic
from nethical.errors import IntegrityError, NethicalError
from nethical.facts import Fact, RunAborted, RunEnded
from nethical.keys import Keys, default_home
from nethical.registry import Registry
from nethical.run import Receipt

LEVEL = "consistent with 2 anchors up to 300 entries"
VOID = {"meta", "line", "rect", "circle", "polygon"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "nav", "section"),
    *("h1", "h2", "p", "ul", "ol", "li", "a", "dl", "dt", "dd", "table", "thead", "tbody"),
    *("tr", "th", "td", "span", "div", "code", "pre", "strong", "figure"),
    *("svg", "desc", "text", "line", "rect", "circle", "polygon"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "scope"),
    *("data-head", "aria-label", "xmlns", "role", "viewbox", "width", "height", "font-family"),
    *("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "fill", "stroke", "stroke-width"),
    *("stroke-dasharray", "font-size", "font-weight", "text-anchor"),
}
HOSTILE = (
    "<script>alert(1)</script>\"' onload=x |\n# head\n[a](javascript:x) ![i](http://e.vil/x.png)"
    " **b** `c` ~~~ ``` \\ &amp; www.e.vil $x$ \u202e <!-- -->"
)


class ToLog:
    """A sink that writes each fact of a run to a log, and its end when it is told."""

    def __init__(self, log):
        self.log, self.leaves = log, []

    def record(self, fact, *, run_id, at):
        told = {"run_id": run_id, "timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"}
        document = {**fact.to_document(), **told}
        self.leaves.append(leaf_hash(encode_entry(document)))
        self.log.append(document)

    def seal(self):
        head = self.log.seal().checkpoint
        return Receipt(head.origin, head.tree_size, head.root_hash.hex())

    def end(self, kind, *words, run_id):
        counted = len(self.leaves), events_digest(self.leaves)
        self.record(kind(*words, *counted), run_id=run_id, at=datetime.now(UTC))


@pytest.fixture(scope="module")
def report_of(tmp_path_factory, key):
    """Train into a real log and registry, end as told, and give what a report is made from."""
    folder = tmp_path_factory.mktemp("report")
    registry = Registry(folder / "models", Keys(default_home()), lambda: datetime.now(UTC))
    log = Log(folder / "log", key, origin="nethical.local/test")

    def make(data, model_type="heuristic", *, end=(RunEnded, "completed", None), **settings):
        sink = ToLog(log)
        run = Run([sink])
        plan = Plan(model_type, data=data, threads=1, models_dir=str(folder / "models"), **settings)
        model = None
        try:
            outcome = train(plan, run=run, registry=registry)
            model = registry.verify(outcome.published.model_id)
        except NethicalError as error:
            end = (RunEnded, "failed", f"{type(error).__name__}: {error}")
        if end:
            sink.end(*end, run_id=run.run_id)
            log.seal()
        reader = LogReader(log.path, log.key)
        logged = find_run(reader, run.run_id)
        return ReportSource(
            logged,
            log.origin,
            log.key.to_vkey(),
            reader.note,
            reader.tree_size,
            reader.checkpoint.root_hash.hex(),
            LEVEL,
            recompute(logged, model) if model and end else None,
            check_model(model, reader) if model and end else None,
        )

    return make


@pytest.fixture(scope="module")
def whole(report_of, tmp_path_factory):
    """A run with everything: groups, people, a leak, given test rows, a challenge set."""
    folder = tmp_path_factory.mktemp("sets")
    drawn = np.random.default_rng(2).choice(["north", "south"], 4000).tolist()
    rows = synthetic.generate("risk", 4000, seed=1, groups=400).table
    rows = rows.append_column("region", pa.array(drawn)).append_column("answer", rows["label"])
    rows = rows.append_column("spare", pa.array([None, *range(3999)]))
    pq.write_table(rows.slice(0, 1000), folder / "challenge.parquet")
    return report_of(
        rows.slice(1000),
        "logistic",
        columns={"region": "fairness"},
        accept_leaks=("answer",),
        challenge_data=(str(folder / "challenge.parquet"),),
    )


@pytest.fixture(scope="module")
def failed(report_of):
    return report_of(synthetic.generate("risk", 300, seed=1).table.drop_columns("label"))


@pytest.fixture(scope="module")
def aborted(report_of):
    """A run on synthetic rows that died while it learnt, found by another one."""
    source = report_of(None, end=(RunAborted, "aborted", "run_20240501T120000Z_abcdef"))
    kept = [e for e in source.run.events if e.event_type in ("training_start", "data_loaded")]
    fallback, last = source.run.first("source_fallback"), source.run.events[-1]
    run = LoggedRun(source.run.run_id, (kept[0], fallback, kept[1], last))
    return replace(source, run=run, recomputed=None, checked=None)


def edited(source, change):
    """The report's source with what a function makes of each event's document."""
    events = []
    for event in source.run.events:
        document = change(dict(event.document))
        events.append(Event(event.index, encode_entry(document), document))
    return replace(source, run=LoggedRun(source.run.run_id, tuple(events)))


class Page(HTMLParser):
    """Checks that a page is well formed, and collects what it is made of."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.links, self.text = [], set(), set(), [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "style" not in self.open else ""


def check_page(html):
    page = Page(html)
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES
    assert all(re.fullmatch(r"#s\d+", link) for link in page.links)
    assert not re.search(r"url\(|@import|expression\(", html)
    assert len(html.encode()) < 100_000
    return page


def check_markdown(markdown):
    """Check that nothing in it is HTML, an image or a link, and that tables have their columns."""
    plain = re.sub(r"^(`{3,})\n.*?\n\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert "```" not in plain
    outside = re.sub(r"`[^`]*`", "", re.sub(r"\\.", "", plain))
    assert not re.search(r"[<\[\]]|!\[|://|www\.", outside)
    width = None
    for line in plain.split("\n"):
        cells = re.sub(r"\\.", "", line).count("|") if line.startswith("|") else None
        assert width is None or cells in (None, width)
        width = cells
    return markdown


def both(source):
    markdown, html = render(source)
    return check_markdown(markdown), check_page(html)


# --- what is told -------------------------------------------------------------------------------


def test_all_of_a_run_is_told_in_both_formats(whole):
    markdown, page = both(whole)
    document = {e.event_type: e.document for e in whole.run.events}
    for text in (
        whole.run.run_id,
        document["model_saved"]["model_id"],
        document["model_saved"]["signature_digest"],
        document["data_loaded"]["digest"],
        document["data_split"]["gate_digest"],
        document["training_start"]["environment"]["python"],
        "Run completed",
        whole.origin,
        whole.root,
        whole.vkey,
        LEVEL,
        "nethical audit verify PATH --key KEY",
        "nethical audit verify --proof FILE --key KEY",
        *document["validation_metrics"]["metrics"],
        *(event.leaf_hash.hex() for event in whole.run.events),
    ):
        assert text in markdown, text
        assert text in page.text, text
    for criterion in document["gate_decided"]["criteria"]:
        assert criterion["name"] in page.text
    for warning in (e for e in whole.run.events if e.event_type == "warning"):
        assert warning.document["message"] in page.text
    assert whole.note.decode() in page.text
    assert whole.note.decode().rstrip("\n") in markdown


def test_leaks_kinds_of_people_and_further_sets_are_told(whole):
    _, page = both(whole)
    assert "accepted by the user" in page.text
    assert "challenge.parquet" in page.text
    assert "fairness" in page.text
    assert "rows of challenge sets are not kept" in page.text
    assert "grouped: rows that belong together stay together" in page.text
    assert "they vouch for each other, by entry" in page.text
    assert re.search(r"all \d+ that can be derived are as they were logged", page.text)


def test_the_same_run_gives_the_same_bytes(whole):
    assert render(whole) == render(replace(whole))


def test_settings_that_are_not_as_by_default_stand_out(whole):
    markdown, _ = both(whole)
    assert "| `accept_leaks` | answer | not set |" in markdown
    assert r"left as they are by default: alert\_budget 0.01" in markdown


def test_the_page_has_a_chart_and_forbids_itself_whatever_is_not_on_it(whole):
    _, html = render(whole)
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in html
    assert html.count("<svg") == 1
    assert "Metrics with 95 % intervals" in html


def test_the_end_of_a_run_says_whether_all_its_events_are_here(whole):
    markdown, _ = both(whole)
    count = len(whole.run.events) - 1
    assert f"yes: its end counts {count} events before it and holds their digest" in markdown
    events = whole.run.events
    fewer = replace(whole, run=LoggedRun(whole.run.run_id, (*events[:4], *events[5:])))
    markdown, _ = both(fewer)
    assert f"**no**: its end counts {count} events before it, and here are {count - 1}" in markdown
    other = edited(whole, lambda d: {**d, "seed": 7} if d["event_type"] == "training_start" else d)
    assert "events before it, and other ones" in both(other)[0]


def test_events_that_are_not_sealed_yet_are_not_passed_off_as_signed(whole):
    fewer = replace(whole, tree_size=whole.run.events[-2].index)
    assert "**Not sealed yet:** 2 of these events are on the disk" in both(fewer)[0]


def test_numbers_and_models_that_do_not_fit_stand_at_the_top(whole):
    run = edited(
        whole, lambda d: {**d, "verdict": "PASS", "cleared": True} if "verdict" in d else d
    ).run
    items = tuple(
        replace(item, agreement=type(item.agreement).DIFFERENT) if item.name == "verdict" else item
        for item in whole.recomputed.items
    )
    why = IntegrityError("the log was set back", mend="restore it")
    recomputed = replace(whole.recomputed, items=items)
    markdown, page = both(replace(whole, run=run, recomputed=recomputed, checked=why))
    head = markdown.split("## In short")[0]
    assert "**Numbers do not follow from the scores** · **Model and log do not fit**" in head
    assert "**1 differ from what was logged**" in markdown
    assert "they do not: the log was set back" in page.text


# --- runs of other kinds ------------------------------------------------------------------------


def test_a_failed_run_tells_its_error_once_and_what_it_did_not_reach(failed):
    markdown, page = both(failed)
    assert "Run failed" in page.text
    assert page.text.count("no label column found") == 1
    assert "The stage `roles` raised `DataError`: no label column found" in markdown
    assert "| The rows were divided | **not reached** |  |" in markdown
    assert "| Model | none was published |" in markdown
    assert "## How well it does" not in markdown


def test_an_aborted_run_says_who_found_it_and_that_its_rows_were_made_up(aborted):
    markdown, page = both(aborted)
    assert "**Run aborted** · **Synthetic data**" in markdown
    assert "It was found dead by `run_20240501T120000Z_abcdef`." in markdown
    assert "A later run found it dead" in page.text
    assert "**Fallback:** instead of other data, `synthetic:risk` was used" in markdown
    assert "The run died without a word" in page.text


def test_a_run_whose_end_is_not_logged_is_said_to_go_on_or_to_be_dead(report_of):
    source = report_of("sklearn:breast_cancer", end=None)
    assert source.run.ended is None
    markdown, page = both(source)
    assert "Run not ended" in page.text
    assert "still going on, or it died" in page.text
    assert "unknown, as its end is not there" in markdown
    assert "**Not sealed yet:** 1 of these events" in markdown
    assert "--proof" not in markdown  # a run gets its receipt at its end


def test_an_interrupted_run_is_called_so(failed):
    source = edited(
        failed,
        lambda d: (
            {**d, "outcome": "interrupted", "error": "KeyboardInterrupt: "}
            if d["event_type"] == "run_ended"
            else d
        ),
    )
    markdown, _ = both(source)
    assert "**Run interrupted**" in markdown
    assert "The run ended with: KeyboardInterrupt:" in markdown


def test_a_run_without_labels_says_that_nothing_could_be_measured(report_of):
    rng = np.random.default_rng(1)
    table = pa.table({f"x{i}": rng.normal(size=900) for i in range(3)})
    markdown, page = both(report_of(table, "anomaly", name="unlabelled"))
    assert "**Unknown.** The 180 rows of the gate part are not labelled" in markdown
    assert "none: every row is taken for a normal one" in markdown
    assert "**Not probed:** there is no label that could leak." in markdown
    assert "percentile" in page.text
    assert "Gate: insufficient evidence" in page.text
    assert "Positive label" not in page.text


def test_a_newcomer_is_told_beside_the_current_model_and_readings_are_counted(report_of):
    rows = synthetic.generate("risk", 4000, seed=1).table
    report_of(rows.slice(0, 2000), name="succession")
    report_of(rows, name="other")
    markdown, _ = both(report_of(rows, name="succession"))
    assert re.search(
        r"\| \*\*(worse than|better than|not shown to differ from)\*\* `succ", markdown
    )
    assert "These rows have judged 2 models, this one counted." in markdown


def test_an_event_log_says_what_was_made_of_the_past(report_of):
    rows = synthetic.generate("events", 3000, seed=1).table
    _, page = both(report_of(rows, "correlation", name="events"))
    assert "events say of each one's past." in page.text
    assert "temporal: by time" in page.text


def test_a_plainer_model_that_was_measured_beside_has_a_table_of_its_own(whole):
    measured = whole.run.first("validation_metrics")
    document = {
        **measured.document,
        "event_type": "reference_metrics",
        "model_type": "logistic",
    }
    event = Event(measured.index, encode_entry(document), document)
    run = LoggedRun(whole.run.run_id, (*whole.run.events, event))
    markdown, _ = both(replace(whole, run=run))
    assert "Beside it, a plainer model of the type `logistic`" in markdown
    assert markdown.count("| `recall` |") == 2


def test_members_that_were_too_large_for_the_log_are_told_by_their_digest(whole):
    stub = {"digest": "sha256:" + "ab" * 32, "bytes": 81_234}
    large = ("plan", "roles", "criteria", "details")
    source = edited(whole, lambda d: {k: stub if k in large else v for k, v in d.items()})
    markdown, page = both(source)
    told = f"holds the digest of its 81,234 bytes: `{stub['digest']}`."
    assert f"The plan is too large for the log, which {told}" in markdown
    assert "The roles of the columns: too large for the log" in page.text
    assert "The criteria are too many for the log" in page.text


def test_many_columns_are_listed_up_to_a_number(report_of):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 600)
    table = pa.table({**{f"x{i}": rng.normal(size=600) + y for i in range(70)}, "label": y})
    markdown, page = both(report_of(table, name="many"))
    assert "`x59`, and 10 more" in markdown
    assert "x69" not in page.text


def test_columns_that_were_left_out_and_classes_of_too_few_rows_are_told(report_of):
    rows = synthetic.generate("risk", 2000, seed=1).table
    leaking = rows.append_column("answer", rows["label"])
    leaking = leaking.sort_by("label").append_column("row_id", pa.array(range(2000)))
    _, page = both(report_of(leaking, name="dropping", drop_leaks=True))
    assert "left out of the model" in page.text
    assert "The rows came sorted by their label." in page.text
    _, page = both(report_of(leaking, name="leaking"))
    assert "nobody accepted it" in page.text
    shuffled = leaking.take(np.random.default_rng(1).permutation(2000))
    shuffled = shuffled.sort_by("row_id").set_column(
        shuffled.column_names.index("label"),
        "label",
        pa.array([int(i >= 1000) ^ int(i in (5, 1500)) for i in range(2000)]),
    )
    _, page = both(report_of(shuffled.drop_columns("answer"), name="by-id"))
    assert "not read by the model" in page.text
    few = pa.concat_tables([rows.filter(pa.compute.equal(rows["label"], 0)), rows.slice(0, 30)])
    keep = np.cumsum(few["label"].to_numpy()) * few["label"].to_numpy() <= 12
    _, page = both(report_of(few.filter(pa.array(keep)), "anomaly", name="few"))
    assert "Not probed: a class has too few rows." in page.text


# --- hostile and senseless logs -----------------------------------------------------------------


def spoilt(value, *, names):
    """The value with every text in it made hostile, and if asked for the names of members too."""
    if isinstance(value, dict):
        suffix = HOSTILE if names else ""
        return {f"{key}{suffix}": spoilt(each, names=names) for key, each in value.items()}
    if isinstance(value, list):
        return [spoilt(each, names=names) for each in value]
    return HOSTILE if isinstance(value, str) else value


@pytest.mark.parametrize("names", [False, True])
def test_nothing_from_data_becomes_markup(whole, failed, aborted, names):
    def change(document):
        kept = {key: document[key] for key in ("event_type", "timestamp")}
        return {key: spoilt(each, names=names) for key, each in document.items()} | kept

    for source in (whole, failed, aborted):
        texts = edited(source, change)
        both(replace(texts, level=HOSTILE, origin=HOSTILE, root=HOSTILE, vkey=HOSTILE))
    told = {"name": HOSTILE, "logged": HOSTILE, "reason": HOSTILE}
    items = tuple(replace(item, **told) for item in whole.recomputed.items)
    again = replace(whole.recomputed, items=items)
    both(replace(whole, recomputed=again, checked=IntegrityError(HOSTILE, mend="")))


@pytest.mark.parametrize(
    "value", [None, 3, -0.5, "x", True, [], [None, {}], {}, {"a": None}, "é\ud800"]
)
def test_members_of_any_shape_are_told_or_called_unknown(whole, value):
    """Each member of each event in turn, then all at once."""
    events = whole.run.events
    for place, event in enumerate(events):
        for name in event.document.keys() - {"event_type"}:
            other = Event(event.index, event.entry, {**event.document, name: value})
            run = LoggedRun(whole.run.run_id, (*events[:place], other, *events[place + 1 :]))
            render(replace(whole, run=run))
    bare = tuple(
        Event(e.index, e.entry, dict.fromkeys(e.document, value) | {"event_type": e.event_type})
        for e in events
    )
    both(replace(whole, run=LoggedRun(whole.run.run_id, bare)))


def test_a_run_of_which_little_is_logged_is_told_as_far_as_it_is(whole):
    """Of an event of no known kind, and of rows that were made up because somebody asked."""
    event = whole.run.events[0]
    other = Event(event.index, event.entry, {"event_type": "operation"})
    markdown, _ = both(replace(whole, run=LoggedRun(whole.run.run_id, (other,))))
    assert f"| unknown | {event.index} | unknown | `operation` |" in markdown
    assert "## What was asked" not in markdown
    made_up = edited(whole, lambda d: {**d, "source": "synthetic:risk"} if "source" in d else d)
    assert "**Synthetic data.** A program made up all rows" in both(made_up)[0]


def test_what_was_not_logged_is_called_unknown(whole):
    source = edited(whole, lambda d: {"event_type": d["event_type"]})
    markdown, page = both(source)
    assert "| Began | unknown |" in markdown
    assert page.text.count("unknown") > 30


def test_every_kind_of_event_has_a_title_for_people():
    kinds = {fact.event_type for fact in Fact.__subclasses__()}
    assert kinds == set(TITLES)
