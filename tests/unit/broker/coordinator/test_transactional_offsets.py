"""Offsets that are committed in transactions: pending until the marker, then there, or gone."""

from collections.abc import Mapping
from typing import Any

import pytest
from support.group_world import GroupWorld

from broker.coordinator.classic_group import GroupLimits
from broker.coordinator.group_coordinator import CoordinatorSettings
from broker.coordinator.messages import (
    Commit,
    DeleteGroup,
    DeleteOffsets,
    EndTransaction,
    FetchOffsets,
    ForgetTopics,
    Join,
    ListGroups,
    Protocol,
    Request,
    Sync,
    TransactionalCommit,
)
from broker.coordinator.producer_epochs import PRODUCERS_MAX, ProducerEpochs
from broker.coordinator.records import CommittedOffset
from broker.wire.errors import ErrorCode

DAY_MS = 24 * 3_600_000
RETENTION_MS = 7 * DAY_MS


class Transactions:
    """Requests to a coordinator whose disk is quick: every answer comes when it is durable."""

    def __init__(self) -> None:
        self.answers: dict[int, Any] = {}
        self.world = GroupWorld(
            CoordinatorSettings(GroupLimits(initial_rebalance_delay_ms=0), offsets_retention_ms=RETENTION_MS),
            self.answers.__setitem__,
        )

    def answer(self, request: Request) -> Any:
        self.world.ask(request, 1)
        self.world.sync()
        return self.answers.pop(1)

    def commit(
        self,
        offsets: Mapping[str, int],
        *,
        producer: int = 7,
        epoch: int = 0,
        group: str = "g",
        member: tuple[str, str | None, int] = ("", None, -1),
    ) -> ErrorCode:
        """Partition 0 of each topic, in a transaction. `member`: its id, instance id and generation."""
        error: ErrorCode = self.answer(
            TransactionalCommit(group, *member, producer, epoch, self._offsets(offsets))
        ).error_code
        return error

    def commit_plainly(self, offsets: Mapping[str, int], *, group: str = "g") -> ErrorCode:
        error: ErrorCode = self.answer(Commit(group, "", None, -1, self._offsets(offsets))).error_code
        return error

    def end(self, is_commit: bool = True, *, producer: int = 7, epoch: int = 0, group: str = "g") -> None:
        result = self.answer(EndTransaction(group, producer, epoch, is_commit))
        assert result.error_code is ErrorCode.none

    def offsets(self, group: str = "g") -> dict[str, int]:
        fetched = self.answer(FetchOffsets(group, None)).offsets
        return {topic: committed.offset for (topic, _), committed in fetched.items()}

    def unstable(self, *topics: str) -> set[str]:
        fetched = self.answer(FetchOffsets("g", [(t, 0) for t in topics], require_stable=True))
        assert not {*fetched.unstable} & {*fetched.offsets}
        return {topic for topic, _ in fetched.unstable}

    def join(self, member_id: str, group_instance_id: str | None = None, *, is_synced: bool = True) -> int:
        """The generation of a group of one member."""
        protocols = (Protocol("range", b""),)
        joined = self.answer(
            Join("g", "", group_instance_id, "c", "/h", 1_800_000, 60_000, "consumer", protocols, member_id)
        )
        if is_synced:
            self.answer(Sync("g", member_id, group_instance_id, joined.generation_id, None, None, {}))
        return int(joined.generation_id)

    def _offsets(self, offsets: Mapping[str, int]) -> dict[tuple[str, int], CommittedOffset]:
        now_ms = self.world.wall_clock_ms
        return {(topic, 0): CommittedOffset(offset, 3, "note", now_ms) for topic, offset in offsets.items()}


@pytest.fixture
def t() -> Transactions:
    return Transactions()


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize(("is_commit", "after"), [(True, {"a": 9, "b": 2}), (False, {"a": 5})])
def test_offsets_count_when_the_transaction_commits(
    t: Transactions, is_commit: bool, after: dict[str, int], crash: bool
) -> None:
    t.commit_plainly({"a": 5})
    assert t.commit({"a": 8}) is ErrorCode.none
    assert t.commit({"a": 9, "b": 2}) is ErrorCode.none
    assert t.offsets() == {"a": 5}
    if crash:
        t.world.crash()
        assert t.offsets() == {"a": 5}
    t.end(is_commit)
    assert t.offsets() == after
    t.end(not is_commit)  # what comes again, however wrong, finds nothing
    t.world.crash()
    assert t.offsets() == after
    assert t.world.pending_offsets == {}


def test_a_committed_offset_comes_back_whole(t: Transactions) -> None:
    t.commit({"a": 9})
    t.world.crash()
    t.end()
    assert t.answer(FetchOffsets("g", None)).offsets == {
        ("a", 0): CommittedOffset(9, 3, "note", t.world.wall_clock_ms)
    }


def test_each_producer_and_each_group_ends_alone(t: Transactions) -> None:
    t.commit({"a": 1}, producer=7)
    t.commit({"b": 2}, producer=8)
    t.commit({"a": 3}, producer=7, group="h")
    t.end(producer=7)
    assert (t.offsets("g"), t.offsets("h")) == ({"a": 1}, {})
    t.end(producer=7, group="h")
    t.end(False, producer=8)
    assert (t.offsets("g"), t.offsets("h")) == ({"a": 1}, {"a": 3})


def test_of_all_commits_of_a_partition_the_last_made_counts(t: Transactions) -> None:
    t.commit({"a": 1, "b": 1}, producer=7)
    t.world.wall_clock_skew_ms = -DAY_MS  # whatever the clock says
    t.commit({"a": 2}, producer=8)
    t.world.crash()
    t.commit_plainly({"b": 3})
    t.end(producer=8)
    t.end(producer=7)
    assert t.offsets() == {"a": 2, "b": 3}


def test_who_asks_for_stable_offsets_hears_which_are_not(t: Transactions) -> None:
    t.commit_plainly({"a": 1, "b": 1})
    t.commit({"a": 2, "c": 2})
    assert t.unstable("a", "b", "c", "d") == {"a", "c"}
    assert t.answer(FetchOffsets("g", [("a", 0)])).offsets[("a", 0)].offset == 1
    every = t.answer(FetchOffsets("g", None, require_stable=True))
    assert (set(every.offsets), set(every.unstable)) == ({("b", 0)}, {("a", 0)})
    t.world.crash()
    assert t.unstable("a", "b", "c") == {"a", "c"}
    t.end()
    assert t.unstable("a", "b", "c") == set()


class TestZombies:
    def test_an_older_epoch_is_refused_while_a_newer_has_something_pending(self, t: Transactions) -> None:
        t.commit({"a": 1}, epoch=4)
        for _ in range(2):
            assert t.commit({"a": 2}, epoch=3) is ErrorCode.invalid_producer_epoch
            t.world.crash()
        t.end(epoch=4)
        assert t.offsets() == {"a": 1}

    @pytest.mark.parametrize("group", ["g", "h"])
    def test_an_older_epoch_than_the_last_marker_s_is_refused(self, t: Transactions, group: str) -> None:
        t.commit({"a": 1}, epoch=3)
        t.end(epoch=4)  # transactions v2: the marker has the next epoch
        assert t.commit({"a": 2}, epoch=3, group=group) is ErrorCode.invalid_producer_epoch
        assert t.commit({"a": 3}, epoch=4) is ErrorCode.none

    def test_a_marker_of_the_same_epoch_lets_the_next_transaction_begin(self, t: Transactions) -> None:
        t.commit({"a": 1}, epoch=3)
        t.end(epoch=3)  # transactions v1
        assert t.commit({"a": 2}, epoch=3) is ErrorCode.none
        t.end(epoch=3)
        assert t.offsets() == {"a": 2}

    def test_a_marker_ends_what_older_epochs_left(self, t: Transactions) -> None:
        t.commit({"a": 1}, epoch=3)
        t.end(False, epoch=5)
        assert t.unstable("a") == set()

    def test_a_late_marker_does_not_touch_the_transaction_of_a_newer_epoch(self, t: Transactions) -> None:
        t.commit({"a": 1}, epoch=5)
        t.end(epoch=4)
        assert t.offsets() == {}
        t.end(epoch=5)
        assert t.offsets() == {"a": 1}

    def test_a_newer_epoch_waits_for_the_end_of_the_older_one_s_transaction(self, t: Transactions) -> None:
        t.commit({"a": 1, "b": 1}, epoch=3)
        assert t.commit({"a": 2}, epoch=4) is ErrorCode.concurrent_transactions
        t.end(epoch=4)
        assert t.commit({"a": 2}, epoch=4) is ErrorCode.none
        assert t.offsets() == {"a": 1, "b": 1}

    def test_only_so_many_producers_are_remembered(self) -> None:
        epochs = ProducerEpochs()
        epochs.saw(1, 5)
        for producer_id in range(2, PRODUCERS_MAX + 1):
            epochs.saw(producer_id, 1)
        assert epochs.is_fenced(1, 4)
        assert not epochs.is_fenced(1, 5)
        epochs.saw(1, 3)  # heard of again, and no younger for it
        epochs.saw(0, 0)
        assert epochs.is_fenced(1, 4)
        assert not epochs.is_fenced(2, 0)


class TestGroupFencing:
    """KIP-447: the producer says which member of the group it commits for."""

    def test_members_of_this_generation_only(self, t: Transactions) -> None:
        generation = t.join("m")
        assert t.commit({"a": 1}, member=("m", None, generation)) is ErrorCode.none
        assert t.commit({"a": 1}, member=("m", None, generation + 1)) is ErrorCode.illegal_generation
        assert t.commit({"a": 1}, member=("n", None, generation)) is ErrorCode.unknown_member_id
        assert t.commit({"a": 1}, member=("m", "i", generation)) is ErrorCode.unknown_member_id

    def test_the_current_process_of_a_static_member_only(self, t: Transactions) -> None:
        generation = t.join("m", "i")
        t.join("m2", "i", is_synced=False)
        assert t.commit({"a": 1}, member=("m", "i", generation)) is ErrorCode.fenced_instance_id
        assert t.commit({"a": 1}, member=("m2", "i", generation)) is ErrorCode.none

    def test_who_names_no_member_is_not_checked(self, t: Transactions) -> None:
        t.join("m")
        assert t.commit_plainly({"a": 1}) is ErrorCode.unknown_member_id
        assert t.commit({"a": 1}) is ErrorCode.none

    def test_the_assignment_need_not_be_known_yet(self, t: Transactions) -> None:
        generation = t.join("m", is_synced=False)
        assert t.commit({"a": 1}, member=("m", None, generation)) is ErrorCode.none

    def test_a_group_that_is_not_there_has_no_generation(self, t: Transactions) -> None:
        assert t.commit({"a": 1}, member=("m", None, 1)) is ErrorCode.illegal_generation
        assert t.answer(ListGroups()).groups == ()


class TestRemoval:
    def test_offsets_with_something_pending_do_not_expire(self, t: Transactions) -> None:
        t.commit_plainly({"a": 1, "b": 1})
        t.commit({"a": 2})
        t.world.pass_time(2 * RETENTION_MS)
        assert t.offsets() == {"a": 1}
        t.end(False)
        t.world.pass_time(DAY_MS)
        assert t.answer(ListGroups()).groups == ()

    def test_a_group_with_something_pending_stays(self, t: Transactions) -> None:
        t.commit({"a": 2})
        t.world.pass_time(2 * RETENTION_MS)
        t.end()
        assert t.offsets() == {"a": 2}

    def test_deleting_the_group_drops_what_is_pending(self, t: Transactions) -> None:
        t.commit({"a": 1})
        assert t.answer(DeleteGroup("g")).error_code is ErrorCode.none
        t.end()
        t.world.crash()
        assert t.offsets() == {}
        assert t.answer(ListGroups()).groups == ()

    @pytest.mark.parametrize(
        "request_", [DeleteOffsets("g", [("a", 0)]), ForgetTopics(frozenset({"a"}))], ids=["offsets", "topic"]
    )
    def test_offsets_that_are_deleted_do_not_come_back(self, t: Transactions, request_: Request) -> None:
        t.commit_plainly({"a": 1})
        t.commit({"a": 2, "b": 2}, producer=7)
        t.commit({"a": 3}, producer=8)
        t.answer(request_)
        t.world.crash()
        t.end(producer=7)
        t.end(producer=8)
        assert t.offsets() == {"b": 2}
