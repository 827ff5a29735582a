"""What the agents of the Python clients share: the loop that serves operations, and JSON ↔ records.

The operations and their shapes are in the README.md one folder up.
"""

import asyncio
import faulthandler
import inspect
import json
import sys
from typing import Any, NoReturn

# An answer that takes longer than this is a test's failure soon (ANSWER_SECONDS): say where it hangs.
STUCK_SECONDS = 50


def text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode()


def raw(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def raw_headers(record: dict[str, Any]) -> Any:
    return [(name, raw(value)) for name, value in record.get("headers", [])]


def json_headers(headers: Any) -> list[list[str | None]]:
    """From whatever pairs of text and bytes a client has, or None."""
    return [[name, text(value)] for name, value in headers or ()]


def json_record(record: Any) -> dict[str, Any]:
    """Of a record as aiokafka and kafka-python have it, by the same names."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key),
        "value": text(record.value),
        "headers": json_headers(record.headers),
    }


class Agent:
    """Operations are the public methods of a subclass; each may be a coroutine."""

    def error_code(self, error: Exception) -> int | None:
        """Kafka's number for it, if it has one."""
        raise NotImplementedError

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        faulthandler.dump_traceback_later(STUCK_SECONDS)
        try:
            result = getattr(self, request.pop("op"))(**request)
            if inspect.isawaitable(result):
                result = await result
        except Exception as error:  # noqa: BLE001  whatever a client raises is an answer
            return {"error": {"code": self.error_code(error), "message": f"{type(error).__name__}: {error}"}}
        finally:
            faulthandler.cancel_dump_traceback_later()
        return {"ok": result}


async def _serve(make_agent: type[Agent]) -> None:
    agent = make_agent()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        answer = await agent.answer(json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def serve(make_agent: type[Agent]) -> NoReturn:
    """Answer one JSON line with another until the input ends."""
    asyncio.run(_serve(make_agent))
    sys.exit(0)
