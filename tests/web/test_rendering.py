"""What hides is shown, cards are the Markdown that cards are written in, and trials are dots."""

import pytest

from nethical.web.answers import laid_out
from nethical.web.cards import card_html
from nethical.web.rendering import ENVIRONMENT, readable
from nethical.web.scatter import Tried, scatter


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("bell\x07", "bell⟨U+0007⟩"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("می\u200cخواهم",) * 2,  # noqa: RUF001 - Persian, whose words hold joiners
        ("👩\u200d👧", "👩\u200d👧"),
        ("ad\u200dmin", "ad⟨U+200D⟩min"),
        ("\u200d", "⟨U+200D⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("مرحبا",) * 2,
    ],
)
def test_what_is_not_seen_is_named_and_scripts_stay_whole(text, shown):
    assert readable(text) == shown


def test_a_template_escapes_whatever_is_put_into_it():
    template = ENVIRONMENT.from_string('<p title="{{ x }}">{{ x }}</p>')
    assert template.render(x='"><b>\u202e') == (
        '<p title="&#34;&gt;&lt;b&gt;⟨U+202E⟩">&#34;&gt;&lt;b&gt;⟨U+202E⟩</p>'
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "yes"),
        (None, "unknown"),
        (0.8434706, "0.843471"),
        (1234.0, "1,234"),
        ([1, "a"], "1, a"),
    ],
)
def test_values_are_shown_as_people_write_them(value, shown):
    assert ENVIRONMENT.filters["value"](value) == shown


def test_a_card_becomes_titles_tables_lists_and_charts():
    card = card_html(
        "# Title\n\n> **Verdict: PASS.** Fine.\n\n## One `part`\n\n| A | B |\n| --- | --: |\n"
        "| x \\| y | **1** |\n\n- first\n- second\n\n![Scores: shares](scores.svg)\n\n"
        "![Other](other.svg)\n\n### Below\n\n```sh\nnethical <x>\n```\n",
        {"scores.svg": "<svg><style>x</style></svg>"},
    )
    assert card.contents == ("One part",)
    assert card.html == (
        '<p class="callout plain"><strong>Verdict: PASS.</strong> Fine.</p>\n'
        '<h2 id="s1">One <code>part</code></h2>\n'
        '<table><thead><tr><th scope="col" class="l">A</th><th scope="col" class="r">B</th></tr>'
        '</thead><tbody><tr><td data-label="A" class="l"><span>x | y</span></td>'
        '<td data-label="B" class="r"><span><strong>1</strong></span></td></tr>\n</tbody></table>\n'
        "<ul><li>first</li><li>second</li></ul>\n<figure><svg></svg></figure>\n<p>Other</p>\n"
        "<h3>Below</h3>\n<pre>nethical &lt;x&gt;</pre>\n"
    )


def test_nothing_hostile_in_a_card_becomes_an_element(hostile):
    from html.parser import HTMLParser

    found = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.add(tag)
            assert {name for name, _ in attrs} <= {"id", "class", "data-label", "scope"}

    for text in hostile:
        for shape in (
            "{}",
            "## {}",
            "> {}",
            "- {}",
            "| {} |\n| --- |\n| {} |",
            "![{}](x.svg)",
            "`{}`",
        ):
            Tags().feed(card_html(shape.replace("{}", text), {}).html)
    known = {"p", "h2", "h3", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "span"}
    assert found <= known | {"code", "strong", "pre", "figure"}


def test_each_trial_is_a_mark_and_the_best_is_another_one():
    drawn = scatter(
        [Tried(1, 0.8, 0.02), Tried(2, 0.9, 0.03, is_best=True), Tried(3, float("nan"), 0.1)],
        title="<b>",
    )
    assert drawn.count("<circle") == 1
    assert "trial 2: recall 0.900, false positive rate 0.030" in drawn
    assert "<b>" not in drawn
    assert scatter([], title="nothing").startswith("<svg")


def test_texts_are_set_large_and_the_rest_is_a_table():
    layout = laid_out({"a": "short", "b": "two\nlines", "c": 1.5, "d": "x" * 61}, whole=False)
    assert [text.name for text in layout.texts] == ["b", "d"]
    assert layout.cells == (("a", "short"), ("c", 1.5))
    assert laid_out(None, whole=False).texts == ()
