"""The blocks of reports as a page and as Markdown, and what comes from data in each."""

import re

import pytest

from nethical.charts import Effect, effects
from nethical.reports.blocks import (
    Bullets,
    Code,
    Figure,
    Folded,
    Gallery,
    Heading,
    Paragraph,
    Report,
    Said,
    Section,
    Strong,
    Table,
)
from nethical.reports.html import to_html
from nethical.reports.markdown import to_markdown

HOSTILE = "</style><script>alert(1)</script> **b** | [a](x)"
CHART = effects([Effect("Recall", -0.03, -0.05, -0.01, 0.05, "within", mark=True)], title="Chart")


def report(*blocks, title="Section"):
    return Report("Report", (), "Opening.", (Section(title, blocks),))


def test_folded_blocks_are_shown_on_demand_on_a_page_and_at_once_in_markdown():
    folded = Folded("More", (Paragraph("Words."), Table(("A", "B"), (("1", "2"),), "lr")))
    html, markdown = to_html(report(folded)), to_markdown(report(folded))
    assert "<details>\n<summary>More</summary>\n<p>Words.</p>\n<table" in html
    assert "### More\n\nWords.\n\n| A | B |" in markdown
    assert "<details" not in markdown


def test_folded_blocks_are_printed():
    assert "details::details-content{content-visibility:visible" in to_html(report())


def test_a_heading_and_the_title_of_a_section_may_hold_names_from_data():
    told = report(Heading(("Of ", Said(HOSTILE))), title=(Code("a_b"), " against ", Said(HOSTILE)))
    html, markdown = to_html(told), to_markdown(told)
    assert "<h3>Of &lt;/style&gt;&lt;script&gt;" in html
    assert '<h2><code class="short">a_b</code> against &lt;' in html
    assert html.count("<script") == 0
    assert "### Of &lt;/style&gt;" in markdown
    assert "## `a_b` against &lt;" in markdown
    assert "[a](" not in markdown


def test_words_from_data_may_weigh_more():
    told = report(Bullets(((Strong(Said("a*b <c>")), " d"),)))
    assert "<strong>a*b &lt;c&gt;</strong> d" in to_html(told)
    assert r"**a\*b &lt;c&gt;** d" in to_markdown(told)
    title = Report((Strong(Said("a<b")),), (), "", ())
    assert "<title>a&lt;b</title>" in to_html(title)


def test_charts_stand_beside_each_other_in_the_inks_of_the_page():
    html = to_html(report(Gallery((Figure(CHART), Figure(CHART)))))
    assert html.count("<svg") == 2
    assert html.count("<style>") == 1
    assert not re.search('(fill|stroke)="#', html)
    assert ".nethical-chart .limit{fill:var(--limit)}" in html
    assert to_markdown(report(Gallery((Figure(CHART),)))).endswith("## Section\n")


def test_a_chart_keeps_its_marks_and_what_they_tell():
    marks = re.compile(r"<(?:circle|polygon|path)[^>]*>(?:<title>[^<]*</title>)?")
    before, after = (marks.findall(text) for text in (CHART, to_html(report(Figure(CHART)))))
    assert len(before) == len(after)
    assert "<title>-0.6 margins</title></polygon>" in to_html(report(Figure(CHART)))


@pytest.mark.parametrize("name", ["Rows", 'a "b" \\', HOSTILE])
def test_each_cell_is_named_where_a_screen_is_too_narrow_for_a_head(name):
    table = Table(("What", name), (("Recall", "0.7"), (("Pre", Strong("cision")), "")), "lr")
    html = to_html(report(Folded("More", (table,)), table))
    ((rule, text),) = re.findall(
        r'\.(t[0-9a-f]{6}) td:nth-child\(2\)::before\{content:"([^"]*)"\}', html
    )
    plain = re.sub(r"\\([0-9a-f]+) ", lambda code: chr(int(code[1], 16)), text)
    assert plain == name
    assert html.count(f'<table class="{rule} r2">') == 2
    assert "<td>Recall</td><td>0.7</td>" in html
    assert "<td><span>Pre<strong>cision</strong></span></td><td></td>" in html
    assert html.count("</style>") == 1
