"""`tidegate config` on a real broker: sets of files, the trail, going back, keys, and others who write as well."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.control import ConfigChange
from schemas.decode import decode
from schemas.topics import CONFIG, CONFIG_HISTORY, CONFIG_REJECTIONS
from service.errors import Fenced
from service.kafka.config_change import Intent
from service.kafka.config_topic import Standing, commit, publish
from service.kafka.embedded.broker import EmbeddedBroker
from service.settings import KafkaSettings
from tests.service.commands.conftest import Tidegate
from tests.service.commands.test_broker_commands import everything, put, worker
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.broker

SECRET = {"TIDEGATE_KAFKA__CONFIG_KEYS__OPS__HMAC_SECRET": "0123456789abcdef0123456789abcdef"}
NEXT = {"TIDEGATE_KAFKA__CONFIG_KEYS__NEXT__HMAC_SECRET": "fedcba9876543210fedcba9876543210"}
BAD = b'{"kind": "tuning", "name": "all", "settings": {"pending_s": -1}}'


@pytest.fixture
def kafka(broker: EmbeddedBroker, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=topic_prefix)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout: two tunings and a route."""
    path = tmp_path / "prod"
    path.mkdir()
    tuning(path, "all", 5)
    tuning(path, "support", 7)
    (path / "routes.yaml").write_text("{kind: route, name: care, match: {team: care}, receivers: [slack]}\n")
    return path


def tuning(folder: Path, name: str, pending_s: float) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(f"{{kind: tuning, name: {name}, settings: {{pending_s: {pending_s}}}}}\n")
    return file


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.yaml")}


def version(tidegate: Tidegate, **environment: str) -> str:
    return tidegate("config", "get", **environment).stdout.splitlines()[0].split()[2].rstrip(",")


def test_what_is_applied_is_in_force_listed_and_remembered(cluster: Tidegate, tmp_path: Path) -> None:
    file = tmp_path / "control.yaml"
    file.write_text("{kind: tuning, name: all, settings: {pending_s: 5}}\n---\n{kind: switch, state: off}\n")
    applied = cluster("config", "apply", str(file), "--author", "ada", "--reason", "quiet night")
    assert applied.exit_code == 0, applied.output
    assert "published tuning/all at offset 0" in applied.stdout
    got = cluster("config", "get").stdout
    assert "2 records" in got
    assert "author: ada" in got
    # What `get` prints can be applied again, and is what holds already, whoever applies it.
    file.write_text(got)
    again = cluster("config", "apply", str(file), "--author", "bob").stdout
    assert "unchanged tuning/all" in again
    assert "unchanged switch/throttles" in again

    deleted = cluster("config", "delete", "tuning/all", "tuning/none", "--author", "eve", "--reason", "noisy")
    assert "deleted tuning/all at offset " in deleted.stdout
    assert "unchanged tuning/none" in deleted.stdout
    assert cluster("config", "get", "tuning/all").exit_code == 1
    told = cluster("config", "history", "tuning/all").stdout.splitlines()
    assert told[0].split("  ")[-1].startswith("apply by ada (quiet night) -> ")
    assert "pending_s" in told[1]
    assert "delete by eve (noisy) -> " in told[2]
    assert told[3].strip() == "deleted"
    assert told[4].startswith("# 2 of 3 changes; version ")


def test_nothing_is_applied_when_one_record_is_wrong(
    cluster: Tidegate, kafka: KafkaSettings, tmp_path: Path
) -> None:
    file = tmp_path / "control.yaml"
    file.write_text("{kind: switch, state: off}\n---\n{kind: tuning, name: all, settings: {pending_s: -5}}\n")
    result = cluster("config", "apply", str(file))
    assert result.exit_code == 1
    assert "tuning/all: settings.pending_s: " in result.stderr
    assert everything(kafka, CONFIG) == []


def test_a_folder_is_compared_applied_and_pruned_as_a_set(cluster: Tidegate, folder: Path) -> None:
    by_hand = tuning(folder.parent, "by-hand", 1)
    assert cluster("config", "apply", str(by_hand)).exit_code == 0
    new = cluster("config", "diff", str(folder), "--set", "prod")
    assert new.exit_code == 7
    assert "+name: support" in new.stdout
    assert cluster("config", "apply", str(folder), "--set", "prod", "--author", "ci").exit_code == 0
    same = cluster("config", "diff", str(folder), "--set", "prod", "--prune")
    assert (same.exit_code, same.stdout) == (0, "0 to change, 3 unchanged\n")

    # Somebody changes one by hand: it stays in its set, and the next run shows and undoes it.
    assert cluster("config", "apply", str(tuning(folder.parent, "all", 60))).exit_code == 0
    (folder / "support.yaml").unlink()
    drift = cluster("config", "diff", str(folder), "--set", "prod", "--prune")
    assert drift.exit_code == 7
    assert "-  pending_s: 60.0" in drift.stdout
    assert "+  pending_s: 5.0" in drift.stdout
    assert "would be deleted tuning/support" in drift.stdout
    dry = cluster("config", "apply", str(folder), "--set", "prod", "--prune", "--dry-run")
    assert dry.exit_code == 0
    assert "would be deleted tuning/support" in dry.stdout
    done = cluster("config", "apply", str(folder), "--set", "prod", "--prune")
    assert "deleted tuning/support" in done.stdout
    held = cluster("config", "get").stdout
    assert "name: by-hand" in held, "which no set has brought"
    assert "name: support" not in held

    other = cluster("config", "apply", str(folder), "--set", "staging")
    assert other.exit_code == 1
    assert "belongs to the set 'prod'; --take-over" in other.stderr


def test_an_empty_checkout_prunes_nothing(cluster: Tidegate, folder: Path, tmp_path: Path) -> None:
    cluster("config", "apply", str(folder), "--set", "prod")
    before = cluster("config", "get").stdout
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments in (("--set", "prod"), ("--all",)):
        result = cluster("config", "apply", str(empty), "--prune", *arguments)
        assert result.exit_code == 1
        assert "no .yaml, .yml, .json file in this folder" in result.stderr
    assert cluster("config", "apply", str(folder), "--prune").exit_code == 1, "of what?"
    assert cluster("config", "get").stdout == before


def test_a_rollback_restores_every_byte(
    cluster: Tidegate, kafka: KafkaSettings, folder: Path, tmp_path: Path
) -> None:
    cluster("config", "apply", str(folder), "--set", "prod", "--author", "ada", "--reason", "start")
    then = version(cluster)
    cluster("config", "export", str(tmp_path / "then"))
    cluster("config", "apply", str(tuning(tmp_path, "all", 60)), "--author", "bob")
    cluster("config", "delete", "route/care")
    put(kafka, CONFIG, (b"tuning/foreign", b'{"kind":"tuning","name":"foreign","settings":{}}'))
    assert version(cluster) != then
    dry = cluster("config", "rollback", "--to", then, "--dry-run")
    assert "3 to change, 1 unchanged" in dry.stdout, dry.output
    back = cluster("config", "rollback", "--to", then, "--author", "eve")
    assert back.exit_code == 0, back.output
    cluster("config", "export", str(tmp_path / "now"))
    assert contents(tmp_path / "now") == contents(tmp_path / "then")
    assert version(cluster).partition("-")[2] == then.partition("-")[2], "the digest of all that holds"
    told = cluster("config", "history").stdout
    assert told.count(f"rollback by eve (rollback to {then})") == 3
    assert "seen by somebody else's means" in told
    assert cluster("config", "rollback", "--to", "7-00000000").exit_code == 1
    assert cluster("config", "rollback", "--to", "defaults").exit_code == 0
    assert version(cluster) == "defaults"


def test_what_is_exported_is_what_holds(cluster: Tidegate, folder: Path, tmp_path: Path) -> None:
    cluster("config", "apply", str(folder), "--set", "prod", "--author", "ada")
    out = tmp_path / "out"
    assert "wrote 3 records" in cluster("config", "export", str(out), "--schema", "s.json").stdout
    assert (out / "route" / "care.yaml").read_text().startswith("# yaml-language-server: $schema=s.json\n")
    again = cluster("config", "apply", str(out), "--prune", "--all").stdout
    assert again.count("unchanged") == 3
    assert cluster("config", "export", str(out)).exit_code == 1
    cluster("config", "delete", "route/care")
    assert cluster("config", "export", str(out), "--replace").exit_code == 0
    assert sorted(contents(out)) == ["tuning/all.yaml", "tuning/support.yaml"]


def test_a_version_that_is_not_there_any_more_is_not_changed(
    cluster: Tidegate, folder: Path, tmp_path: Path
) -> None:
    cluster("config", "apply", str(folder))
    seen = version(cluster)
    cluster("config", "apply", str(tuning(tmp_path, "all", 60)))
    for command in (("apply", str(folder)), ("delete", "tuning/all"), ("apply", str(folder), "--dry-run")):
        result = cluster("config", *command, "--expect-version", seen)
        assert result.exit_code == 10
        assert f"version {seen} was expected" in result.stderr
    assert cluster("config", "apply", str(folder), "--expect-version", version(cluster)).exit_code == 0


def elsewhere(work: Callable[[], object]) -> None:
    """Do something as another process would, while this one waits within its event loop."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_of_two_changes_at_once_one_changes_nothing(cluster: Tidegate, kafka: KafkaSettings) -> None:
    """The second begins while the first decides: the first must not write by what it has read."""
    both = [b'{"kind":"switch","name":"throttles","state":"%s"}' % state for state in (b"off", b"on")]

    def second(_: Standing) -> dict[str, bytes | None]:
        elsewhere(lambda: asyncio.run(commit(kafka, Intent(), lambda _: {"switch/throttles": both[1]})))
        return {"switch/throttles": both[0]}

    with pytest.raises(Fenced):
        asyncio.run(commit(kafka, Intent(), second))
    assert [value for _, value in everything(kafka, CONFIG)] == [both[1]]
    assert len(everything(kafka, CONFIG_HISTORY)) == 1


def test_what_hangs_on_nothing_is_written_even_when_many_write_at_once(
    cluster: Tidegate, kafka: KafkaSettings
) -> None:
    async def all_at_once() -> None:
        values = {n: b'{"kind":"tuning","name":"t%d","settings":{}}' % n for n in range(4)}
        await asyncio.gather(*(publish(kafka, {f"tuning/t{n}": value}) for n, value in values.items()))

    asyncio.run(all_at_once())
    assert len(everything(kafka, CONFIG)) == len(everything(kafka, CONFIG_HISTORY)) == 4


def test_what_a_foreign_producer_slips_in_is_told(cluster: Tidegate, kafka: KafkaSettings) -> None:
    def meanwhile(_: Standing) -> dict[str, bytes | None]:
        elsewhere(lambda: put(kafka, CONFIG, (b"tuning/all", BAD)))
        return {"switch/throttles": b'{"kind":"switch","name":"throttles","state":"off"}'}

    done = asyncio.run(commit(kafka, Intent(), meanwhile))
    assert [other.key for other in done.others] == ["tuning/all"]


def test_workers_complete_the_trail(cluster: Tidegate, kafka: KafkaSettings, tmp_path: Path) -> None:
    cluster("config", "apply", str(tuning(tmp_path, "all", 5)), "--author", "ada")

    def trail() -> list[ConfigChange]:
        return [decode(ConfigChange, value) for _, value in everything(kafka, CONFIG_HISTORY)]

    with worker(kafka), worker(kafka):
        put(kafka, CONFIG, (b"tuning/all", BAD), (b"tuning/all", None))
        deadline = time.monotonic() + PATIENCE_S
        while len(trail()) < 3 and time.monotonic() < deadline:
            time.sleep(0.2)
    applied, *seen = trail()
    assert (applied.author, applied.recorded_by) == ("ada", "cli")
    assert {(entry.command, entry.value) for entry in seen} == {("seen", BAD), ("seen", None)}
    # Told once each, though the config topic shows them as well and two workers have seen them.
    told = cluster("config", "history", "--json").stdout.splitlines()
    assert [json.loads(line)["command"] for line in told] == ["apply", "seen", "seen"]


def test_refusals_are_shown_beside_what_holds(
    cluster: Tidegate, kafka: KafkaSettings, tmp_path: Path
) -> None:
    file = str(tuning(tmp_path, "all", 5))
    with worker(kafka):
        assert cluster("config", "apply", file).exit_code == 0
        put(kafka, CONFIG, (b"tuning/all", BAD))
        deadline = time.monotonic() + PATIENCE_S
        while not everything(kafka, CONFIG_REJECTIONS) and time.monotonic() < deadline:
            time.sleep(0.1)
        got = cluster("config", "get").stdout
        assert "the one before it holds: negative: settings.pending_s: " in got
        assert "pending_s: 5.0" in got
        (told,) = cluster("config", "rejections").stdout.splitlines()
        assert "refused by detect: negative: settings.pending_s: " in told
        assert told.endswith("(not mended)")
        again = cluster("config", "apply", str(tuning(tmp_path, "all", 6)), "--wait")
        assert "no worker has refused it" in again.stdout, again.output
    assert cluster("config", "rejections").stdout.endswith("(replaced since)\n")
    assert "refused by detect: negative: settings.pending_s" in cluster("config", "history").stdout


def test_with_a_key_only_what_is_signed_changes_anything(
    cluster: Tidegate, kafka: KafkaSettings, tmp_path: Path
) -> None:
    file = str(tuning(tmp_path, "all", 5))
    assert cluster("config", "apply", file).exit_code == 0
    unsigned = cluster("config", "get", **SECRET).stdout
    assert "0 records" in unsigned
    assert "unsigned: headers.tidegate-signature: " in unsigned
    # Keys are introduced: what is there is looked at, and signed as it is.
    assert "would sign" not in cluster("config", "sign", "--dry-run", **SECRET).stdout
    assert "would sign tuning/all" in cluster("config", "sign", "--unsigned", "--dry-run", **SECRET).stdout
    assert cluster("config", "sign", "--unsigned", **SECRET).exit_code == 0
    assert "1 records" in cluster("config", "get", **SECRET).stdout

    # Whoever has no key changes nothing, neither by writing nor by deleting.
    put(kafka, CONFIG, (b"tuning/all", b'{"kind":"tuning","name":"all","settings":{"pending_s":9}}'))
    put(kafka, CONFIG, (b"tuning/all", None))
    got = cluster("config", "get", **SECRET).stdout
    assert "pending_s: 5.0" in got
    assert "unsigned: headers.tidegate-signature: " in got

    # The next key: both are known, then everything is signed anew, then the old one goes.
    both = SECRET | NEXT | {"TIDEGATE_KAFKA__CONFIG_SIGN_WITH": "next"}
    assert "signed tuning/all" in cluster("config", "sign", **both).stdout
    assert "pending_s: 5.0" in cluster("config", "get", **NEXT).stdout
    assert cluster("config", "delete", "tuning/all", **NEXT).exit_code == 0
    assert "0 records" in cluster("config", "get", **NEXT).stdout


def test_explained_from_the_broker(cluster: Tidegate, folder: Path) -> None:
    cluster("config", "apply", str(folder))
    text = cluster("config", "explain", "chat", "--team", "care").stdout
    assert "pending_s" in text
    assert "global: tuning/support, over 5 of tuning/all" in text
    assert "route/care" in text
    document = json.loads(cluster("config", "explain", "chat", "--json").stdout)
    assert document["values"]["pending_s"]["overrides"] == ["tuning/all"]
    assert document["routes"] == []
