"""What the members of a consumer group read, by name and by pattern, of the topics that there are."""

from collections.abc import Iterable
from hashlib import blake2b
from uuid import UUID

from broker.coordinator.consumer_members import ConsumerMember
from broker.coordinator.regexes import matching
from broker.coordinator.topics import KnownTopics


class SubscribedTopics:
    """`digest` stands for the topics that were read when it was last looked at, with their partitions."""

    def __init__(self, topics: KnownTopics) -> None:
        self.digest = ""
        self._topics = topics
        self._version = -1
        self._matches: dict[str, frozenset[str]] = {}
        """By regex."""

    def of(self, member: ConsumerMember) -> frozenset[str]:
        """The names of the topics that a member reads, those that do not exist, too."""
        if not member.regex:
            return member.topics
        return member.topics | self._matches.get(member.regex, frozenset())

    def ids_of(self, member: ConsumerMember) -> frozenset[UUID]:
        """The topics that a member reads."""
        return self.ids(self.of(member))

    def ids(self, names: Iterable[str]) -> frozenset[UUID]:
        return frozenset(topic.topic_id for name in names if (topic := self._topics.get(name)) is not None)

    def look(self, members: Iterable[ConsumerMember]) -> None:
        """Members read something else, or topics have changed."""
        members = list(members)
        is_current = self._version == self._topics.version
        self._match(members, self._matches if is_current else {})
        self._version = self._topics.version
        self.digest = self._digest(members)

    def have_changed(self, members: Iterable[ConsumerMember]) -> bool:
        """Whether subscribed topics have come, gone or grown since the last look, which this is now."""
        if self._version == self._topics.version:
            return False
        before = self.digest
        self.look(members)
        return self.digest != before

    def restore(self, digest: str, members: Iterable[ConsumerMember]) -> None:
        """Go on from what was stored. The next look tells whether topics have changed since."""
        self.digest = digest
        self._match(members, {})

    def _match(self, members: Iterable[ConsumerMember], known: dict[str, frozenset[str]]) -> None:
        self._matches = {
            regex: known[regex] if regex in known else matching(regex, (topic.name for topic in self._topics))
            for regex in {member.regex for member in members if member.regex}
        }

    def _digest(self, members: Iterable[ConsumerMember]) -> str:
        digest = blake2b(digest_size=16)
        for name in sorted(frozenset().union(*{self.of(member) for member in members})):
            if (topic := self._topics.get(name)) is not None:
                digest.update(f"{name} {topic.topic_id.hex} {topic.partitions}\n".encode())
        return digest.hexdigest()
