"""The SQS queue that tells of new objects: requests, with errors that name the queue and the cause."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from connect.api import ConnectError, FieldError, RetriableError
from connectors.s3.access import Access, make_session
from connectors.s3.store import RefusedError
from connectors.s3.stores.s3 import LOOK_TIMEOUT_S, error_code, explain

log = structlog.get_logger(__name__)

QUEUE_URL: Final = "sqs.queue.url"
AT_ONCE: Final = 10  # SQS's own limit
_CONNECT_TIMEOUT_S: Final = 5.0
_READ_TIMEOUT_S: Final = 20.0
_GONE: Final = frozenset(("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "NonExistentQueue"))


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """`hidden_s`: how long a message that was received is hidden from others."""

    url: str
    hidden_s: int
    listing_interval_s: float


@dataclass(slots=True)
class Message:
    """`receipt` is that of the last time it was received."""

    id: str
    receipt: str
    body: str


class Queue:
    """Every method raises `RetriableError` when trying again later may help, else `RefusedError`."""

    def __init__(self, access: Access, settings: QueueSettings) -> None:
        self._access = access
        self._settings = settings
        self._made: Any = None

    @property
    def url(self) -> str:
        return self._settings.url

    def receive(self, wait_s: int) -> list[Message]:
        """The next messages, after at most so long."""
        answer = self._perform(
            lambda client: client.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=AT_ONCE, WaitTimeSeconds=wait_s,
                VisibilityTimeout=self._settings.hidden_s,
            )
        )  # fmt: skip
        return [
            Message(each["MessageId"], each["ReceiptHandle"], each["Body"])
            for each in answer.get("Messages", ())
        ]

    def delete(self, messages: Sequence[Message]) -> list[Message]:
        """Those that could not be deleted: they will come again."""
        left: list[Message] = []
        for start in range(0, len(messages), AT_ONCE):
            some = messages[start : start + AT_ONCE]
            entries: Any = [{"Id": str(n), "ReceiptHandle": m.receipt} for n, m in enumerate(some)]
            answer = self._perform(
                lambda client, entries=entries: client.delete_message_batch(
                    QueueUrl=self.url, Entries=entries
                )
            )
            left += [some[int(failed["Id"])] for failed in answer.get("Failed", ())]
        return left

    def give_back(self, message: Message, after_s: int) -> None:
        """Let another task have it."""
        self._perform(
            lambda client: client.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=message.receipt, VisibilityTimeout=after_s
            )
        )

    def attributes(self) -> Mapping[str, str]:
        """Of the queue."""
        answer = self._perform(
            lambda client: client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])
        )
        found: Mapping[str, str] = answer.get("Attributes", {})
        return found

    def _perform(self, request: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._made is None:
                self._made = _make_client(self._access, self.url, _READ_TIMEOUT_S)
            return request(self._made)
        except (BotoCoreError, ClientError) as exc:
            raise _explained(exc, self.url) from exc


def queue_problems(access: Access, settings: QueueSettings) -> Iterable[FieldError]:
    """What is wrong with the queue or the right to read it."""
    queue = Queue(access, settings)
    queue._made = _make_client(access, settings.url, LOOK_TIMEOUT_S)
    try:
        queue.attributes()
    except ConnectError as exc:
        yield FieldError(QUEUE_URL, str(exc))


def url_problem(value: str) -> str | None:
    """What is wrong with the URL of a queue."""
    parts = urlsplit(value)
    if not value or (parts.scheme in ("http", "https") and parts.netloc and parts.path.strip("/")):
        return None
    return "It must be the URL of a queue, such as https://sqs.eu-central-1.amazonaws.com/123456789012/name"


def _make_client(access: Access, url: str, read_timeout_s: float) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config as ClientConfig

    parts = urlsplit(url)
    host = (parts.hostname or "").split(".")
    region = host[1] if host[0] == "sqs" and len(host) > 3 else access.region
    proxies = {"http": str(access.proxy), "https": str(access.proxy)} if access.proxy else None
    return make_session(access).client(
        "sqs",
        region_name=region,
        endpoint_url=f"{parts.scheme}://{parts.netloc}",
        config=ClientConfig(
            signature_version=UNSIGNED if access.anonymous else None,
            proxies=proxies,
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=read_timeout_s,
            retries={"total_max_attempts": 2},
        ),
    )


def _explained(exc: Exception, url: str) -> ConnectError:
    from botocore.exceptions import ClientError

    if isinstance(exc, ClientError):
        if error_code(exc.response) in _GONE:
            return RefusedError(f"cannot read the queue {url}: it does not exist")
        if error_code(exc.response) in ("InvalidClientTokenId", "UnrecognizedClientException"):
            return RefusedError(f"cannot read the queue {url}: the access key is not known")
    error = explain(exc, f"the queue {url}", "read")
    if isinstance(error, RetriableError):
        return error
    return RefusedError(str(error))
