"""The members of a classic group: who they are, who leads, and which protocol they agree on."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from broker.coordinator.records import MemberRecord
from broker.coordinator.subscription import Protocol
from broker.wire.errors import ErrorCode


@dataclass(slots=True)
class Member:
    """A member of a group, with the requests of it that wait for an answer."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[Protocol, ...]
    assignment: bytes = b""
    is_new: bool = False
    """Has not been told its generation yet, so it cannot heartbeat."""
    join_reply_to: Any = None
    sync_reply_to: Any = None

    @property
    def is_static(self) -> bool:
        return self.group_instance_id is not None

    @property
    def awaits_join(self) -> bool:
        return self.join_reply_to is not None

    @property
    def awaits_sync(self) -> bool:
        return self.sync_reply_to is not None

    @classmethod
    def restored(cls, record: MemberRecord, protocol_name: str | None) -> Self:
        """The inverse of `record`."""
        return cls(
            member_id=record.member_id,
            group_instance_id=record.group_instance_id,
            client_id=record.client_id,
            client_host=record.client_host,
            session_timeout_ms=record.session_timeout_ms,
            rebalance_timeout_ms=record.rebalance_timeout_ms,
            protocols=(Protocol(protocol_name or "", record.subscription),),
            assignment=record.assignment,
        )

    def record(self, protocol_name: str | None) -> MemberRecord:
        """What is to outlive a restart."""
        return MemberRecord(
            member_id=self.member_id,
            group_instance_id=self.group_instance_id,
            client_id=self.client_id,
            client_host=self.client_host,
            session_timeout_ms=self.session_timeout_ms,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            subscription=self.metadata(protocol_name),
            assignment=self.assignment,
        )

    def metadata(self, protocol_name: str | None) -> bytes:
        """The member's metadata for a protocol; empty when it does not know it."""
        return next((p.metadata for p in self.protocols if p.name == protocol_name), b"")

    def vote(self, candidates: set[str]) -> str:
        """The candidate that the member likes best. It knows all of them."""
        return next(p.name for p in self.protocols if p.name in candidates)


class Members:
    """By member id, in the order of their first joining. `leader` is one of them, or None without any."""

    def __init__(self) -> None:
        self.leader: str | None = None
        self._by_id: dict[str, Member] = {}
        self._static_ids: dict[str, str] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, member_id: str) -> bool:
        return member_id in self._by_id

    def __getitem__(self, member_id: str) -> Member:
        return self._by_id[member_id]

    def get(self, member_id: str) -> Member | None:
        return self._by_id.get(member_id)

    def static_id(self, group_instance_id: str) -> str | None:
        """The member id that a static member has now."""
        return self._static_ids.get(group_instance_id)

    def is_leader(self, member: Member) -> bool:
        return member.member_id == self.leader

    def identity_error(self, member_id: str, group_instance_id: str | None) -> ErrorCode:
        """Whether a client is the member it says it is (KIP-345)."""
        if group_instance_id is not None:
            current_id = self._static_ids.get(group_instance_id)
            if current_id is None:
                return ErrorCode.unknown_member_id
            return ErrorCode.none if current_id == member_id else ErrorCode.fenced_instance_id
        return ErrorCode.none if member_id in self._by_id else ErrorCode.unknown_member_id

    def add(self, member: Member) -> None:
        self._by_id[member.member_id] = member
        if member.group_instance_id is not None:
            self._static_ids[member.group_instance_id] = member.member_id
        if self.leader is None:
            self.leader = member.member_id

    def remove(self, member: Member) -> None:
        del self._by_id[member.member_id]
        if member.group_instance_id is not None:
            del self._static_ids[member.group_instance_id]
        if self.is_leader(member):
            self.leader = next(iter(self._by_id), None)

    def rename(self, member: Member, new_id: str) -> None:
        """Give a static member the id that it came back with."""
        assert member.group_instance_id is not None
        del self._by_id[member.member_id]
        if self.is_leader(member):
            self.leader = new_id
        member.member_id = new_id
        self._by_id[new_id] = member
        self._static_ids[member.group_instance_id] = new_id

    def elect_leader_who_joined(self) -> bool:
        """Make sure that the leader is one who has joined; False when nobody has."""
        if self.leader is None or not self._by_id[self.leader].awaits_join:
            joined = next((member for member in self if member.awaits_join), None)
            if joined is None:
                return False
            self.leader = joined.member_id
        return True

    def common_protocols(self) -> set[str]:
        """The protocols that all members know."""
        counts = Counter(name for member in self for name in {p.name for p in member.protocols})
        return {name for name, count in counts.items() if count == len(self)}

    def choose_protocol(self) -> str:
        """The protocol that most members like best of those that all know; the leader's choice in a tie."""
        assert self.leader is not None
        candidates = self.common_protocols()
        votes = Counter(member.vote(candidates) for member in self)
        most = max(votes.values())
        return self._by_id[self.leader].vote({name for name, count in votes.items() if count == most})

    def rebalance_timeout_ms(self) -> int:
        """How long a rebalance waits: as long as its slowest member may take."""
        return max((member.rebalance_timeout_ms for member in self), default=0)
