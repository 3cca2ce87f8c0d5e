"""Control records in files: what YAML would silently turn into something else, and what is refused where."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Launch, Switch, Tuning
from service.commands.control_files import Found, Problem, _yaml, read_files
from tests.service.commands.conftest import Tidegate


def read(tmp_path: Path, text: str, name: str = "control.yaml") -> tuple[list[Found], list[Problem]]:
    file = tmp_path / name
    file.write_text(text)
    return read_files([file])


def test_several_documents_and_lists_in_one_file(tmp_path: Path) -> None:
    found, problems = read(
        tmp_path,
        "kind: tuning\nname: a\nsettings: {pending_s: 5}\n---\n"
        "- {kind: tuning, name: b, settings: {}}\n- {kind: switch, state: off}\n---\n",
    )
    assert not problems
    assert [f.key for f in found] == ["tuning/a", "tuning/b", "switch/throttles"]


def test_off_is_a_word_and_a_date_is_a_date(tmp_path: Path) -> None:
    found, problems = read(
        tmp_path,
        "kind: switch\nstate: off\n---\nkind: launch\nname: l\nworkflow: shop\nowner: me\ncap_usd: 100.10\n"
        "volume_multiple: 20\nstarts_at: 2026-01-31T09:30:00Z\nends_at: 2026-02-01T09:30:00Z\n",
    )
    assert not problems
    switch, launch = (f.record for f in found)
    assert isinstance(switch, Switch)
    assert switch.state == "off"
    assert isinstance(launch, Launch)
    assert str(launch.cap_usd) == "100.1"


def test_json_files_are_read_too(tmp_path: Path) -> None:
    found, problems = read(tmp_path, '[\n\t{"kind": "tuning", "name": "a", "settings": {}}]', "a.json")
    assert not problems
    assert isinstance(found[0].record, Tuning)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: tuning\nname: a\nsettings: {pendng_s: 5}\n", "control.yaml:1: tuning/a: settings.pendng_s: "),
        ("\n\nkind: tunin\nname: a\n", "control.yaml:3: tunin/a: kind: expected one of tuning, "),
        ("kind: tuning\nkind: tuning\n", "control.yaml: kind: line 2: the key comes twice"),
        ("a: &x [1]\nb: *x\n", "line 2: aliases are not supported"),
        ("kind: [\n", "line 2: not YAML"),
        ("kind: !!python/object:os.system x\n", "not YAML"),
        ("a: !!int x\n", "not YAML"),
        ("1: 2\n", "line 1: a key must be a string"),
        ("", "no control record in it"),
        ("just text\n", "control.yaml:1: "),
        (
            "{kind: tuning, name: a, settings: {}}\n---\n{kind: tuning, name: a, settings: {}}\n",
            "control.yaml:3: tuning/a: name: also given at ",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    _, problems = read(tmp_path, text)
    (problem,) = problems
    assert says in str(problem)


def test_a_key_given_twice_in_json_is_refused(tmp_path: Path) -> None:
    _, problems = read(tmp_path, '{"kind": "tuning", "kind": "budget"}', "a.json")
    assert "the key comes twice" in str(problems[0])


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_fail_otherwise(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    found, problems = read_files([file])
    assert problems or found


@given(
    st.integers(-(10**12), 10**12)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
)
def test_plain_scalars_mean_what_yaml_1_2_says(value: float) -> None:
    text = str(value).lower()
    ((_, document),) = list(_yaml(f"v: {text}"))
    assert document["v"] == value
    assert type(document["v"]) is type(value)


def test_validate_tells_all_problems_and_exits_1(tidegate: Tidegate, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("{kind: tuning, name: a, settings: {}}")
    bad.write_text("{kind: tuning, name: b, settings: {pending_s: -1}}\n---\n{kind: budget, name: c}\n")
    assert tidegate("config", "validate", str(good)).stdout == "ok tuning/a\n"
    result = tidegate("config", "validate", str(good), str(bad))
    assert result.exit_code == 1
    assert [line.split(": ")[2:4] for line in result.stderr.splitlines()] == [
        ["tuning/b", "settings.pending_s"],
        ["budget/c", "amount_usd"],
    ]
