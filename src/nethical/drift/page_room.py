"""A page that stays small enough to be sent: what is of least use is left out first."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from nethical.reports.blocks import Gallery, Paragraph
from nethical.reports.html import to_html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nethical.reports.blocks import Block, Figure, Report

__all__ = ["to_small_html"]

MOST_BYTES = 99_500
FEWEST_CHARTS = 8
TOLD = re.compile("<title>[^<]*</title>")
UNSEEN = re.compile('<g fill-opacity="0">.*?</g>', re.DOTALL)


def to_small_html(report: Report) -> str:
    """Return the report as a page below 100 kB, if leaving something out can make it so.

    First go the words that marks show when they are touched, which the description of the chart
    holds as well; then charts, the last by rank and by place within a rank, down to eight.
    """
    galleries = (b for s in report.sections for b in s.blocks if isinstance(b, Gallery))
    figures = [figure for gallery in galleries for figure in gallery.figures]
    kept = sorted(range(len(figures)), key=lambda place: (figures[place].rank, place))
    page = to_html(report)
    if len(page.encode()) > MOST_BYTES:
        figures = [replace(figure, svg=_untouched(figure.svg)) for figure in figures]
        page = to_html(_only(report, figures, set(kept)))
    while len(page.encode()) > MOST_BYTES and len(kept) > FEWEST_CHARTS:
        kept.pop()
        page = to_html(_only(report, figures, set(kept)))
    return page


def _untouched(svg: str) -> str:
    """Return a chart whose marks tell nothing when they are touched."""
    head, end, body = svg.partition("</desc>")
    return head + end + UNSEEN.sub("", TOLD.sub("", body))


def _only(report: Report, drawn: Sequence[Figure], kept: set[int]) -> Report:
    """Return the report with some of its charts, counted through, and a word for the others."""
    places, sections = count(), []
    for section in report.sections:
        blocks: list[Block] = []
        for block in section.blocks:
            if not isinstance(block, Gallery):
                blocks.append(block)
                continue
            here = [next(places) for _ in block.figures]
            figures = tuple(drawn[place] for place in here if place in kept)
            blocks += [Gallery(figures)] if figures else []
            left_out = len(block.figures) - len(figures)
            if left_out:
                charts = "1 more chart is" if left_out == 1 else f"{left_out:,} more charts are"
                told = (
                    f"{charts} left out to keep this page small; the JSON report has the numbers."
                )
                blocks.append(Paragraph(told))
        sections.append(replace(section, blocks=tuple(blocks)))
    return replace(report, sections=tuple(sections))
