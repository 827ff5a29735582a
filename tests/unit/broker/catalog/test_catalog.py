"""The catalog on a real SQLite file: what is durable, what is seen when, and how it opens again."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from broker.catalog import (
    Catalog,
    CatalogError,
    CatalogWriteError,
    GroupChanges,
    GroupRows,
    OffsetRow,
    PendingOffsetRow,
    Topic,
    schema,
)

KILLED_WRITER = """
import asyncio, sys, uuid
from pathlib import Path
from sqlalchemy import Connection

from broker.catalog import Catalog, GroupChanges, OffsetRow, Topic

async def main():
    catalog = Catalog.open(Path(sys.argv[1]))
    for n in range(100_000):
        rows = [OffsetRow("g", "t", p, n, -1, "", 0, None) for p in range(3)]
        stored = catalog.change_group(GroupChanges("g", document=str(n).encode(), put_offsets=rows))
        pair = [Topic(f"t{n}-{k}", uuid.uuid4(), 1, {"retention.ms": "1"}) for k in range(2)]
        await catalog.create_topics(pair)
        await stored
        print(n, flush=True)

asyncio.run(main())
"""


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from broker.catalog import Catalog, CatalogWriteError, GroupChanges, OffsetRow

_, most = resource.getrlimit(resource.RLIMIT_FSIZE)

def limit_files(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))

async def main():
    catalog = Catalog.open(Path(sys.argv[1]))
    limit_files(200_000)
    stored = refused = 0
    while refused < 10:
        rows = [OffsetRow("g", f"t{stored}", p, 0, -1, "x" * 50, 0, None) for p in range(20)]
        try:
            await catalog.change_group(GroupChanges("g", put_offsets=rows))
            stored += 1
        except CatalogWriteError:
            refused += 1
    limit_files(most)
    await catalog.change_group(GroupChanges("g", document=b"there is space again"))
    print(stored * 20)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(path: Path) -> Iterator[Catalog]:
    catalog = Catalog.open(path)
    yield catalog
    catalog.close()


def topic(name: str, partitions: int = 1, **configs: str) -> Topic:
    return Topic(name, uuid.uuid4(), partitions, configs)


def offset(group: str, name: str, partition: int, value: int) -> OffsetRow:
    return OffsetRow(group, name, partition, value, 2, "ünï", 1000, None)


def pending(
    group: str, producer_id: int, name: str, partition: int, *, producer_epoch: int = 3
) -> PendingOffsetRow:
    return PendingOffsetRow(group, producer_id, name, partition, producer_epoch, 5, 2, "ünï", 1000, None)


def test_topics_are_there_after_opening_again(catalog: Catalog, path: Path) -> None:
    topics = [topic("a", 3, **{"retention.ms": "5", "cleanup.policy": "compact"}), topic("b")]
    asyncio.run(catalog.create_topics(topics))
    catalog.close()
    again = Catalog.open(path)
    assert sorted(again.topics, key=lambda t: t.name) == topics
    assert again.topics.get("a") == again.topics.by_id(topics[0].topic_id) == topics[0]
    assert again.cluster_id == catalog.cluster_id
    assert len(again.cluster_id) == 22
    again.close()


def test_a_topic_is_seen_when_it_is_durable_and_not_before(catalog: Catalog) -> None:
    async def create() -> None:
        creating = asyncio.create_task(catalog.create_topics([topic("a")]))
        await asyncio.sleep(0)
        assert "a" not in catalog.topics
        await creating
        assert "a" in catalog.topics

    asyncio.run(create())


def test_a_deleted_topic_takes_configs_and_offsets_with_it(catalog: Catalog, path: Path) -> None:
    async def scenario() -> None:
        old = topic("a", 2, **{"retention.ms": "5"})
        await catalog.create_topics([old])
        await catalog.change_group(
            GroupChanges(
                "g",
                put_offsets=[offset("g", "a", 0, 1), offset("g", "b", 0, 2)],
                put_pending=[pending("g", 7, "a", 0), pending("g", 7, "b", 0)],
            )
        )
        await catalog.delete_topics([old])
        assert "a" not in catalog.topics
        assert catalog.topics.by_id(old.topic_id) is None
        new = topic("a")
        await catalog.create_topics([new])
        await catalog.delete_topics([old])  # by id: the new one stays
        assert catalog.topics.get("a") == new

    asyncio.run(scenario())
    catalog.close()
    again = Catalog.open(path)
    assert [t.configs for t in again.topics] == [{}]
    assert again.read_groups() == {"g": GroupRows(None, [offset("g", "b", 0, 2)], [pending("g", 7, "b", 0)])}
    again.close()


def test_partitions_grow(catalog: Catalog, path: Path) -> None:
    async def scenario() -> None:
        await catalog.create_topics([topic("a"), topic("b", 2)])
        a, b = catalog.topics.get("a"), catalog.topics.get("b")
        assert a is not None
        assert b is not None
        await catalog.create_partitions({a: 10, b: 20})

    asyncio.run(scenario())
    catalog.close()
    again = Catalog.open(path)
    assert {t.name: t.partitions for t in again.topics} == {"a": 10, "b": 20}
    assert again.topics.has_partition("a", 9)
    assert not again.topics.has_partition("a", 10)
    assert not again.topics.has_partition("a", -1)
    again.close()


def test_configs_of_topics_and_groups_are_replaced_together(catalog: Catalog, path: Path) -> None:
    async def scenario() -> None:
        old, other = topic("a", **{"retention.ms": "5", "flush.ms": "6"}), topic("b", **{"flush.ms": "7"})
        await catalog.create_topics([old, other])
        await catalog.set_configs({old: {"retention.ms": "8"}}, {"g": {"x": "1", "y": "2"}, "h": {"x": "3"}})
        changed = catalog.topics.get("a")
        assert changed is not None
        assert changed is catalog.topics.by_id(old.topic_id)
        assert changed.configs == {"retention.ms": "8"}
        await catalog.set_configs({changed: {}, other: {"flush.ms": "9"}}, {"g": {"y": "4"}, "h": {}})

    asyncio.run(scenario())
    expected = ({"a": {}, "b": {"flush.ms": "9"}}, {"g": {"y": "4"}})
    assert configs(catalog) == expected
    catalog.close()
    again = Catalog.open(path)
    assert configs(again) == expected
    again.close()


def configs(catalog: Catalog) -> tuple[dict[str, object], dict[str, object]]:
    """What is set for topics and for groups."""
    return {t.name: dict(t.configs) for t in catalog.topics}, dict(catalog.group_configs)


def test_configs_are_seen_when_they_are_durable_and_not_before(catalog: Catalog) -> None:
    async def change() -> None:
        a = topic("a")
        await catalog.create_topics([a])
        changing = asyncio.create_task(catalog.set_configs({a: {"flush.ms": "1"}}, {"g": {"x": "1"}}))
        await asyncio.sleep(0)
        assert configs(catalog) == ({"a": {}}, {})
        await changing
        assert configs(catalog) == ({"a": {"flush.ms": "1"}}, {"g": {"x": "1"}})

    asyncio.run(change())


def test_groups_and_offsets_are_put_replaced_and_deleted(catalog: Catalog) -> None:
    async def scenario() -> None:
        for value in (1, 2):
            await catalog.change_group(
                GroupChanges(
                    "g",
                    document=b"v%d" % value,
                    put_offsets=[offset("g", "a", p, value) for p in range(3)],
                )
            )
        await catalog.change_group(GroupChanges("h", document=b"h", put_offsets=[offset("h", "a", 0, 9)]))
        await catalog.change_group(GroupChanges("g", delete_offsets=[("a", 1), ("a", 7)]))
        assert catalog.read_group("g") == GroupRows(b"v2", [offset("g", "a", 0, 2), offset("g", "a", 2, 2)])
        await catalog.change_group(GroupChanges("g", deleted=True))
        assert catalog.read_group("g") == GroupRows()
        assert catalog.read_groups() == {"h": GroupRows(b"h", [offset("h", "a", 0, 9)])}

    asyncio.run(scenario())


def test_pending_offsets_are_put_moved_and_deleted(catalog: Catalog) -> None:
    async def scenario() -> None:
        every = [pending("g", producer_id, "a", p) for producer_id in (7, 8) for p in range(2)]
        await catalog.change_group(GroupChanges("g", put_pending=every))
        await catalog.change_group(GroupChanges("h", put_pending=[pending("h", 7, "a", 0)]))
        newer = pending("g", 7, "a", 0, producer_epoch=4)
        await catalog.change_group(GroupChanges("g", delete_pending=[(7, "a", 1)]))
        await catalog.change_group(GroupChanges("g", put_pending=[newer]))
        assert catalog.read_group("g") == GroupRows(None, [], [newer, *every[2:]])
        await catalog.change_group(
            GroupChanges("g", put_offsets=[offset("g", "a", 0, 1)], delete_pending=[(7, "a", 0)])
        )
        assert catalog.read_group("g") == GroupRows(None, [offset("g", "a", 0, 1)], every[2:])
        await catalog.change_group(GroupChanges("g", deleted=True))
        assert catalog.read_groups() == {"h": GroupRows(pending=[pending("h", 7, "a", 0)])}

    asyncio.run(scenario())


def test_writes_take_effect_in_their_order(catalog: Catalog) -> None:
    async def scenario() -> None:
        writes = [
            catalog.change_group(GroupChanges("g", put_offsets=[offset("g", "a", 0, n)], delete_offsets=gone))
            for n, gone in [(1, ()), (2, [("a", 0)]), (3, ()), (4, ())]
        ]
        await asyncio.gather(*writes)
        assert catalog.read_group("g").offsets == [offset("g", "a", 0, 4)]

    asyncio.run(scenario())


def test_a_bad_write_fails_alone(catalog: Catalog) -> None:
    async def scenario() -> None:
        await catalog.create_topics([topic("a")])
        results = await asyncio.gather(
            catalog.create_topics([topic("b")]),
            catalog.create_topics([topic("c"), topic("a")]),
            catalog.create_topics([topic("d")]),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), CatalogWriteError, type(None)]
        assert {t.name for t in catalog.topics} == {"a", "b", "d"}

    asyncio.run(scenario())


def test_producer_ids_never_repeat(catalog: Catalog, path: Path) -> None:
    async def blocks(of: Catalog) -> list[range]:
        return list(await asyncio.gather(*(of.next_producer_id_block() for _ in range(3))))

    ids = asyncio.run(blocks(catalog))
    catalog.close()
    again = Catalog.open(path)
    ids += asyncio.run(blocks(again))
    again.close()
    given = [producer_id for block in ids for producer_id in block]
    assert len(given) == len(set(given)) == 6000


def test_a_newer_catalog_is_refused_in_clear_words(catalog: Catalog, path: Path) -> None:
    catalog.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")
    connection.close()
    with pytest.raises(CatalogError, match=r"catalog\.db has schema version 99.*start the newer Millstream"):
        Catalog.open(path)


def test_an_older_catalog_is_migrated_as_a_whole_or_not_at_all(
    catalog: Catalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.close()

    def migrate(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE groups ADD COLUMN note TEXT")
        if fails:
            raise RuntimeError("killed")

    newest = schema.SCHEMA_VERSION
    monkeypatch.setattr(schema, "SCHEMA_VERSION", newest + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", {newest: migrate})
    fails = True
    with pytest.raises(RuntimeError):
        Catalog.open(path)
    fails = False
    for _ in range(2):
        Catalog.open(path).close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT note FROM groups").fetchall() == []
        version = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    connection.close()
    assert version == (str(newest + 1),)


def test_a_catalog_of_the_first_version_becomes_as_a_new_one(catalog: Catalog, path: Path) -> None:
    catalog.close()
    with sqlite3.connect(path) as connection:
        new = _columns(connection)
        for table in ("pending_offsets", "transactions", "group_configs"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE meta SET value = '1' WHERE name = 'schema_version'")
    connection.close()
    Catalog.open(path).close()
    with sqlite3.connect(path) as connection:
        assert _columns(connection) == new
    connection.close()


def _columns(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Tables and indexes with their columns, as SQLite describes them."""
    names = connection.execute("SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'index')")
    return {
        name: connection.execute(f"PRAGMA {kind}_info({name})").fetchall() for name, kind in names.fetchall()
    }


def test_a_file_that_is_no_catalog_is_refused_in_clear_words(path: Path) -> None:
    path.write_bytes(b"x" * 5000)
    with pytest.raises(CatalogError, match=r"cannot open the catalog .*catalog\.db: file is not a database"):
        Catalog.open(path)


def test_a_full_disk_refuses_changes_and_loses_none(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    catalog = Catalog.open(path)
    group = catalog.read_group("g")
    catalog.close()
    assert group.document == b"there is space again"
    assert len(group.offsets) == int(done.stdout.splitlines()[-1]) > 0


def test_a_kill_leaves_all_of_a_change_or_nothing(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    answered = -1
    for line in process.stdout:
        answered = int(line)
        if answered == 20:
            os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    catalog = Catalog.open(path)
    group = catalog.read_group("g")
    assert group.document is not None
    stored = int(group.document)
    assert stored >= answered
    assert {(row.partition, row.committed_offset) for row in group.offsets} == {(p, stored) for p in range(3)}
    pairs = {t.name.split("-")[0] for t in catalog.topics}
    assert len(catalog.topics) == 2 * len(pairs)
    assert {f"t{n}" for n in range(answered + 1)} <= pairs
    assert all(t.configs == {"retention.ms": "1"} for t in catalog.topics)
    catalog.close()
