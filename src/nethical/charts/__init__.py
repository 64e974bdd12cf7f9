"""Small SVG charts as text, for cards, reports and pages.

Each is one self-contained image without script: a title and a description for those who do not
see it, light colours as plain attributes so that every viewer shows them on their own paper, and
dark ones behind ``prefers-color-scheme``. Letters stay legible when the image is as wide as a
phone, and no colour says what neither a shape nor a word says. The same values give the same
bytes.
"""

from nethical.charts.calibration import Bins, reliability, two_reliabilities
from nethical.charts.differences import Effect, effects
from nethical.charts.intervals import Measured, forest, groups
from nethical.charts.paper import FONT, INKS
from nethical.charts.scores import histogram, two_scores
from nethical.charts.windows import Point, timeline

__all__ = [
    "FONT",
    "INKS",
    "Bins",
    "Effect",
    "Measured",
    "Point",
    "effects",
    "forest",
    "groups",
    "histogram",
    "reliability",
    "timeline",
    "two_reliabilities",
    "two_scores",
]
