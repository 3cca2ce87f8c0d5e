"""What applying files would change: what is left alone, what is pruned, and what stands against it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import EXAMPLES
from schemas.control import CONTROL_KINDS
from service.commands.config_plan import Order, Plan, deletions, difference, plan, restoring
from service.commands.control_files import Found, read_files
from service.commands.control_yaml import as_yaml, export
from service.errors import InvalidInput
from service.rules.config import ConfigBook, read_control

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def found(kind: str, name: str, **fields: Any) -> Found:
    document = {"kind": kind, "name": name, **({"settings": {}} if kind == "tuning" else {}), **fields}
    return Found(f"{name}.yaml:1", read_control(f"{kind}/{name}", json.dumps(document).encode()))


def tuning(name: str, pending_s: float = 1.0, **fields: Any) -> Found:
    return found("tuning", name, settings={"pending_s": pending_s}, **fields)


def book_of(*items: Found) -> ConfigBook:
    book = ConfigBook.empty()
    for offset, item in enumerate(items):
        book = book.apply(item.key, item.record.to_json(), offset)
    return book


def after(book: ConfigBook, planned: Plan) -> ConfigBook:
    for offset, (key, value) in enumerate(planned.records.items(), 1_000):
        book = book.apply(key, value, offset)
    return book


def told(planned: Plan) -> dict[str, str]:
    return {step.key: step.word for step in planned.steps}


def test_what_is_not_in_the_files_is_left_alone() -> None:
    book = book_of(tuning("a"), tuning("b"))
    planned = plan(book, [tuning("a", 2.0), tuning("c")], Order(), NOON)
    assert told(planned) == {"tuning/a": "changed", "tuning/c": "created"}
    assert set(after(book, planned).records) == {"tuning/a", "tuning/b", "tuning/c"}


def test_applying_again_changes_nothing_whoever_does_it() -> None:
    order = Order(author="ada", reason="start", managed_by="prod")
    book = after(ConfigBook.empty(), plan(ConfigBook.empty(), [tuning("a"), tuning("b")], order, NOON))
    again = plan(book, [tuning("a"), tuning("b")], Order(author="bob", managed_by="prod"), NOON)
    assert (again.steps, again.unchanged) == ([], ["tuning/a", "tuning/b"])
    assert not plan(book, [tuning("a")], Order(), NOON).steps, "nor without saying the set"


def test_a_change_has_its_own_author_and_reason_and_keeps_its_set() -> None:
    book = book_of(tuning("a", author="ada", reason="start", managed_by="prod"))
    changed = after(book, plan(book, [tuning("a", 2.0)], Order(author="bob"), NOON)).records["tuning/a"]
    assert (changed.author, changed.reason, changed.managed_by) == ("bob", None, "prod")


def test_what_a_file_says_of_author_and_reason_counts() -> None:
    book = book_of(tuning("a", author="ada"))
    assert told(plan(book, [tuning("a", author="eve")], Order(author="bob"), NOON)) == {"tuning/a": "changed"}


def test_pruning_deletes_what_the_same_set_brought_and_nothing_else() -> None:
    book = book_of(
        tuning("a", managed_by="prod"),
        tuning("b", managed_by="prod"),
        tuning("c", managed_by="dev"),
        tuning("d"),
    )
    pruned = plan(book, [tuning("a")], Order(managed_by="prod", prune="set"), NOON)
    assert told(pruned) == {"tuning/b": "deleted"}
    everything = plan(book, [tuning("a")], Order(managed_by="prod", prune="all"), NOON)
    assert told(everything) == {f"tuning/{name}": "deleted" for name in "bcd"}


def test_pruning_everything_spares_what_people_set_while_things_happen() -> None:
    quiet = {
        "match": {},
        "starts_at": "2026-03-01T00:00:00Z",
        "ends_at": "2026-03-02T00:00:00Z",
        "author": "ada",
        "reason": "load test",
    }
    book = book_of(found("silence", "now", **quiet), found("silence", "planned", **quiet, managed_by="prod"))
    pruned = plan(book, [tuning("a")], Order(prune="all"), NOON)
    assert told(pruned) == {"tuning/a": "created", "silence/planned": "deleted"}


@pytest.mark.parametrize("how", ["set", "all"])
def test_no_files_prune_nothing(how: Any) -> None:
    with pytest.raises(InvalidInput, match="hold no record"):
        plan(book_of(tuning("a", managed_by="prod")), [], Order(managed_by="prod", prune=how), NOON)


def test_pruning_most_of_a_set_has_to_be_meant() -> None:
    book = book_of(*(tuning(f"t{n}", managed_by="prod") for n in range(10)))
    kept = [tuning(f"t{n}") for n in range(4)]
    with pytest.raises(InvalidInput, match="would delete 6 of 10 records, more than 5;"):
        plan(book, kept, Order(managed_by="prod", prune="set"), NOON)
    assert len(plan(book, kept, Order(managed_by="prod", prune="set", prune_max=6), NOON).steps) == 6


def test_a_record_of_another_set_is_taken_over_only_on_purpose() -> None:
    book = book_of(tuning("a", managed_by="prod"))
    with pytest.raises(InvalidInput, match=r"a\.yaml:1: tuning/a: belongs to the set 'prod'"):
        plan(book, [tuning("a")], Order(managed_by="dev"), NOON)
    taken = after(book, plan(book, [tuning("a")], Order(managed_by="dev", take_over=True), NOON))
    assert taken.records["tuning/a"].managed_by == "dev"
    adopted = plan(book_of(tuning("a")), [tuning("a")], Order(managed_by="dev"), NOON)
    assert told(adopted) == {"tuning/a": "changed"}, "what belongs to nobody may be adopted"


def test_a_record_of_the_future_does_not_end_what_holds_now() -> None:
    later = tuning("a", 9.0, effective_at="2026-03-05T00:00:00Z")
    with pytest.raises(
        InvalidInput, match="would end now what holds, and be effective only at 2026-03-05T00"
    ):
        plan(book_of(tuning("a")), [later], Order(), NOON)
    assert plan(book_of(tuning("b")), [later], Order(), NOON).steps
    assert not plan(book_of(later), [later], Order(), NOON).steps


def test_deleting_what_is_not_there_is_no_change() -> None:
    planned = deletions(book_of(tuning("a")), ["tuning/a", "tuning/b", "tuning/a"])
    assert told(planned) == {"tuning/a": "deleted"}
    assert planned.unchanged == ["tuning/b"]


def test_going_back_restores_every_byte() -> None:
    past = book_of(tuning("a", author="ada"), tuning("b"))
    now = after(past, plan(past, [tuning("a", 2.0), tuning("c")], Order(author="bob"), NOON))
    now = after(now, deletions(now, ["tuning/b"]))
    back = after(now, restoring(now, past))
    assert {k: r.to_json() for k, r in back.records.items()} == {
        k: r.to_json() for k, r in past.records.items()
    }
    assert not restoring(back, past).steps


def test_a_difference_reads_like_a_unified_diff() -> None:
    book = book_of(tuning("a"), tuning("b"))
    planned = plan(book, [tuning("a", 2.0)], Order(prune="all"), NOON)
    lines = list(difference(planned.steps))
    assert lines[:2] == ["--- tuning/a (in force)", "+++ tuning/a (a.yaml:1)"]
    assert [line for line in lines if line.startswith(("-  ", "+  "))][:2] == [
        "-  pending_s: 1.0",
        "+  pending_s: 2.0",
    ]
    assert "+++ tuning/b (deleted)" in lines


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_every_kind_survives_being_exported(kind: str, tmp_path: Path) -> None:
    example = EXAMPLES[f"config-{kind}"]
    record = read_control(f"{kind}/{example['name']}", json.dumps(example).encode())
    export({f"{kind}/{record.name}": record}, tmp_path, replace=False, schema=None)
    (read,), problems = read_files([tmp_path])
    assert not problems
    assert read.record == record
    assert read.record.to_json() == record.to_json()


_NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=200)


@given(name=_NAMES | st.from_regex(r"[-+.0-9eExo_:~]{1,12}", fullmatch=True), reason=_NAMES)
def test_any_name_survives_yaml(name: str, reason: str) -> None:
    from tempfile import TemporaryDirectory

    document = {"kind": "tuning", "name": name, "reason": reason, "settings": {}}
    record = read_control(f"tuning/{name}", json.dumps(document).encode())
    with TemporaryDirectory() as folder:
        (file,) = export({f"tuning/{name}": record}, Path(folder), replace=False, schema=None)
        assert file.parent == Path(folder) / "tuning"
        found_there, problems = read_files([Path(folder)])
        assert not problems, as_yaml(record)
        assert found_there[0].record == record
