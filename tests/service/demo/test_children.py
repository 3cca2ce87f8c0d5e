"""Child processes of the demo: what they say, how they end, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.demo.children import Child
from service.demo.control import control_records
from service.demo.installation import as_toml
from service.errors import RoleDied
from service.rules.config import ConfigBook, control_key
from tests.support.patience import PATIENCE_S


def child(code: str, folder: Path, *, talks: bool = False) -> Child:
    return Child("child", ["-c", code], os.environ, folder / "child.log", talks=talks)


async def test_a_child_is_spoken_to_and_answers(tmp_path: Path) -> None:
    echo = child(
        "import sys\nfor line in sys.stdin: print(line.strip() * 2, flush=True)", tmp_path, talks=True
    )
    await echo.start()
    echo.say("go")
    assert await anext(echo.lines()) == b"gogo\n"
    echo.terminate()
    assert await echo.ended(PATIENCE_S) == -signal.SIGTERM


async def test_a_child_that_died_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    broken = child("import sys\nprint('before')\nsys.exit('the reason')", tmp_path)
    await broken.start()
    assert await broken.ended(PATIENCE_S) == 1
    with pytest.raises(RoleDied, match=r"(?s)child ended with status 1.*before.*the reason"):
        broken.check()


async def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    stubborn = child(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('on', flush=True)\ntime.sleep(600)",
        tmp_path,
        talks=True,
    )
    await stubborn.start()
    assert await anext(stubborn.lines()) == b"on\n"
    stubborn.terminate()
    assert await stubborn.ended(0.3) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is a Linux one")
def test_children_end_with_their_parent_even_when_it_is_killed(tmp_path: Path) -> None:
    code = f"""
import asyncio, os
from pathlib import Path
from service.demo.children import Child
async def main():
    child = Child("child", ["-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"],
                  os.environ, Path({str(tmp_path / "child.log")!r}), talks=True)
    await child.start()
    print((await anext(child.lines())).decode(), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    for _ in range(round(PATIENCE_S * 10)):
        if not _runs(pid):
            return
        time.sleep(0.1)
    pytest.fail("the child outlived its parent")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


_keys = st.from_regex(r"[a-z_]{1,10}", fullmatch=True)
_plain = st.integers(0, 2**31) | st.from_regex(r"[ -~äß€]{0,20}", fullmatch=True)


@settings(max_examples=40)
@given(st.recursive(st.dictionaries(_keys, _plain), lambda inner: st.dictionaries(_keys, inner | _plain)))
def test_settings_are_written_as_they_are_read(document: dict[str, object]) -> None:
    def without_empty(tables: dict[str, object]) -> dict[str, object]:
        kept = {k: without_empty(v) if isinstance(v, dict) else v for k, v in tables.items()}
        return {k: v for k, v in kept.items() if v != {}}

    assert tomllib.loads(as_toml(document)) == without_empty(document)


def test_the_demos_rules_enforce_and_are_such_as_the_config_topic_takes() -> None:
    book = ConfigBook.empty()
    for offset, record in enumerate(control_records()):
        book = book.apply(control_key(record), record.to_json(), offset)
    assert {rule.mode for rule in book.rules} == {"enforce"}
    assert book.workflow("support-agent").resolve_s == 45.0
