"""Pages out of templates: whatever came from data is escaped, and what it would hide is shown."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from nethical import markdown as md
from nethical.canonical import digest
from nethical.errors import NethicalError
from nethical.governance.reviews import State
from nethical.reports.html import COLOURS
from nethical.web.access import Visit

__all__ = ["PER_PAGE", "STATIC", "chart", "page", "page_number", "readable", "sentence"]

HERE = Path(__file__).parent
PLAIN = re.compile(r"[\x20-\x7e\n\t]*")
LARGEST_WHOLE = 1e15
PER_PAGE = 50
MOST_PAGES = 20_000
JOINERS = "\u200c\u200d"
CHART_STYLE = re.compile("<style>[^<]*</style>")
STATIC_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def _stylesheet() -> str:
    """Return the style of the pages, in the colours of the reports."""
    light, dark = (
        "".join(f"--{name}:{both[place]};" for name, both in COLOURS.items()) for place in (0, 1)
    )
    inks = "".join(
        f".nethical-chart .{name}{{fill:var(--{name})}}"
        f".nethical-chart .{name}-line{{stroke:var(--{name})}}"
        for name in COLOURS
    )
    return (
        f":root{{{light}color-scheme:light dark}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
        f"{inks}\n{(HERE / 'static' / 'style.css').read_text('utf-8')}"
    )


def _static() -> dict[str, tuple[str, bytes]]:
    """Return each file that browsers fetch: its media type and its bytes."""
    found = {}
    for path in sorted((HERE / "static").iterdir()):
        kind = STATIC_TYPES[path.suffix.removeprefix(".")]
        content = _stylesheet().encode() if path.name == "style.css" else path.read_bytes()
        found[path.name] = (kind, content)
    return found


STATIC = _static()


def _address(name: str) -> str:
    """Return where a static file is fetched; another content has another address."""
    return f"/static/{name}?{digest(STATIC[name][1])[7:19]}"


def readable(value: object) -> Any:  # noqa: ANN401 - markup stays markup
    r"""Return a value as text that hides nothing: what is not seen is named.

    Example:
        >>> readable("a\u202eb")
        'a⟨U+202E⟩b'
        >>> readable(None)
        ''
    """
    if isinstance(value, Markup) or hasattr(value, "__html__"):
        return value
    text = "" if value is None else str(value)
    if PLAIN.fullmatch(text):
        return text
    return "".join(
        f"⟨U+{ord(letter):04X}⟩" if _is_unseen(text, place) else letter
        for place, letter in enumerate(text)
    )


def _is_unseen(text: str, place: int) -> bool:
    """Return whether a character hides something; joiners belong to many scripts."""
    letter = text[place]
    if letter in "\n\t":
        return False
    if letter in JOINERS:
        around = (text[place - 1 : place] or "a") + (text[place + 1 : place + 2] or "a")
        return any(one.isascii() or one in JOINERS for one in around)
    return unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp", "Co"}


def chart(svg: str) -> Markup:
    """Return a chart of ours for a page, whose own inks it takes."""
    return Markup(CHART_STYLE.sub("", svg))  # noqa: S704 - drawn by nethical.charts, which escapes


def sentence(error: NethicalError) -> str:
    """Return what is wrong and how to mend it, as it is said on a page."""
    return f"{error.what[:1].upper()}{error.what[1:]}: {error.mend}."


def _moment(text: object) -> Markup | str:
    """Return a time of the store as people write it."""
    try:
        found = datetime.fromisoformat(str(text))
        found = found.astimezone(UTC) if found.tzinfo else found
    except (ValueError, OverflowError):  # the first hours of the year 1 have no UTC
        return "unknown"
    return Markup('<time datetime="{}Z">{}</time>').format(
        f"{found:%Y-%m-%dT%H:%M:%S}", f"{found:%Y-%m-%d %H:%M}"
    )


def _value(value: object) -> str:
    """Return any JSON value on one line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        is_whole = value.is_integer() and abs(value) < LARGEST_WHOLE
        return f"{value:,.0f}" if is_whole else md.given(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    return md.UNKNOWN if value is None else str(value)


def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=readable,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters |= {
        "moment": _moment,
        "value": _value,
        "number": md.number,
        "count": md.count,
        "words": lambda text: str(text).replace("_", " ").lower(),
    }
    env.globals |= {"static": _address, "states": [state.value for state in State]}
    return env


ENVIRONMENT = _environment()


def page_number(asked: str) -> int:
    """Return which page of a list is asked for: the first where that is no number."""
    if not asked.isdecimal() or len(asked) > len(str(MOST_PAGES)):
        return 1
    return min(max(int(asked), 1), MOST_PAGES)


def page(visit: Visit, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:  # noqa: ANN401 - whatever a template shows
    """Return a page.

    Args:
        visit: Whose it is.
        template: Its file, without the ending.
        status: Of the answer.
        context: What it shows.
    """
    session = visit.session
    shown = {
        "me": session.person if session else None,
        "csrf": session.csrf if session else "",
        "here": visit.request.url.path,
        "message": "",
        **context,
    }
    text = ENVIRONMENT.get_template(f"{template}.html").render(shown)
    return HTMLResponse(text, status_code=status)
