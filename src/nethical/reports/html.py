"""A report as one HTML page: no script, nothing from elsewhere, for screens, phones and paper."""

from __future__ import annotations

import hashlib
import re
from html import escape
from typing import TYPE_CHECKING

from nethical import markdown as md
from nethical.charts import FONT, INKS
from nethical.reports.blocks import (
    LONGEST,
    Bullets,
    Callout,
    Code,
    Command,
    Facts,
    Figure,
    Folded,
    Gallery,
    Heading,
    Paragraph,
    Strong,
    Table,
    Verbatim,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nethical.reports.blocks import Block, Report, Words

__all__ = ["to_html"]

COLOURS = {
    **INKS,
    "link": INKS["negative"],
    "good": ("#116329", "#56d364"),
    "bad": INKS["limit"],
    "open": ("#7d4e00", "#e3b341"),
    "plain": INKS["muted"],
}
LIGHT, DARK = (
    "".join(f"--{name}:{both[place]};" for name, both in COLOURS.items()) for place in (0, 1)
)
SHORT, LONG = 24, 32
CHART_STYLE = re.compile("<style>[^<]*</style>")
CHILDLESS = re.compile("(<(rect|circle|path|polygon)[^<>]*)></\\2>")
CHART_TAG = re.compile("<[^<>]*>")
# What the page gives every chart anyway: inks by their class, letters, and where these begin.
GIVEN = re.compile(
    r' (?:(?:fill|stroke)="#[0-9a-f]{6}"|text-anchor="start"|(?:font-family|xmlns)="[^"]*")'
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
CHART_INKS = "".join(
    f".nethical-chart .{name}{{fill:var(--{name})}}"
    f".nethical-chart .{name}-line{{stroke:var(--{name})}}"
    for name in INKS
)
RIGHT = ",".join(
    f".r{place} {cell}:nth-child({place})" for place in range(1, 10) for cell in ("th", "td")
)
STYLE = f"""\
:root{{{LIGHT}color-scheme:light dark}}
@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}
@media print{{:root{{{LIGHT}color-scheme:light;font-size:10pt}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 {FONT}}}
main{{max-width:64rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}}
h1{{font-size:1.6rem;line-height:1.25;margin:.5rem 0}}
h2{{font-size:1.2rem;margin:2.75rem 0 .75rem;padding-bottom:.3rem;\
border-bottom:1px solid var(--grid)}}
h3{{font-size:1.02rem;margin:1.75rem 0 .5rem}}
p,li{{max-width:46rem}}
p{{margin:.75rem 0}}
h1,h2,h3,p,li,dt,dd,td,th,code{{overflow-wrap:break-word}}
.long{{overflow-wrap:anywhere}}
a{{color:var(--link)}}
code,pre{{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace;\
font-size:.86em}}
code{{background:var(--band);padding:.1em .3em;border-radius:.25rem}}
h1 code,h2 code,h3 code{{background:none;padding:0;font-size:1em}}
.short{{white-space:nowrap}}
h1 .short,h2 .short,h3 .short{{white-space:normal;overflow-wrap:anywhere}}
.command{{display:block;margin:.35rem 0;padding:.4rem .7rem;white-space:nowrap;overflow-x:auto}}
pre{{background:var(--band);padding:.8rem 1rem;border-radius:.4rem;margin:.75rem 0;\
white-space:pre-wrap;overflow-wrap:anywhere}}
ul,ol{{padding-left:1.4rem;margin:.75rem 0}}
li{{margin:.3rem 0}}
.badges{{display:flex;flex-wrap:wrap;gap:.5rem;margin:.75rem 0}}
.badge{{border:1.5px solid currentColor;border-radius:1rem;padding:.1rem .75rem;font-weight:600;\
font-size:.9rem}}
.good{{color:var(--good)}}.bad{{color:var(--bad)}}.open{{color:var(--open)}}
.plain{{color:var(--plain)}}
.callout{{color:inherit;border-left:.3rem solid;padding:.5rem .9rem;background:var(--band);\
border-radius:0 .4rem .4rem 0}}
.callout.good{{border-color:var(--good)}}.callout.bad{{border-color:var(--bad)}}
.callout.open{{border-color:var(--open)}}.callout.plain{{border-color:var(--plain)}}
nav{{font-size:.92rem;border:1px solid var(--grid);border-radius:.4rem;padding:.6rem 1rem;\
margin:1.25rem 0}}
nav ol{{columns:15rem;margin:.3rem 0}}
nav li{{margin:.1rem 0;break-inside:avoid}}
dl{{display:grid;grid-template-columns:minmax(9rem,15rem) minmax(0,1fr);margin:.75rem 0}}
dt,dd{{margin:0;padding:.3rem 0;border-bottom:1px solid var(--grid)}}
dt{{color:var(--muted);padding-right:1rem}}
table{{border-collapse:collapse;width:100%;font-size:.93rem;margin:.75rem 0}}
th{{text-align:left;color:var(--muted);font-weight:600;vertical-align:bottom}}
th,td{{padding:.28rem .9rem .28rem 0;border-bottom:1px solid var(--grid);vertical-align:top}}
{RIGHT}{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;\
padding-right:1.4rem}}
figure{{margin:1rem 0}}
{CHART_INKS}
svg{{max-width:100%;height:auto}}
.gallery{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr));\
gap:0 1.5rem;margin:1rem 0;align-items:start}}
.gallery figure{{margin:.5rem 0}}
.gallery svg{{margin-left:-4.6%;max-width:104.6%}}
details{{border:1px solid var(--grid);border-radius:.4rem;padding:.5rem 1rem;margin:1rem 0}}
summary{{cursor:pointer;font-weight:600}}
footer{{margin-top:3rem;color:var(--muted);font-size:.9rem}}
@media screen and (max-width:44rem){{
dl{{display:block}}
dt{{border:0;padding:.5rem 0 0;font-size:.88rem}}
dd{{padding:0 0 .5rem}}
thead{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
tr{{display:block;border-bottom:1px solid var(--grid);padding:.5rem 0}}
td{{display:grid;grid-template-columns:7.5rem minmax(0,1fr);column-gap:.75rem;border:0;\
padding:.12rem 0}}
td::before{{color:var(--muted);font-size:.88rem}}
td:first-child{{display:block;font-weight:600}}
td:first-child::before,td:empty{{display:none}}
{RIGHT}{{text-align:left;white-space:normal;padding-right:0}}
}}
@media print{{
main{{max-width:none;padding:0}}
nav{{display:none}}
h2,h3{{break-after:avoid}}
details{{border:0;padding:0}}
details::details-content{{content-visibility:visible;height:auto}}
.gallery{{grid-template-columns:1fr 1fr}}
.gallery svg{{margin-left:0;max-width:100%}}
tr,dt,dd,.callout,figure,pre{{break-inside:avoid}}
}}
"""


def to_html(report: Report) -> str:
    """Return the report as one self-contained page."""
    title = _text(report.title)
    badges = "".join(f'<span class="badge {t}">{escape(text)}</span>' for text, t in report.badges)
    links = "".join(
        f'<li><a href="#s{place}">{escape(_text(section.title))}</a></li>'
        for place, section in enumerate(report.sections, 1)
    )
    sections = "".join(
        f'<section id="s{place}">\n<h2>{_words(section.title)}</h2>\n'
        f"{''.join(map(_block, section.blocks))}</section>\n"
        for place, section in enumerate(report.sections, 1)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}{_names_of_cells(report)}</style>\n</head>\n<body>\n<main>\n"
        f'<header>\n<h1>{_words(report.title)}</h1>\n<div class="badges">{badges}</div>\n'
        f"<p>{_words(report.opening)}</p>\n</header>\n"
        f'<nav aria-label="Contents"><ol>{links}</ol></nav>\n{sections}</main>\n</body>\n</html>\n'
    )


def _block(block: Block) -> str:  # noqa: PLR0911 - one for each kind of block
    match block:
        case Paragraph(words):
            return f"<p>{_words(words)}</p>\n"
        case Callout(words, tone):
            return f'<p class="callout {tone}">{_words(words)}</p>\n'
        case Facts(rows):
            pairs = "".join(f"<dt>{_words(n)}</dt><dd>{_words(v)}</dd>\n" for n, v in rows)
            return f"<dl>\n{pairs}</dl>\n"
        case Table():
            return _table(block)
        case Bullets(items, numbered):
            tag = "ol" if numbered else "ul"
            return f"<{tag}>{''.join(f'<li>{_words(item)}</li>' for item in items)}</{tag}>\n"
        case Verbatim(text):
            return f"<pre>{escape(text)}</pre>\n"
        case Figure(svg):
            return f"<figure>{_inlined(svg)}</figure>\n"
        case Gallery(figures):
            return f'<div class="gallery">\n{"".join(map(_block, figures))}</div>\n'
        case Heading(words):
            return f"<h3>{_words(words)}</h3>\n"
        case Folded(title, inner):
            told = "".join(map(_block, inner))
            return f"<details>\n<summary>{escape(title)}</summary>\n{told}</details>\n"


def _inlined(svg: str) -> str:
    """Return a chart for this page: in its inks, dark or light or printed, and with fewer bytes."""
    bare = CHART_STYLE.sub("", svg)
    bare = CHART_TAG.sub(lambda tag: GIVEN.sub("", tag[0]), bare)
    return CHILDLESS.sub(r"\1/>", bare).replace("\n", "")


def _table(table: Table) -> str:
    """Return a table of bare cells; its classes align them, and name them on narrow screens."""
    kinds = [f"r{place}" for place, side in enumerate(table.align, 1) if side == "r"]
    names = " ".join([_class_of(table.head), *kinds])
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head)
    rows = "".join(
        f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>\n" for row in table.rows
    )
    return (
        f'<table class="{names}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table>\n"
    )


def _class_of(head: tuple[str, ...]) -> str:
    """Return the class of all tables of one head."""
    return "t" + hashlib.sha256("\0".join(head).encode()).hexdigest()[:6]


def _heads(blocks: Iterable[Block]) -> Iterator[tuple[str, ...]]:
    """Return the heads of all tables, also of those within others."""
    for block in blocks:
        match block:
            case Table(head):
                yield head
            case Folded(_, inner):
                yield from _heads(inner)
            case _:
                pass


def _names_of_cells(report: Report) -> str:
    """Return the style that names each cell's column where a screen is too narrow for a head."""
    heads = dict.fromkeys(_heads(block for section in report.sections for block in section.blocks))
    rules = [
        f'.{_class_of(head)} td:nth-child({place})::before{{content:"{_css(name)}"}}'
        for head in heads
        for place, name in enumerate(head, 1)
        if place > 1
    ]
    return f"@media screen and (max-width:44rem){{{''.join(rules)}}}\n" if rules else ""


def _css(text: str) -> str:
    """Return text as it may stand in a string of a style, by its code points where it must."""
    return "".join(c if c.isalnum() or c in " .,:/-%" else f"\\{ord(c):x} " for c in text)


def _cell(words: Words) -> str:
    """Return the words of a cell; several pieces are held together, for they lie in a grid."""
    return f"<span>{_words(words)}</span>" if isinstance(words, tuple) else _words(words)


def _words(words: Words) -> str:
    if isinstance(words, tuple):
        return "".join(map(_words, words))
    match words:
        case Code(text):
            line = md.one_line(text, LONGEST)
            kind = "long" if len(line) > LONG else "short" if len(line) <= SHORT else "name"
            return f'<code class="{kind}">{escape(line)}</code>' if line else md.UNKNOWN
        case Command(text):
            return f'<code class="command">{escape(md.one_line(text, LONGEST))}</code>'
        case Strong(inner):
            return f"<strong>{_words(inner)}</strong>"
        case _:
            return escape(_text(words))


def _text(words: Words) -> str:
    """Return words without their marks."""
    if isinstance(words, tuple):
        return "".join(map(_text, words))
    if isinstance(words, str):
        return words
    if isinstance(words, Strong):
        return _text(words.words)
    return md.one_line(words.text, LONGEST) or md.UNKNOWN
