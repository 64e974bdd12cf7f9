"""A report as one HTML page: no script, nothing from elsewhere, for screens, phones and paper."""

from __future__ import annotations

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
    Paragraph,
    Strong,
    Table,
    Verbatim,
)

if TYPE_CHECKING:
    from nethical.reports.blocks import Block, Report, Words

__all__ = ["to_html"]

COLOURS = {
    **{name: INKS[name] for name in ("paper", "ink", "muted", "grid", "band")},
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
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
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
p,li{{max-width:46rem}}
p{{margin:.75rem 0}}
h1,p,li,dt,dd,td,th,code{{overflow-wrap:break-word}}
.long{{overflow-wrap:anywhere}}
a{{color:var(--link)}}
code,pre{{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace;\
font-size:.86em}}
code{{background:var(--band);padding:.1em .3em;border-radius:.25rem}}
h1 code{{background:none;padding:0;font-size:1em}}
.short{{white-space:nowrap}}
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
.r{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;padding-right:1.4rem}}
figure{{margin:1rem 0}}
svg{{max-width:100%;height:auto}}
footer{{margin-top:3rem;color:var(--muted);font-size:.9rem}}
@media screen and (max-width:44rem){{
dl{{display:block}}
dt{{border:0;padding:.5rem 0 0;font-size:.88rem}}
dd{{padding:0 0 .5rem}}
thead{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
tr{{display:block;border-bottom:1px solid var(--grid);padding:.5rem 0}}
td{{display:grid;grid-template-columns:7.5rem minmax(0,1fr);column-gap:.75rem;border:0;\
padding:.12rem 0}}
td::before{{content:attr(data-head);color:var(--muted);font-size:.88rem}}
td:first-child{{display:block;font-weight:600}}
td:first-child::before,td:empty{{display:none}}
.r{{text-align:left;white-space:normal}}
}}
@media print{{
main{{max-width:none;padding:0}}
nav{{display:none}}
h2{{break-after:avoid}}
tr,dt,dd,.callout,figure,pre{{break-inside:avoid}}
}}
"""


def to_html(report: Report) -> str:
    """Return the report as one self-contained page."""
    title = _text(report.title)
    badges = "".join(f'<span class="badge {t}">{escape(text)}</span>' for text, t in report.badges)
    links = "".join(
        f'<li><a href="#s{place}">{escape(section.title)}</a></li>'
        for place, section in enumerate(report.sections, 1)
    )
    sections = "".join(
        f'<section id="s{place}">\n<h2>{escape(section.title)}</h2>\n'
        f"{''.join(map(_block, section.blocks))}</section>\n"
        for place, section in enumerate(report.sections, 1)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<header>\n<h1>{_words(report.title)}</h1>\n<div class="badges">{badges}</div>\n'
        f"<p>{_words(report.opening)}</p>\n</header>\n"
        f'<nav aria-label="Contents"><ol>{links}</ol></nav>\n{sections}</main>\n</body>\n</html>\n'
    )


def _block(block: Block) -> str:
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
            return f"<figure>{svg}</figure>\n"


def _table(table: Table) -> str:
    """Return a table whose cells name their column, for screens too narrow to show a head."""
    kinds = [' class="r"' if side == "r" else "" for side in table.align]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for name, kind in zip(table.head, kinds, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td{kind} data-head="{escape(name)}">{_cell(cell)}</td>'
            for name, kind, cell in zip(table.head, kinds, row, strict=True)
        )
        + "</tr>\n"
        for row in table.rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"


def _cell(words: Words) -> str:
    return f"<span>{_words(words)}</span>" if words else ""


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
        case Strong(text):
            return f"<strong>{escape(text)}</strong>"
        case _:
            return escape(_text(words))


def _text(words: Words) -> str:
    """Return words without their marks."""
    if isinstance(words, tuple):
        return "".join(map(_text, words))
    if isinstance(words, str):
        return words
    return md.one_line(words.text, LONGEST) or md.UNKNOWN
