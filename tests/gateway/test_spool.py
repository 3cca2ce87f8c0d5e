"""What was spooled comes out again: in order, once, and whatever became of the process and the end of the file."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import frames
from gateway.spool import Position, Spool, Taken

ROOT = Path(__file__).parents[2]
payloads = st.lists(st.binary(min_size=1, max_size=60), max_size=20)


def everything(spool: Spool) -> list[bytes]:
    found = []
    while entries := spool.read():
        found += [entry.payload for entry in entries]
    return found


@given(payloads)
def test_frames_are_read_back_as_they_were_written(given_: list[bytes]) -> None:
    found = frames.decode(frames.encode(given_))
    assert [payload for payload, _ in found.payloads] == given_
    assert (found.damaged, found.broken) == (0, False)


@given(payloads, st.data())
def test_of_frames_that_are_cut_off_the_whole_ones_are_read(given_: list[bytes], data: st.DataObject) -> None:
    written = frames.encode(given_)
    cut = data.draw(st.integers(0, len(written)))
    found = frames.decode(written[:cut])
    kept = [payload for payload, _ in found.payloads]
    assert kept == given_[: len(kept)]
    assert (
        frames.encode(given_[: len(kept) + 1]) == frames.encode(kept)
        or found.end + frames.HEAD_BYTES + len(given_[len(kept)]) > cut
    )
    assert not found.broken


@given(payloads.filter(bool), st.data())
def test_a_byte_that_changed_costs_no_record_but_those_it_lies_in(
    given_: list[bytes], data: st.DataObject
) -> None:
    written = bytearray(frames.encode(given_))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))
    found = frames.decode(bytes(written))
    before = len(frames.decode(bytes(written[:at])).payloads)
    kept = [payload for payload, _ in found.payloads]
    assert kept[:before] == given_[:before]
    assert all(payload in given_ for payload in kept), "what is read back is what was written"


def test_a_frame_of_zeros_is_no_frame() -> None:
    assert frames.decode(bytes(64)) == frames.Frames([], 0, 0, broken=True)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), payloads),
        st.tuples(st.just("read"), st.integers(1, 200)),
        st.tuples(st.just("acknowledge"), st.integers(0, 20)),
        st.tuples(st.just("rewind"), st.none()),
        st.tuples(st.just("reopen"), st.none()),
        st.tuples(st.just("crash"), st.none()),
    ),
    max_size=40,
)


@given(steps, st.sampled_from([100, 400, 10_000]))
def test_a_spool_is_a_queue_whatever_is_done_to_it(
    moves: list[tuple[str, object]], segment_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "spool"
        spool = Spool(folder, segment_bytes=segment_bytes)
        appended: list[bytes] = []
        acknowledged = handed = 0
        waiting: list[Position] = []
        for what, value in moves:
            if what == "append":
                assert isinstance(value, list)
                assert spool.append(value) == len(value)
                appended += value
            elif what == "read":
                assert isinstance(value, int)
                entries = spool.read(value)
                assert [e.payload for e in entries] == appended[handed : handed + len(entries)]
                assert entries or handed == len(appended)
                handed += len(entries)
                waiting += [e.after for e in entries]
            elif what == "acknowledge" and waiting:
                assert isinstance(value, int)
                count = min(value + 1, len(waiting))
                spool.acknowledge(waiting[count - 1])
                del waiting[:count]
                acknowledged += count
            elif what in ("rewind", "reopen", "crash"):
                if what == "rewind":
                    spool.rewind()
                else:
                    # A crash closes the descriptors, and nothing else.
                    if what == "crash":
                        _crash(spool)
                    else:
                        spool.close()
                    spool = Spool(folder, segment_bytes=segment_bytes)
                handed, waiting = acknowledged, []
            assert spool.read_up == (handed == len(appended))
            assert spool.empty == (acknowledged == len(appended))
        spool.rewind()
        assert everything(spool) == appended[acknowledged:]
        assert spool.damaged == 0
        spool.close()


def _crash(spool: Spool) -> None:
    for descriptor in (spool._lock, spool._note, spool._writing[1] if spool._writing else -1):
        if descriptor >= 0:
            os.close(descriptor)


@given(payloads.filter(lambda p: len(p) > 1), payloads.filter(bool), st.data())
def test_a_crash_in_the_middle_of_a_write_costs_only_what_was_not_written(
    first: list[bytes], second: list[bytes], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = Spool(folder)
        spool.append(first)
        _crash(spool)
        (segment,) = folder.glob("*.segment")
        whole = segment.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        segment.write_bytes(whole[:cut])
        kept = [p for p, _ in frames.decode(whole[:cut], len(frames.MAGIC)).payloads] if cut >= 8 else []
        with Spool(folder) as spool:
            spool.append(second)
            assert everything(spool) == kept + second


def test_acknowledged_segments_are_removed(tmp_path: Path) -> None:
    with Spool(tmp_path, segment_bytes=1_000) as spool:
        for _ in range(100):
            spool.append([b"x" * 90])
        assert len(list(tmp_path.glob("*.segment"))) > 8
        entries = []
        while more := spool.read():
            entries += more
        spool.acknowledge(entries[49].after)
        assert 4 <= len(list(tmp_path.glob("*.segment"))) <= 7
        spool.acknowledge(entries[-1].after)
        assert len(list(tmp_path.glob("*.segment"))) == 1
    assert list(tmp_path.glob("*.segment")) == []


def test_there_is_room_for_so_much_and_no_more(tmp_path: Path) -> None:
    with Spool(tmp_path, segment_bytes=500, max_bytes=1_000) as spool:
        assert spool.append([b"x" * 92] * 20) == 10
        assert spool.append([b"x"]) == 0
        entries = spool.read()
        spool.acknowledge(entries[-1].after)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.segment")) <= 1_100


def test_a_folder_belongs_to_one_at_a_time(tmp_path: Path) -> None:
    with Spool(tmp_path), pytest.raises(Taken):
        Spool(tmp_path)
    Spool(tmp_path).close()


def test_a_disk_that_is_full_takes_nothing_and_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Spool(tmp_path) as spool:
        spool.append([b"before"])
        genuine = os.pwrite
        calls = 0

        def half(descriptor: int, data: bytes, offset: int) -> int:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise OSError(errno.ENOSPC, "no space left on device")
            return genuine(descriptor, data[:3], offset)

        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", half)
            with pytest.raises(OSError, match="no space"):
                spool.append([b"lost"])
        spool.append([b"after"])
        assert everything(spool) == [b"before", b"after"]
        assert spool.damaged == 0


def test_a_note_that_cannot_be_made_out_costs_duplicates_and_no_record(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.append([b"one", b"two"])
        spool.acknowledge(spool.read()[0].after)
    (tmp_path / "acknowledged").write_bytes(b"\xff" * 20)
    with Spool(tmp_path) as spool:
        assert everything(spool) == [b"one", b"two"]


def test_a_record_larger_than_what_is_read_at_a_time_is_read_all_the_same(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        large = [b"a" * 100_000, b"b", b"c" * frames.MAX_PAYLOAD]
        for payload in large:
            spool.append([payload])
        found = []
        while entries := spool.read(10):
            found += [entry.payload for entry in entries]
        assert found == large


WRITER = """
import sys
from pathlib import Path
from gateway.spool import Spool
spool = Spool(Path(sys.argv[1]), segment_bytes=20_000)
number = 0
while True:
    spool.append([b"%d" % n for n in range(number, number + 7)])
    number += 7
    if number % 70 == 0:
        for entry in spool.read(500):
            spool.acknowledge(entry.after)
            print("out", int(entry.payload), flush=True)
    print("in", number, flush=True)
"""


@pytest.mark.chaos
def test_killed_hard_nothing_that_was_spooled_is_lost_and_nothing_acknowledged_comes_again(
    tmp_path: Path,
) -> None:
    for turn in range(3):
        folder = tmp_path / str(turn)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, cwd=ROOT, text=True
        ) as writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline() for _ in range(700 + 300 * turn)]
            writer.send_signal(signal.SIGKILL)
            said += writer.stdout.readlines()
        numbers = [line.split() for line in said if line.endswith("\n")]
        kept = max(int(n) for what, n in numbers if what == "in")
        out = max(int(n) for what, n in numbers if what == "out")
        with Spool(folder) as spool:
            found = [int(payload) for payload in everything(spool)]
        assert found == list(range(found[0], found[-1] + 1)), "in order, and without holes"
        assert found[-1] >= kept - 1, "all that was said to be kept is there"
        assert out < found[0] <= out + 2, (
            "the note is at most one acknowledgement ahead of what was said of it"
        )
