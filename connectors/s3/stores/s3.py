"""A bucket of S3: requests by boto3, tried again where that helps."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import structlog

from connect.api import ConnectError, FieldError, RetriableError
from connectors.s3.access import CONNECT_TIMEOUT_S, Access, SettingNames, make_client
from connectors.s3.store import (
    CHUNK_BYTES,
    PAGE,
    Bucket,
    Entry,
    ObjectChangedError,
    ObjectExistsError,
    ObjectGoneError,
    RefusedError,
    UploadLostError,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = structlog.get_logger(__name__)
T = TypeVar("T")

LOOK_TIMEOUT_S: Final = 5.0

_ELSEWHERE: Final = "the bucket is in another region than the one that is set"
_EXPIRED: Final = "the credentials have expired; they are looked for again at each try"
_CAUSES: Final[Mapping[str, str]] = {
    "NoSuchBucket": "the bucket does not exist",
    "AccessDenied": "access denied",
    "403": "access denied",
    "AllAccessDisabled": "all access to the bucket is disabled",
    "InvalidAccessKeyId": "the access key is not known",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": "this machine's clock differs too much from S3's",
    "PermanentRedirect": _ELSEWHERE,
    "301": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "KeyTooLongError": "the key is longer than the 1024 bytes that S3 allows",
    "SlowDown": "S3 asks for fewer requests",
    "RequestTimeout": "S3 waited in vain for the rest of the request",
}
_RETRIABLE_CODES: Final = frozenset(
    ("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling",
     "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded", "OperationAborted",
     "ConditionalRequestConflict", "RequestTimeTooSkewed", "ExpiredToken", "ExpiredTokenException",
     "TokenRefreshRequired")
)  # fmt: skip


class S3Bucket(Bucket):
    """The client is made when it is first needed."""

    def __init__(self, access: Access, doing: str) -> None:
        super().__init__(access, doing)
        self._made: S3Client | None = None
        self._making = threading.Lock()

    @property
    def _client(self) -> "S3Client":
        with self._making:
            if self._made is None:
                self._made = make_client(self._access)
            return self._made

    def _forget_client(self) -> None:
        """Another one reads the credentials anew: from a profile, the environment, the container."""
        with self._making:
            self._made = None

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def put(self, key: str, data: bytes, metadata: Mapping[str, str], *, if_absent: bool) -> None:
        more: dict[str, Any] = {**self._access.for_new_objects, "Metadata": metadata}
        if if_absent:
            more["IfNoneMatch"] = "*"
        self._perform(key, lambda client: client.put_object(Bucket=self.name, Key=key, Body=data, **more))

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        pairs: Any = [{"Key": name, "Value": value} for name, value in tags.items()]
        self._perform(
            key,
            lambda client: client.put_object_tagging(Bucket=self.name, Key=key, Tagging={"TagSet": pairs}),
        )

    def start_upload(self, key: str, *, if_absent: bool) -> str:
        more: Any = self._access.for_new_objects

        def start(client: "S3Client") -> str:
            # With each try: one whose answer was lost has begun an upload, too.
            self._abort_leftovers(key)
            return client.create_multipart_upload(Bucket=self.name, Key=key, **more)["UploadId"]

        return self._perform(key, start)

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        more: Any = self._access.for_parts
        return self._perform(
            key,
            lambda client: client.upload_part(
                Bucket=self.name, Key=key, UploadId=upload_id, PartNumber=number, Body=data, **more
            )["ETag"],
        )

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str], *, if_absent: bool) -> None:
        parts: Any = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        only_new: Any = {"IfNoneMatch": "*"} if if_absent else {}
        self._perform(
            key,
            lambda client: client.complete_multipart_upload(
                Bucket=self.name, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, **only_new
            ),
        )

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Give up an upload. What cannot be cleaned up is logged and left to the bucket's lifecycle."""
        try:
            self._perform(
                key,
                lambda client: client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload_id),
                retries=0,
            )
        except UploadLostError:
            pass  # it is gone, as wanted
        except ConnectError as exc:
            log.warning("cannot abort a multipart upload", upload_id=upload_id, error=str(exc))

    def _abort_leftovers(self, key: str) -> None:
        try:
            left = self._perform(
                key, lambda client: client.list_multipart_uploads(Bucket=self.name, Prefix=key), retries=0
            )
        except ConnectError as exc:
            # Not every writer may list uploads, and not every store can.
            log.debug("cannot look for multipart uploads that were left", error=str(exc))
            return
        for upload in left.get("Uploads", ()):
            if upload["Key"] == key:
                self.abort_upload(key, upload["UploadId"])

    def metadata(self, key: str) -> Mapping[str, str] | None:
        more: Any = self._access.for_parts

        def look(client: "S3Client") -> Mapping[str, str] | None:
            from botocore.exceptions import ClientError

            try:
                return client.head_object(Bucket=self.name, Key=key, **more)["Metadata"]
            except ClientError as exc:
                if exc.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                    return None
                raise

        return self._perform(key, look)

    def page(self, prefix: str, after: str = "") -> list[Entry]:
        found = self._perform(
            prefix,
            lambda client: client.list_objects_v2(
                Bucket=self.name, Prefix=prefix, StartAfter=after, MaxKeys=PAGE
            ),
        )
        return [
            Entry(
                each["Key"],
                each["ETag"].strip('"'),
                each["Size"],
                int(each["LastModified"].timestamp() * 1000),
            )
            for each in found.get("Contents", ())
        ]

    def read(self, entry: Entry, position: int, count: int) -> bytes:
        body = self._get(entry, f"bytes={position}-{position + count - 1}")
        return self._perform(entry.key, lambda _: bytes(body.read()))

    def open(self, entry: Entry, position: int) -> Iterator[bytes]:
        return self._pieces(entry, self._get(entry, f"bytes={position}-" if position else None))

    def _pieces(self, entry: Entry, body: Any) -> Iterator[bytes]:
        from botocore.exceptions import BotoCoreError

        try:
            while data := body.read(CHUNK_BYTES):
                yield data
        except BotoCoreError as exc:
            raise RetriableError(str(explain(exc, self.url(entry.key), self._doing))) from exc

    def _get(self, entry: Entry, wanted: str | None) -> Any:
        more: Any = dict(self._access.for_parts)
        if wanted is not None:
            more["Range"] = wanted

        def get(client: "S3Client") -> Any:
            from botocore.exceptions import ClientError

            try:
                return client.get_object(Bucket=self.name, Key=entry.key, IfMatch=entry.etag, **more)["Body"]
            except ClientError as exc:
                if error_code(exc.response) in ("NoSuchKey", "404"):
                    raise ObjectGoneError(f"{self.url(entry.key)} has been deleted") from exc
                if error_code(exc.response) in ("PreconditionFailed", "412", "InvalidRange", "416"):
                    raise ObjectChangedError(f"{self.url(entry.key)} has changed") from exc
                raise

        return self._perform(entry.key, get)

    def _perform(self, key: str, request: Callable[["S3Client"], T], retries: int | None = None) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        tries_left = self._access.retries if retries is None else retries
        wait_s = self._access.backoff_ms / 1000
        while True:
            try:
                return request(self._client)
            except (BotoCoreError, ClientError) as exc:
                error = explain(exc, self.url(key), self._doing)
                if isinstance(exc, ClientError) and _CAUSES.get(error_code(exc.response)) == _EXPIRED:
                    self._forget_client()
                if tries_left == 0 or not isinstance(error, RetriableError):
                    raise error from exc
                log.warning("trying again", error=str(error), tries_left=tries_left)
            tries_left -= 1
            time.sleep(min(wait_s, self._access.backoff_max_ms / 1000) * random.uniform(0.5, 1))
            wait_s *= 2


def explain(exc: Exception, what: str, doing: str = "write") -> ConnectError:
    """One sentence for a failed request: which object (or bucket), why, and by its class whether a retry
    helps."""
    from botocore import exceptions

    if isinstance(exc, exceptions.ClientError):
        return _explain_answer(exc.response, what, doing)
    if isinstance(exc, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        why = "no credentials; set aws.access.key.id and aws.secret.access.key, or AWS's own variables"
        return RefusedError(f"cannot {doing} {what}: {why}")
    if isinstance(exc, exceptions.EndpointConnectionError):
        return RetriableError(f"cannot {doing} {what}: nothing answers at {_host(exc)}")
    if isinstance(exc, exceptions.ConnectTimeoutError):
        return RetriableError(
            f"cannot {doing} {what}: no connection to {_host(exc)} within {CONNECT_TIMEOUT_S} s"
        )
    if isinstance(exc, exceptions.ReadTimeoutError):
        return RetriableError(f"cannot {doing} {what}: {_host(exc)} did not answer in time")
    if isinstance(exc, exceptions.ConnectionClosedError):
        return RetriableError(f"cannot {doing} {what}: {_host(exc)} closed the connection without an answer")
    if isinstance(exc, exceptions.ParamValidationError):
        return ConnectError(f"cannot {doing} {what}: S3 does not allow such a bucket name")
    if isinstance(exc, exceptions.SSLError):
        return RefusedError(f"cannot {doing} {what}: {exc}")
    if isinstance(exc, exceptions.ConnectionError | exceptions.HTTPClientError):
        return RetriableError(f"cannot {doing} {what}: {exc}")
    return RefusedError(f"cannot {doing} {what}: {exc}")


def _host(exc: Any) -> str:
    url = urlsplit(exc.kwargs["endpoint_url"])
    return f"{url.scheme}://{url.netloc}"


def _explain_answer(answer: Any, what: str, doing: str) -> ConnectError:
    code, status = error_code(answer), answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = answer["Error"].get("Message") or code
    cause = _CAUSES.get(code) or said
    if cause == _ELSEWHERE and (region := _right_region(answer)):
        cause = f"the bucket is in {region}, another region than the one that is set"
    elif code == "AccessDenied" and "not authorized" in said:  # it tells who lacks which permission
        cause = f"access denied: {said}"
    why = f"cannot {doing} {what}: {cause}"
    if code in ("PreconditionFailed", "412"):
        return ObjectExistsError(f"cannot {doing} {what}: it exists already")
    if code == "NoSuchUpload":
        return UploadLostError(why)
    if code in _RETRIABLE_CODES or status >= 500 or status == 429:
        return RetriableError(why)
    return RefusedError(why)


def _right_region(answer: Any) -> str | None:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region: str | None = answer["Error"].get("Region") or headers.get("x-amz-bucket-region")
    return region


def problems_of(access: Access, doing: str = "write") -> Iterable[FieldError]:
    """What is wrong with the bucket or the credentials, with the setting to look at."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        # A list tells why it is refused, which a HEAD of the bucket does not.
        client = make_client(access, read_timeout_s=LOOK_TIMEOUT_S)
        client.list_objects_v2(Bucket=access.bucket, MaxKeys=1)
    except (BotoCoreError, ClientError, ValueError) as exc:
        # Who may only write may not list.
        denied = isinstance(exc, ClientError) and error_code(exc.response) in ("AccessDenied", "403")
        if not denied or doing == "read":
            why = str(explain(exc, f"s3://{access.bucket}", doing))
            yield FieldError(_setting_behind(exc, access.names), why)


def _setting_behind(exc: Exception, names: SettingNames) -> str:
    """The setting to look at first after a failed request."""
    from botocore import exceptions

    if isinstance(exc, exceptions.ClientError):
        match error_code(exc.response):
            case "InvalidAccessKeyId":
                return names.key_id
            case "SignatureDoesNotMatch":
                return names.secret
            case "PermanentRedirect" | "301" | "AuthorizationHeaderMalformed":
                return names.region
            case _:
                return names.bucket
    if isinstance(exc, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return names.key_id
    if isinstance(exc, exceptions.ConnectionError | exceptions.HTTPClientError):
        return names.endpoint
    return names.bucket


def error_code(answer: Any) -> str:
    return str(answer.get("Error", {}).get("Code", ""))
