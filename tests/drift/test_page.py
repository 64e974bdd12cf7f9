"""Pages of reports that the real code makes, of every kind of cohorts, and of hostile names."""

import json
import random
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import jsonschema
import numpy as np
import pytest

from nethical import markdown as md
from nethical.canonical import digest
from nethical.drift import report
from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import Cohorts, NewRun
from nethical.drift.compare import analyse
from nethical.drift.effects import Settings
from nethical.drift.page import render
from nethical.drift.page_words import METRICS, difference, measured, p_value
from nethical.drift.rows import rows_digest
from nethical.errors import DataError
from nethical.record import scored_rows_file

AT = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
VOID = {"meta"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "nav", "section"),
    *("h1", "h2", "h3", "p", "ul", "ol", "li", "a", "dl", "dt", "dd", "table", "thead", "tbody"),
    *("tr", "th", "td", "span", "div", "code", "strong", "figure", "details", "summary"),
    *("svg", "desc", "text", "line", "rect", "circle", "polygon", "path", "g"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "scope"),
    *("data-head", "aria-label", "role", "viewbox", "width", "height", "fill-opacity"),
    *("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "d", "points", "fill", "stroke-width"),
    *("stroke-dasharray", "font-size", "font-weight", "text-anchor"),
}
PARTS = (
    *("<script>alert(1)</script>", "</style>", "</title>", "</svg>", "]]>", "<!--", "--!>", "&lt;"),
    *('" onload=x ', "' onerror=x ", "<img src=x onerror=alert(1)>", "javascript:x", "&#60;b&#62;"),
    *("\x00", "\x1b[31m", "\u202e", "\u2066", "\u200f", "\ufeff", "\n# head\n", "\r\n---\r\n"),
    *("[a](javascript:x)", "![i](http://e.vil/x.png)", "**b**", "`c`", "```", "~~~", "|", "\\"),
    *("www.e.vil", "$x$", "{{x}}", "é", "漢字", "x" * 300, "", " "),
)


def hostile_names(count=500):
    rng = random.Random(1)
    names = ["".join(rng.choices(PARTS, k=rng.randint(1, 6))) for _ in range(count)]
    return [f"{place}{name}" for place, name in enumerate(names)]


def rows(rng, n=3000, separation=2.2, over=1.0):
    """Probabilities and labels; ``over`` above 1 makes a model too sure of itself."""
    y = (rng.random(n) < 0.3).astype(np.int8)
    x = rng.normal(np.where(y, separation / 2, -separation / 2))
    return 1 / (1 + np.exp(-over * (2.2 * x + np.log(3 / 7)))), y


def kinds(rng, n, values=(("region", ("north", "south", "west")), ("tool", ("mail", "web")))):
    return {name: (rng.integers(0, len(of), n), list(of)) for name, of in values}


def weeks(rng, n, count=8):
    return np.sort(rng.integers(0, count, n)), [f"2026-W{week:02d}" for week in range(count)]


class Store:
    """Cohorts in a folder, and reports of them."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0
        self.cohorts = Cohorts(folder, lambda: AT - timedelta(days=100 - self.count))

    def add(self, cohort_id, scored, *, model="fraud-1", process="p", label=None, **more):
        self.count += 1
        details = {"threshold": 0.5, "source": "scores", **more.pop("details", {})}
        run = NewRun(
            f"run_{self.count}",
            model,
            f"sha256:{model}",
            process,
            more.pop("rows_digest", f"sha256:{self.count:064x}"),
            more.pop("rows_path", ""),
            summarise(scored),
            details,
        )
        self.cohorts.add(cohort_id, run, label=label)

    def add_rows(self, cohort_id, p, y, ids, **more):
        """Add a run whose rows are kept, so that they can be compared one by one."""
        content = scored_rows_file(ids, p, y)
        path = f"{digest(content)[7:20]}.parquet"
        (self.folder / path).write_bytes(content)
        told = {"rows_digest": rows_digest(ids, y), "rows_path": path}
        more["details"] = {"rows_file": digest(content)}
        self.add(cohort_id, Scored(p, y, 0.5), **told, **more)

    def document(self, *, look=None, horizon=None, **settings):
        found = analyse(self.cohorts.load(), folder=self.folder, settings=Settings(**settings))
        made = report.document(
            found, report_id="drift_20261126_080000", at=AT, look=look, horizon=horizon
        )
        stored = json.loads(json.dumps(made))
        jsonschema.validate(stored, report.schema())
        return stored


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Four cohorts with groups and weeks: one as the reference, one worse, one over-sure."""
    made, rng = Store(tmp_path_factory.mktemp("whole")), np.random.default_rng(1)
    for name, more in (
        ("spring", {}),
        ("summer", {}),
        ("autumn", {"separation": 1.5}),
        ("winter", {"over": 1.7}),
    ):
        p, y = rows(rng, 8000, **more)
        groups = kinds(rng, 8000)
        # The model misses many cases of people from the west.
        p = np.where((groups["region"][0] == 2) & (rng.random(8000) < 0.4), p / 3, p)
        broken = [{"type": "low_accuracy", "severity": "high"}] if name == "autumn" else []
        scored = Scored(p, y, 0.5, fairness=groups, windows=weeks(rng, 8000))
        made.add(name, scored, details={"violations": broken})
    return made.document(look=3, horizon=52)


class Page(HTMLParser):
    """Checks that a page is well formed, and collects what it is made of."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.links, self.text = [], set(), set(), [], ""
        self.images = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag == "svg":
            self.images.append([dict(attrs)["role"], []])
        elif self.images and "svg" in self.open:
            self.images[-1][1].append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "style" not in self.open else ""


def check_page(html):
    page = Page(html)
    assert page.tags <= TAGS, page.tags - TAGS
    assert page.attributes <= ATTRIBUTES, page.attributes - ATTRIBUTES
    assert all(re.fullmatch(r"#s\d+", link) for link in page.links)
    assert html.count("<style>") == 1
    assert not re.search(r"url\(|@import|expression\(", html)
    assert not re.search("[\x00\x1b\u202e\u2066]", html)
    assert all(role == "img" and tags[:2] == ["title", "desc"] for role, tags in page.images)
    return page


def check_markdown(markdown):
    """Check that nothing in it is HTML, an image or a link, and that tables have their columns."""
    outside = re.sub(r"`[^`]*`", "", re.sub(r"\\.", "", markdown))
    assert not re.search(r"[<]|\]\(|!\[|://|www\.|```|~~~|[\x00\x1b\u202e]", outside)
    width = None
    for line in markdown.split("\n"):
        cells = re.sub(r"\\.", "", line).count("|") if line.startswith("|") else None
        assert width is None or cells in (None, width)
        width = cells
    return markdown


def both(document):
    found = render(document)
    assert set(found) == {".html", ".md"}
    return check_markdown(found[".md"]), check_page(found[".html"])


def compared(document):
    return {one["current"]: one for one in document["drift_metrics"]["comparisons"]}


# --- what is told -------------------------------------------------------------------------------


def test_the_same_document_gives_the_same_bytes_also_after_it_was_stored(whole):
    assert render(whole) == render(whole) == render(json.loads(json.dumps(whole)))


def test_every_number_of_the_effects_stands_in_both(whole):
    markdown, page = both(whole)
    for comparison in compared(whole).values():
        for effect in comparison["effects"]:
            values = [effect["reference"], effect["current"]]
            texts = [md.number(value) for value in values if value is not None]
            texts += [difference(effect), md.given(effect["margin"])]
            if effect["verdict"] == "undecided":
                texts.append(f"{effect['rows_needed']:,}")
            for text in texts:
                assert text in markdown, text
                assert text in page.text, text


def test_the_verdict_stands_first_and_what_to_do_second(whole):
    markdown, page = both(whole)
    assert compared(whole)["autumn"]["verdict"] == "drift"
    assert markdown.split("\n")[2] == "**Drift** · **Fairness alarm** · **Limits broken: 1**"
    opening = page.text[: page.text.index("What was found", page.text.index("How to compute"))]
    assert "autumn" in opening
    assert "changed by more than the margins allow" in opening
    for one in whole["recommendation_details"]:
        assert page.text.count(f"{one['action']}.") == 1
        assert f"{one['evidence']}." in page.text
    titles = re.findall(r"<h2>(.*?)</h2>", render(whole)[".html"])
    plain = [re.sub("<[^>]*>", "", title) for title in titles]
    assert plain[:3] == ["What was found", "What to do", "autumn against spring"]
    assert plain[5:] == [
        *("Fairness", "Over time", "The cohorts", "How to read this", "How to compute it again")
    ]


def test_each_comparison_says_which_question_it_answers_and_its_message(whole):
    markdown, page = both(whole)
    assert page.text.count("One model on other rows") == 3
    for comparison in compared(whole).values():
        assert comparison["message"] in page.text
        for test in comparison["tests"]:
            assert p_value(test["p"]) in page.text
            assert p_value(test["p_adjusted"]) in page.text
    assert "Tests and distances" not in markdown


def test_groups_with_an_alarm_are_told_and_the_others_counted(whole):
    _, page = both(whole)
    assert "region = west" in page.text
    for cohort in whole["cohorts"].values():
        tests = cohort["groups"]["tests"]
        alarms = [test for test in tests if test["alarm"]]
        assert f"{len(alarms):,} of {len(tests):,} rates of groups differ" in page.text
    assert "equal shares of alerts and equal error rates cannot both hold" in page.text
    changed = compared(whole)["autumn"]["groups"]
    count = sum(test["alarm"] for test in changed)
    assert f"{count} of {len(changed)} rates of groups changed" in page.text


def test_cohorts_settings_and_digests_are_told(whole):
    _, page = both(whole)
    for cohort in whole["cohorts"].values():
        for name in ("accuracy", "recall", "false_positive_rate", "ece_debiased"):
            assert measured(cohort["metrics"][name]) in page.text
        for run in cohort["runs"]:
            assert run["cells_digest"] in page.text
    assert "This is look 3 at the reference of 52 that are planned" in page.text
    assert "low_accuracy" in page.text
    for metric, margin in whole["comparison"]["margins"].items():
        assert f"{METRICS[metric]}{margin:g}" in page.text.replace("\n", "")


def test_a_page_of_four_cohorts_is_below_100_kb_and_has_charts_of_every_kind(whole):
    html = render(whole)[".html"]
    assert len(html.encode()) < 100_000
    for title in (
        *("What changed, in margins", "rate: in whom", "Scores, as shares", "Reliability of"),
        *("of groups", "Accuracy: spring"),
    ):
        assert re.search(f"<title>[^<]*{title}", html), title
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in html


def test_the_summary_is_short(whole):
    markdown, _ = both(whole)
    assert len(markdown) < 7_000
    assert markdown.count("\n## ") == 4


# --- reports of other kinds ---------------------------------------------------------------------


def test_one_cohort_alone_is_told_without_a_comparison(store, rng):
    store.add("alone", Scored(*rows(rng), 0.5))
    markdown, page = both(store.document())
    assert "nothing to compare it with" in markdown
    assert "Insufficient cohorts for drift analysis" in page.text
    assert "or add scored rows with** `nethical drift add`" in markdown
    assert "Fairness" not in page.text
    assert "Over time" not in page.text


def test_cohorts_without_labels_show_what_is_assumed_and_what_the_model_says(store, rng):
    p, y = rows(rng)
    store.add("old", Scored(p, y, 0.5, windows=weeks(rng, len(p))))
    p, y = rows(rng)
    store.add("new", Scored(p, np.full_like(y, -1), 0.5, windows=weeks(rng, len(p))))
    document = store.document()
    markdown, page = both(document)
    assert "| too few labels |" in markdown
    assert "The estimates below hold only if nothing but the mix of rows changed" in page.text
    estimate = compared(document)["new"]["estimated"]["estimated_recall"]
    assert f"Recall, estimated{md.number(estimate)}" in page.text
    assert "Share called positive: new" in page.text
    assert "Mean probability: new" in page.text
    assert "Reliability of two cohorts" not in page.text
    assert "none" in page.text


def test_two_models_on_the_same_rows_are_said_to_be_compared_row_by_row(store, rng):
    p, y = rows(rng)
    ids = rng.integers(0, 1 << 60, (len(y), 2)).astype(np.uint64)
    store.add_rows("old", p, y, ids)
    store.add_rows("new", np.clip(p + 0.01, 0, 1), y, ids, model="fraud-2", process="q")
    document = store.document()
    assert compared(document)["new"]["kind"] == "same_rows_two_models"
    _, page = both(document)
    assert "Two models on the same rows, compared row by row" in page.text
    assert "McNemar's test" in page.text


def test_ways_of_training_are_counted_in_models(store, rng):
    for name in ("before", "after"):
        for k in range(3):
            store.add(name, Scored(*rows(rng), 0.5), model=f"{name}-{k}", process=name)
    document = store.document()
    assert compared(document)["after"]["kind"] == "training_process"
    markdown, page = both(document)
    assert "Models needed" in markdown
    assert "Mean probability" in markdown
    assert "What counts here are models, not rows" in page.text
    assert "Compared models" in page.text


def test_a_single_retraining_is_shown_and_not_judged(store, rng):
    store.add("before", Scored(*rows(rng, 8000), 0.5))
    worse = Scored(*rows(rng, 8000, separation=1.0), 0.5)
    store.add("after", worse, model="fraud-2")
    document = store.document()
    assert compared(document)["after"]["kind"] == "single_retrain"
    markdown, page = both(document)
    assert markdown.split("\n")[2] == "**Inconclusive**"
    assert "differs, not judged" in markdown
    assert "worse, beyond margin" not in markdown + page.text
    assert "no drift can be read from them" in page.text


def test_the_same_rows_by_the_same_model_have_no_question(store, rng):
    scored = Scored(*rows(rng), 0.5)
    store.add("one", scored, rows_digest="sha256:" + "a" * 64)
    store.add("two", scored, rows_digest="sha256:" + "a" * 64)
    _, page = both(store.document())
    assert "there is no question to answer" in page.text


def test_percentiles_have_no_reliability(store, rng):
    for name in ("one", "two"):
        store.add(name, Scored(*rows(rng), 0.5), details={"is_calibrated": False})
    _, page = both(store.document())
    assert "Scores, as shares of each cohort" in page.text
    assert "Reliability of two cohorts" not in page.text


def test_no_drift_is_said_in_as_many_words(store, rng):
    p, y = rows(rng, 60_000)
    store.add("one", Scored(p, y, 0.5))
    store.add("two", Scored(*rows(rng, 60_000), 0.5))
    markdown, page = both(store.document())
    assert markdown.split("\n")[2] == "**No drift**"
    assert "did not change by more than the margins allow" in page.text


def test_small_groups_are_listed_as_not_assessable(store, rng):
    p, y = rows(rng)
    codes = np.zeros(len(p), dtype=np.int64)
    codes[:9] = 1
    scored = Scored(p, y, 0.5, fairness={"region": (codes, ["north", "far"])})
    store.add("one", scored)
    _, page = both(store.document())
    assert "Groups with too few rows to be assessed" in page.text
    assert "region = far: " in page.text


def test_of_many_comparisons_four_have_charts_and_the_page_says_so(store, rng):
    for k in range(8):
        more = {"separation": 1.2} if k == 7 else {}
        scored = Scored(*rows(rng, 2000, **more), 0.5, windows=weeks(rng, 2000))
        store.add(f"week-{k}", scored)
    html = render(store.document())[".html"]
    page = check_page(html)
    assert html.count("<title>What changed, in margins</title>") == 4
    assert "The first 4 comparisons below have charts" in page.text
    assert page.text.rindex("week-7 Drift:") < page.text.rindex("week-1 Inconclusive:")
    assert "more cohorts." in page.text
    assert len(html.encode()) < 110_000


def test_many_groups_are_drawn_and_listed_up_to_a_number(store, rng):
    n = 20_000
    p, y = rows(rng, n)
    codes = rng.integers(0, 40, n)
    p = np.where(codes % 2 == 0, p / 2, p)
    values = [f"shop {k:02d}" for k in range(40)]
    store.add("one", Scored(p, y, 0.5, fairness={"shop": (codes, values)}))
    html = render(store.document())[".html"]
    page = check_page(html)
    assert "Recall of groups, 12 of 40" in page.text
    assert "the 8 largest are below" in page.text
    rows_of_alarms = re.findall(r"<td>shop = shop \d\d</td>", html)
    assert len(rows_of_alarms) == 8


def test_a_report_of_another_version_is_refused(whole):
    with pytest.raises(DataError, match="schema version 2"):
        render({**whole, "schema_version": 2})


# --- hostile names ------------------------------------------------------------------------------


def test_hostile_labels_models_and_groups_are_inert(store, rng):
    """All of them come from the user: what a group or a model is called may be anything."""
    names = hostile_names()
    for k in range(4):
        part = names[k * 100 : k * 100 + 100]
        p, y = rows(rng, 4000, separation=2.2 - k / 2)
        codes = rng.integers(0, 50, len(p))
        p = np.where(codes < 10, p / 3, p)
        scored = Scored(
            p,
            y,
            0.5,
            fairness={
                part[0]: (codes, part[1:51]),
                part[51]: (rng.integers(0, 3, len(p)), part[52:55]),
            },
            windows=(rng.integers(0, 5, len(p)), part[55:60]),
        )
        told = {"violations": [{"type": part[60], "severity": part[61]}], "source": part[62]}
        store.add(f"cohort-{k}", scored, model=names[400], label=part[63], details=told)
    document = store.document()
    markdown, page = both(document)
    assert "alert(1)" in page.text
    assert len(markdown) < 30_000
    assert len(render(document)[".html"].encode()) < 150_000


def spoilt(value, names):
    """The value with every text in it that no schema fixes made hostile."""
    if isinstance(value, dict):
        fixed = {"verdict", "kind", "metric", "current", "reference"}
        times = {"added_at", "generated_at", "start_time", "end_time", "cohort_id"}
        return {k: v if k in fixed | times else spoilt(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return [spoilt(each, names) for each in value]
    return names[len(value) % len(names)] if isinstance(value, str) else value


def test_no_text_of_a_report_becomes_markup_whoever_wrote_it(whole):
    names = hostile_names()
    for place in range(0, 500, 50):
        both(spoilt(whole, names[place : place + 50]))


def test_hostile_ids_and_metrics_are_inert(whole):
    text = json.dumps(whole)
    for name in hostile_names(20):
        inner = json.dumps(name)[1:-1]
        both(json.loads(text.replace('"autumn"', f'"{inner}"')))
        both(json.loads(text.replace('"precision"', f'"{inner}"').replace('"flag_', f'"{inner}_')))
