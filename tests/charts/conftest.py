"""What the tests read of a chart: its words, its marks and its lines."""

import re
from xml.etree import ElementTree as ET

import pytest

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg):
    return ET.fromstring(svg)  # noqa: S314 - written by ourselves a moment ago


def texts(svg):
    return [element.text or "" for element in parse(svg).iter(f"{SVG}text")]


def with_style(root):
    """Every element, with the attributes that it inherits from the group around it."""
    around = {child: group for group in root.iter(f"{SVG}g") for child in group}
    for element in root.iter():
        yield element, {**getattr(around.get(element), "attrib", {}), **element.attrib}


def places(svg, tag, ink):
    found = with_style(parse(svg))
    return [
        element
        for element, style in found
        if element.tag == f"{SVG}{tag}" and ink in style.get("class", "").split()
    ]


def lines(svg, ink):
    """The lines of one ink, each as its places."""
    found = [way for path in places(svg, "path", ink) for way in path.get("d").split("M")[1:]]
    return [
        list(zip(*[iter(map(float, re.findall(r"-?[\d.]+", way)))] * 2, strict=True))
        for way in found
    ]


def titles(svg, tag, ink):
    return [found.findtext(f"{SVG}title") for found in places(svg, tag, ink)]


@pytest.fixture(name="parse")
def give_parse():
    return parse


@pytest.fixture(name="texts")
def give_texts():
    return texts


@pytest.fixture(name="with_style")
def give_with_style():
    return with_style


@pytest.fixture(name="places")
def give_places():
    return places


@pytest.fixture(name="lines")
def give_lines():
    return lines


@pytest.fixture(name="titles")
def give_titles():
    return titles
