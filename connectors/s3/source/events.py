"""What a message of an SQS queue says of new objects: S3's own notifications, as they are or wrapped by SNS,
and those of EventBridge.

Source: Amazon S3 User Guide, "Event message structure" and "EventBridge event message structure"; Amazon SNS
Developer Guide, "Parsing message formats".
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

_NEW: Final = "ObjectCreated:"
_NEW_DETAIL: Final = "Object Created"
_WRAPPINGS_MAX: Final = 4


class NewObject(NamedTuple):
    """An object that was put, copied, or made of parts."""

    bucket: str
    key: str


class NotAnEvent(ValueError):
    """A message that is none of those."""


def new_objects(body: str) -> list[NewObject]:
    """The objects that a message tells of; none where it tells of something else (deleted objects, S3's test
    event). Raises `NotAnEvent`."""
    message: Any = body
    for _ in range(_WRAPPINGS_MAX):
        if isinstance(message, str):
            message = _parsed(message)
        if not isinstance(message, Mapping):
            break
        if message.get("Type") == "Notification" and "Message" in message:  # SNS
            message = message["Message"]
            continue
        return list(_of_event(message))
    raise NotAnEvent("it is no JSON object")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise NotAnEvent(f"it is no JSON: {exc}") from exc


def _of_event(event: Mapping[str, Any]) -> Iterator[NewObject]:
    if event.get("Event") == "s3:TestEvent":
        return
    try:
        if event.get("source") == "aws.s3":
            if event["detail-type"] == _NEW_DETAIL:
                yield _place(event["detail"]["bucket"]["name"], event["detail"]["object"]["key"])
            return
        yield from _of_records(event["Records"])
    except (AttributeError, KeyError, TypeError) as exc:
        raise NotAnEvent(f"it is no event of S3: {type(exc).__name__} {exc}") from exc


def _of_records(records: Iterable[Mapping[str, Any]]) -> Iterator[NewObject]:
    for record in records:
        # Events that S3 sends to a queue name begin so; in EventBridge's rules of old with s3: before it.
        if record["eventName"].removeprefix("s3:").startswith(_NEW):
            where = record["s3"]
            # Encoded as in a form, a blank as +.
            yield _place(where["bucket"]["name"], unquote_plus(where["object"]["key"]))


def _place(bucket: object, key: object) -> NewObject:
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise TypeError(f"bucket {bucket!r} and key {key!r} are no names")
    return NewObject(bucket, key)
