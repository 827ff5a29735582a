"""A Kafka client that says exactly what a test wants, byte for byte."""

import datetime
import socket
import struct
import uuid
from typing import Any, Self

from kio.index import load_request_schema
from kio.schema.errors import ErrorCode
from support.batches import decode_response, encode_request, request_classes

TIMEOUT_S = 60


class RawKafka:
    """One connection. `call` sends a request by kio's fields and returns kio's response."""

    def __init__(self, bootstrap: str) -> None:
        host, port = bootstrap.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        self._correlation_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, api_key: int, version: int, body: bytes, *, client_id: bytes | None = b"raw") -> int:
        """Send a request; its correlation id."""
        self._correlation_id += 1
        self.socket.sendall(request_frame(api_key, version, self._correlation_id, body, client_id=client_id))
        return self._correlation_id

    def receive(self) -> tuple[int, bytes]:
        """The next response: correlation id and what follows it. ConnectionError when there is none."""
        (size,) = struct.unpack(">i", self._exactly(4))
        response = self._exactly(size)
        return struct.unpack_from(">i", response)[0], response[4:]

    def call(self, api_key: int, version: int, **fields: Any) -> Any:
        sent = self.send(api_key, version, encode_request(api_key, version, **fields))
        received, rest = self.receive()
        assert received == sent
        return decode_body(api_key, version, rest)

    def is_closed(self) -> bool:
        """Whether the broker has closed the connection and sent nothing more."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the broker closed the connection")
            data += piece
        return bytes(data)


def request_frame(
    api_key: int, version: int, correlation_id: int, body: bytes, *, client_id: bytes | None = b"raw"
) -> bytes:
    flexible = load_request_schema(api_key, version).__flexible__
    length = -1 if client_id is None else len(client_id)
    header = struct.pack(">hhih", api_key, version, correlation_id, length) + (client_id or b"")
    frame = header + (b"\0" if flexible else b"") + body
    return struct.pack(">i", len(frame)) + frame


def decode_body(api_key: int, version: int, rest: bytes) -> Any:
    """What follows the correlation id of a response."""
    flexible = load_request_schema(api_key, version).__flexible__ and api_key != 18
    return decode_response(api_key, version, rest[1:] if flexible else rest)


def produce_body(
    version: int,
    topic: str | uuid.UUID,
    batch: bytes | None,
    *,
    partition: int = 0,
    acks: int = -1,
    transactional_id: str | None = None,
) -> bytes:
    classes = request_classes(0, version)
    name = {"topic_id": topic} if version >= 13 else {"name": topic}
    data = classes.TopicProduceData(
        **name, partition_data=(classes.PartitionProduceData(index=partition, records=batch),)
    )
    return encode_request(
        0,
        version,
        transactional_id=transactional_id,
        acks=acks,
        timeout=datetime.timedelta(seconds=10),
        topic_data=(data,),
    )


def produce(
    client: RawKafka, topic: str | uuid.UUID, batch: bytes | None, version: int = 9, **more: Any
) -> Any:
    """kio's answer for the one partition."""
    client.send(0, version, produce_body(version, topic, batch, **more))
    _, rest = client.receive()
    (answered,) = decode_body(0, version, rest).responses
    (partition,) = answered.partition_responses
    return partition


def fetch(
    client: RawKafka,
    topic: str | uuid.UUID | None,
    offsets: dict[int, int],
    version: int = 12,
    *,
    max_wait_ms: int = 0,
    min_bytes: int = 1,
    max_bytes: int = 1 << 30,
    partition_max_bytes: int = 1 << 30,
    session: tuple[int, int] = (0, -1),
    leader_epoch: int = -1,
    committed: bool = False,
) -> Any:
    """kio's response. `offsets` by partition; without a topic nothing is named (a session goes on)."""
    classes = request_classes(1, version)
    topics: tuple[Any, ...] = ()
    if topic is not None:
        name = {"topic_id": topic} if version >= 13 else {"topic": topic}
        partitions = []
        for partition, offset in offsets.items():
            epoch = {"current_leader_epoch": leader_epoch} if version >= 9 else {}
            partitions.append(
                classes.FetchPartition(
                    partition=partition, fetch_offset=offset, partition_max_bytes=partition_max_bytes, **epoch
                )
            )
        topics = (classes.FetchTopic(**name, partitions=tuple(partitions)),)
    fields: dict[str, Any] = {}
    if version >= 7:
        fields = {"session_id": session[0], "session_epoch": session[1], "forgotten_topics_data": ()}
    return client.call(
        1,
        version,
        max_wait=datetime.timedelta(milliseconds=max_wait_ms),
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        isolation_level=int(committed),
        topics=topics,
        **fields,
    )


def create_topic(client: RawKafka, name: str, partitions: int = 1, **configs: str) -> uuid.UUID:
    """The new topic's id. Configs with underscores for dots."""
    classes = request_classes(19, 7)
    settings = tuple(
        classes.CreatableTopicConfig(name=key.replace("_", "."), value=value)
        for key, value in configs.items()
    )
    response = client.call(
        19,
        7,
        topics=(
            classes.CreatableTopic(
                name=name, num_partitions=partitions, replication_factor=1, assignments=(), configs=settings
            ),
        ),
        timeout=datetime.timedelta(seconds=10),
    )
    (created,) = response.topics
    assert created.error_code == ErrorCode.none, created.error_message
    return uuid.UUID(bytes=created.topic_id.bytes)
