"""Figures go between their markers, and plots are SVG."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.page import PAGE, write_block
from benchmarks.plot import line_plot


def test_a_block_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- figures: x -->\nold\n<!-- end -->\nb\n<!-- figures: y -->\nkept\n<!-- end -->\n")
    write_block("x", "new\n", page)
    write_block("x", "newer\n", page)
    assert page.read_text() == (
        "a\n<!-- figures: x -->\nnewer\n<!-- end -->\nb\n<!-- figures: y -->\nkept\n<!-- end -->\n"
    )
    with pytest.raises(ValueError, match="no block `z`"):
        write_block("z", "lost", page)


@pytest.mark.parametrize("name", ["ingest", "latency", "soak", "detect"])
def test_the_page_has_a_block_for_each_benchmark(name: str) -> None:
    assert f"<!-- figures: {name} -->\n" in PAGE.read_text(encoding="utf-8")


def test_a_plot_has_a_point_for_each_sample_and_all_lie_inside() -> None:
    samples = [(i / 60, 90.0 + i % 7) for i in range(600)]
    root = ElementTree.fromstring(line_plot("RSS & <load>", samples, "minutes", "MB"))
    (line,) = root.findall("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]
    assert len(points) == 600
    assert all(0 <= x <= 800 and 0 <= y <= 320 for x, y in points)
    with pytest.raises(ValueError, match="nothing to plot"):
        line_plot("none", [], "minutes", "MB")


def test_marks_and_a_span_stand_where_they_belong_and_add_only_themselves() -> None:
    samples = [(float(i), 10.0 + i) for i in range(80)]
    plain = line_plot("x", samples, "minutes", "$/h")
    marked = line_plot(
        "x", samples, "minutes", "$/h", marks=[(20, "page <1>"), (70, "notice")], span=(15, 75)
    )
    assert set(plain.splitlines()) < set(marked.splitlines())
    root = ElementTree.fromstring(marked)
    (shade,) = root.findall("{*}rect")
    begin, width = float(shade.attrib["x"]), float(shade.attrib["width"])
    first, second = [line for line in root.findall("{*}line") if line.attrib["x1"] == line.attrib["x2"]]
    assert begin < float(first.attrib["x1"]) < float(second.attrib["x1"]) < begin + width
    labels = {text.text: text.get("text-anchor") for text in root.findall("{*}text")}
    assert labels["page <1>"] == "start"
    assert labels["notice"] == "end"
