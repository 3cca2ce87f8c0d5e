"""The pictures show the caught loop, the launch that was let through and the worst miss, to scale."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.detection import pictures
from benchmarks.detection.pictures import choose, draw, scenes
from benchmarks.detection.stream import Episode, Page, Stream
from tests.benchmarks.test_detection_scoring import DAY, DOLLAR, calls_at, episode, page, stream

HOUR = 3_600.0


def spending(*episodes: Episode, client: str = "c") -> Stream:
    return stream(*episodes, client=client, calls=calls_at(*np.arange(0, 14 * DAY, 60.0), dollars=0.5))


def test_a_scene_has_its_surroundings_and_the_alerts_within_it() -> None:
    e = episode(hours=4)
    before, after = page(e.start - 60), page(e.end + 60)
    first, notice = page(e.start + 90), page(e.start + 30, "launch", "info")
    (scene,) = scenes(spending(e), [after, page(e.start + 600), first, notice, before])
    assert (scene.begin, scene.end) == (e.start - 2 * HOUR, e.end + 2 * HOUR)
    assert (scene.page, scene.notice) == (first, notice)
    assert scene.spent_nanos == 240 * DOLLAR // 2
    assert scene.t[0] >= scene.begin
    assert scene.t[-1] < scene.end
    assert len(scene.t) == 480


def test_what_is_no_page_is_marked_too_and_a_notice_of_a_launch_before_a_ticket() -> None:
    e = episode("launch", hours=4)
    ticket, notice = page(e.start + 30, "new_customer", "warning"), page(e.start + 900, "launch", "info")
    (scene,) = scenes(spending(e), [ticket])
    assert "ticket: new_customer, 30 s in" in draw(scene)
    assert choose([scene]) == {}
    (scene,) = scenes(spending(e), [ticket, notice])
    assert "notice: launch, 15 min in" in draw(scene)
    assert choose([scene]) == {"launch": scene}


def test_the_largest_of_each_is_chosen() -> None:
    loops = [episode(start=5 * DAY, dollars=60), episode(start=6 * DAY, dollars=90)]
    misses = [episode("creep", 7 * DAY, dollars=30), episode("creep", 8 * DAY, dollars=300)]
    small = episode("creep", 9 * DAY, dollars=3)
    launches = [episode("launch", (10 + i) * DAY, hours=2 + i) for i in range(3)]
    pages = [page(loop.start + 9) for loop in loops]
    pages += [page(launch.start + 9, "launch", "info") for launch in launches]
    pages.append(page(launches[2].start + 99))
    listed = list(scenes(spending(*loops, *misses, small, *launches), pages))
    assert {name: scene.episode.start for name, scene in choose(listed).items()} == {
        "loop": 6 * DAY,
        "launch": 11 * DAY,
        "miss": 8 * DAY,
    }
    assert choose(listed[4:5]) == {}


@pytest.mark.parametrize(("hours", "unit"), [(1.0, "minutes"), (30.0, "hours")])
def test_spend_is_drawn_in_dollars_per_hour_and_the_page_where_it_fired(hours: float, unit: str) -> None:
    e = episode(hours=hours)
    (scene,) = scenes(spending(e), [page(e.start + 300), page(e.start + 900, severity="warning")])
    root = ElementTree.fromstring(draw(scene))
    texts = [text.text or "" for text in root.findall("{*}text")]
    assert unit in texts
    assert "page: retry_loop, 5 min in" in texts
    assert "$60.00 over; $20.00 of it before the page" in texts[0]
    # Half a dollar a minute all the time: a level line at 30 of 30.
    (line,) = root.findall("{*}polyline")
    heights = {point.split(",")[1] for point in line.attrib["points"].split()}
    assert len(heights) == 1
    (shade,) = root.findall("{*}rect")
    marks = [x for x in root.findall("{*}line") if x.attrib["x1"] == x.attrib["x2"]]
    assert len(marks) == 1
    assert 0 < float(marks[0].attrib["x1"]) - float(shade.attrib["x"]) < float(shade.attrib["width"]) / 2


def test_alerts_of_streams_played_before_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def alerts(_: Stream) -> list[Page]:
        nonlocal calls
        calls += 1
        return [page(5 * DAY)]

    monkeypatch.setattr(pictures, "alerts_of", alerts)
    monkeypatch.setattr(pictures, "chosen", lambda *_: ["anyone"])
    monkeypatch.setattr(pictures, "of_client", lambda *_, **__: [spending(), spending(episode())])
    saved = tmp_path / "pages.jsonl"
    first = list(pictures.played(11, 1, None, 1, saved))
    again = list(pictures.played(11, 1, None, 1, saved))
    assert calls == 1
    assert [scene.page for scene in first] == [scene.page for scene in again] == [page(5 * DAY)]
