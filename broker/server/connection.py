"""One client connection: frames in, answers out in the order of the requests.

A request is handled as soon as it is there; its answer waits for those before it. Reading stops while
too much is unanswered or unsent, so a client that does not read costs a bounded amount of memory. What
a half-closed connection has asked for is still answered.

Seam: TLS and SASL go between the socket and `_on_readable` / `flush`.
"""

import asyncio
import inspect
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from broker.handlers.api_versions import API_VERSIONS_KEY, unsupported_version
from broker.handlers.registry import Api, ApiRegistry, Deferred, Endpoint, RequestContext
from broker.log.segment import FileSlice
from broker.wire.codec import Codec
from broker.wire.errors import ErrorCode, KafkaError, ProtocolViolation
from broker.wire.frames import FrameReader, RequestHeader, skip_tags

logger = structlog.get_logger(__name__)

READ_BYTES_PER_TURN = 1024 * 1024
UNANSWERED_MAX = 1000
UNSENT_BYTES_MAX = 1024 * 1024
"""Answers in memory, waiting for their turn or for the client; slices of files take none."""

SENDFILE_BYTES_MIN = 16 * 1024
"""Below it a copy into the answer is cheaper than a system call of its own."""

CORRELATION_ID_BYTES = 4
SEND_PARTS_MAX = 64
CONTEXTS_KEPT = 64

_RESPONSE_HEADER = struct.Struct(">ii")


class _Slot:
    """An answer's place in the order. `parts` is None until it is there."""

    __slots__ = ("codec", "correlation_id", "deferred", "parts", "version")

    def __init__(self, codec: Codec, version: int, correlation_id: int) -> None:
        self.codec = codec
        self.version = version
        self.correlation_id = correlation_id
        self.parts: list[Any] | None = None
        self.deferred: Deferred | None = None


class Connection:
    """`on_closed` is called once, when the socket is closed."""

    def __init__(
        self,
        sock: socket.socket,
        reader: FrameReader,
        registry: ApiRegistry,
        *,
        connection_id: int,
        client_host: str,
        endpoint: Endpoint,
        on_closed: Callable[["Connection"], None],
    ) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._reader = reader
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._id = connection_id
        self._client_host = client_host
        self._endpoint = endpoint
        self._on_closed = on_closed
        self._contexts: dict[tuple[int, int, bytes], RequestContext] = {}
        self._slots: deque[_Slot] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unsent: deque[Any] = deque()
        self._unsent_bytes = 0
        self._reading = False
        self._writing = False
        self._flush_is_due = False
        self._finishing = False
        self._closed = False
        self.active_at = self._loop.time()
        self._go_on()

    # --- state ---

    @property
    def is_waiting_for_client(self) -> bool:
        """Whether nothing is being worked on: the next move is the client's."""
        return not self._slots

    def finish(self) -> None:
        """Read nothing more, answer what was asked, then close."""
        self._finishing = True
        self._stop_reading()
        for slot in tuple(self._slots):
            if slot.deferred is not None:
                slot.deferred.hurry()
        self._close_if_finished()

    def close(self) -> None:
        """Close at once."""
        if self._closed:
            return
        self._closed = True
        self._stop_reading()
        if self._writing:
            self._loop.remove_writer(self._fd)
        self._sock.close()
        slots, self._slots = self._slots, deque()
        self._unsent.clear()
        for slot in slots:
            if slot.deferred is not None:
                slot.deferred.hurry()
        self._on_closed(self)

    def _close_if_finished(self) -> None:
        if self._finishing and not self._slots and not self._unsent:
            self.close()

    # --- reading ---

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    @property
    def _has_too_much(self) -> bool:
        return len(self._slots) >= UNANSWERED_MAX or self._unsent_bytes >= UNSENT_BYTES_MAX

    def _on_readable(self) -> None:
        self.active_at = self._loop.time()
        budget = READ_BYTES_PER_TURN
        while budget > 0 and self._reading:
            target = self._reader.target()
            try:
                count = self._sock.recv_into(target)
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            if count == 0:
                self.finish()
                break
            self._reader.received(count)
            self._take_frames()
            if count < len(target):
                break
            budget -= count
        self.flush()

    def _take_frames(self) -> None:
        """Handle what is there, or stop reading when that is too much or no request."""
        try:
            while (frame := self._reader.next_frame()) is not None:
                self._on_request(frame)
                if self._has_too_much:
                    self._reader.save()
                    self._stop_reading()
                    return
        except ProtocolViolation as exc:
            logger.info("connection refused", client=self._client_host, reason=str(exc))
            self._reader.save()
            self.finish()
        except Exception as exc:  # a bug harms the connection that met it, not the server
            logger.error("request failed", client=self._client_host, exc_info=exc)
            self.close()

    def _go_on(self) -> None:
        """There is room again: first what was received already, then the socket."""
        if not self._reading and not self._finishing and not self._closed and not self._has_too_much:
            self._reading = True
            if self._reader.has_saved:
                self._take_frames()
            if self._reading and not self._closed:
                self._loop.add_reader(self._fd, self._on_readable)

    # --- handling ---

    def _on_request(self, frame: memoryview) -> None:
        header = RequestHeader(frame)
        version = header.api_version
        found = self._registry.find(header.api_key)
        if found is None:
            raise ProtocolViolation(f"api key {header.api_key} is not served")
        api, codec = found
        if version not in api.versions:
            if header.api_key != API_VERSIONS_KEY:
                raise ProtocolViolation(f"{api.name} version {version} is not served")
            slot = _Slot(codec, version, header.correlation_id)
            self._answer_in_turn(slot, unsupported_version())
            return
        position = header.position
        if codec.request_is_flexible(version):
            position = skip_tags(frame, position)
        request = codec.decode(version, frame, position)
        context = self._context(header)
        slot = _Slot(codec, version, header.correlation_id)
        try:
            result = api.handle(context, request)
        except ProtocolViolation:
            raise
        except Exception as exc:  # noqa: BLE001  # the client gets to know
            result = self._failed(api, exc)
        if result is None:
            return
        if isinstance(result, Deferred):
            slot.deferred = result
            self._slots.append(slot)
            result.listen(lambda response: self._later_answer(slot, response))
        elif inspect.isawaitable(result):
            self._slots.append(slot)
            task = self._loop.create_task(self._await(api, slot, result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._answer_in_turn(slot, result)

    def _context(self, header: RequestHeader) -> RequestContext:
        key = (header.api_key, header.api_version, header.client_id)
        context = self._contexts.get(key)
        if context is None:
            if len(self._contexts) >= CONTEXTS_KEPT:
                self._contexts.clear()
            context = self._contexts[key] = RequestContext(
                api_key=header.api_key,
                api_version=header.api_version,
                client_id=header.client_id.decode("utf-8", "replace"),
                client_host=self._client_host,
                connection_id=self._id,
                endpoint=self._endpoint,
            )
        return context

    async def _await(self, api: Api, slot: _Slot, result: Any) -> None:
        try:
            response = await result
        except Exception as exc:  # noqa: BLE001  # as in _on_request
            try:
                response = self._failed(api, exc)
            except ProtocolViolation:
                self.close()
                return
        self._later_answer(slot, response)

    def _failed(self, api: Api, exc: Exception) -> Any:
        """The response to a request whose handler raised. Raises ProtocolViolation when there is none."""
        if not isinstance(exc, KafkaError):
            logger.error("handler failed", api=api.name, client=self._client_host, exc_info=exc)
            exc = KafkaError(ErrorCode.unknown_server_error, "the broker failed; its log says why")
        if api.on_error is None:
            raise ProtocolViolation(f"{api.name} failed: {exc}")
        return api.on_error(exc)

    # --- answering ---

    def _answer_in_turn(self, slot: _Slot, response: Any) -> None:
        parts = self._encoded(slot, response)
        if self._slots:
            slot.parts = parts
            self._slots.append(slot)
        else:
            self._unsent.extend(parts)

    def _later_answer(self, slot: _Slot, response: Any) -> None:
        if self._closed:
            return
        self.active_at = self._loop.time()
        try:
            slot.parts = self._encoded(slot, response)
        except Exception as exc:  # nor does it harm whoever has the answer ready
            logger.error("response failed", client=self._client_host, exc_info=exc)
            self.close()
            return
        while self._slots and (parts := self._slots[0].parts) is not None:
            self._slots.popleft()
            self._unsent.extend(parts)
        if not self._flush_is_due:
            # Not at once: the answers that one sync sets free go out together.
            self._flush_is_due = True
            self._loop.call_soon(self._flush_now)

    def _encoded(self, slot: _Slot, response: Any) -> list[Any]:
        """The whole response with its header: bytes, and slices that sendfile will send."""
        codec, version = slot.codec, slot.version
        parts: list[Any] = [b""]
        memory_bytes = file_bytes = 0
        for part in codec.encode(version, response):
            if isinstance(part, FileSlice):
                if part.length >= SENDFILE_BYTES_MIN:
                    file_bytes += part.length
                    parts.append(part)
                    continue
                part = part.read()
            if part:
                memory_bytes += len(part)
                parts.append(part)
        flexible = codec.response_is_flexible(version)
        size = CORRELATION_ID_BYTES + flexible + memory_bytes + file_bytes
        parts[0] = _RESPONSE_HEADER.pack(size, slot.correlation_id) + (b"\0" if flexible else b"")
        self._unsent_bytes += len(parts[0]) + memory_bytes
        return parts

    def _flush_now(self) -> None:
        self._flush_is_due = False
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now; the rest when the client has read."""
        while not self._closed and not self._writing:
            if not self._send_unsent():
                return
            self._go_on()
            if not self._unsent:
                self._close_if_finished()
                return

    def _send_unsent(self) -> bool:
        """False when not all could be sent."""
        try:
            while self._unsent:
                if isinstance(self._unsent[0], FileSlice):
                    self._send_slice(self._unsent[0])
                else:
                    self._send_bytes()
        except BlockingIOError:
            self._writing = True
            self._loop.add_writer(self._fd, self._on_writable)
            return False
        except OSError:
            self.close()
            return False
        return True

    def _on_writable(self) -> None:
        self.active_at = self._loop.time()
        self._loop.remove_writer(self._fd)
        self._writing = False
        self.flush()

    def _send_bytes(self) -> None:
        parts: list[Any] = []
        flags = 0
        for part in self._unsent:
            if isinstance(part, FileSlice):
                flags = socket.MSG_MORE
                break
            parts.append(part)
            if len(parts) == SEND_PARTS_MAX:
                break
        sent = self._sock.sendmsg(parts, (), flags)
        self._unsent_bytes -= sent
        while sent:
            part = self._unsent[0]
            if sent < len(part):
                self._unsent[0] = memoryview(part)[sent:]
                return
            sent -= len(part)
            self._unsent.popleft()

    def _send_slice(self, part: FileSlice) -> None:
        sent = os.sendfile(self._fd, part.file.fd, part.position, part.length)
        if sent == 0:
            raise OSError(f"{part.file.path} is shorter than it was")
        if sent == part.length:
            self._unsent.popleft()
        else:
            self._unsent[0] = FileSlice(part.file, part.position + sent, part.length - sent, part.next_offset)
