"""Buckets of Google Cloud Storage and containers of Azure, spoken to by obstore."""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import obstore
import structlog
from obstore import exceptions
from obstore.store import AzureStore, GCSStore

from connect.api import ConnectError, RetriableError
from connectors.s3.access import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Access
from connectors.s3.locations import Location
from connectors.s3.store import (
    CHUNK_BYTES,
    PAGE,
    Bucket,
    DeniedError,
    Entry,
    ObjectChangedError,
    ObjectExistsError,
    ObjectGoneError,
    Pages,
    RefusedError,
    UploadLostError,
)
from connectors.s3.stores.in_order import Uploads

if TYPE_CHECKING:
    from obstore import WritableFile
    from obstore.store import ObjectStore

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Where the parts of an object are put together that must not overwrite another.
_UPLOADS: Final = ".uploads/"
# Of a whole request with all the bytes of its body, which may be a large object's.
_REQUEST_TIMEOUT_S: Final = 3600
_PART_BYTES: Final = 8 << 20
_PARTS_AT_ONCE: Final = 2
_STANDARD: Final = frozenset(
    ("Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Cache-Control",
     "Storage-Class")
)  # fmt: skip
_UNUSABLE: Final = re.compile("(?i)service account|credential|account must be")
_MACHINE: Final = "169.254.169.254"  # where a cloud's machines ask who they are
_NO_BUCKET: Final = re.compile("NoSuchBucket|ContainerNotFound")
_PLAIN: Final = re.compile(r"[A-Za-z0-9/._=+-]*")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_NO_CREDENTIALS: Final[Mapping[str, str]] = {
    "gs": "set gcs.credentials.path or gcs.credentials.json, or GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set azblob.account.name and azblob.account.key, or azure.storage.connection.string, or Azure's "
          "own variables",
}  # fmt: skip


class CloudBucket(Bucket):
    """The client is made when it is first needed, and tries again itself."""

    def __init__(self, access: Access, location: Location, doing: str) -> None:
        super().__init__(access, doing)
        self._location = location
        self._made: ObjectStore | None = None
        self._making = threading.Lock()
        self._pages = Pages(self._walk)
        self._uploads: Uploads[WritableFile] = Uploads()

    def url(self, key: str) -> str:
        return self._location.url(key)

    def put(self, key: str, data: bytes, metadata: Mapping[str, str], *, if_absent: bool) -> None:
        attributes = {self._metadata_name(name): value for name, value in metadata.items()}
        self._perform(
            key,
            lambda store: obstore.put(
                store, key, data, attributes=attributes, mode="create" if if_absent else "overwrite",
                use_multipart=False,
            ),
        )  # fmt: skip

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        raise RefusedError(f"cannot tag {self.url(key)}: objects of S3 only have tags")

    def start_upload(self, key: str, *, if_absent: bool) -> str:
        # A multipart upload cannot be made to depend on anything, but a copy can.
        target = _UPLOADS + key if if_absent else key

        def begin(store: "ObjectStore") -> "WritableFile":
            return obstore.open_writer(store, target, buffer_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

        return self._uploads.add(self._perform(key, begin))

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        try:
            with self._uploads.turn(upload_id, number, self.url(key)) as writer:
                self._perform(key, lambda _: writer.write(data))
        except ObjectGoneError as exc:
            raise UploadLostError(f"cannot write {self.url(key)}: its upload is not known any more") from exc
        return str(number)

    def complete_upload(self, key: str, upload_id: str, etags: Sequence[str], *, if_absent: bool) -> None:
        writer = self._uploads.get(upload_id, self.url(key))
        try:
            if not writer.closed():
                self._perform(key, lambda _: writer.close())
        except (RetriableError, ObjectGoneError) as exc:
            self._uploads.forget(upload_id)
            raise UploadLostError(f"cannot write {self.url(key)}: {exc}") from exc
        if if_absent:
            try:
                self._perform(key, lambda store: obstore.copy(store, _UPLOADS + key, key, overwrite=False))
            except ObjectExistsError:
                self._delete(_UPLOADS + key)
                raise
            self._delete(_UPLOADS + key)
        self._uploads.forget(upload_id)

    def abort_upload(self, key: str, upload_id: str) -> None:
        # Azure forgets blocks that no blob is made of after a week, Google what the bucket's lifecycle says.
        self._uploads.forget(upload_id)

    def metadata(self, key: str) -> Mapping[str, str] | None:
        try:
            found = self._perform(key, lambda store: obstore.get(store, key, options={"head": True}))
        except ObjectGoneError:
            return None
        names = [name for name in found.attributes if name not in _STANDARD]
        return {name.replace("_", "-"): found.attributes[name] for name in names}

    def page(self, prefix: str, after: str = "") -> list[Entry]:
        return self._perform(prefix, lambda _: self._pages.page(prefix, after))

    def read(self, entry: Entry, position: int, count: int) -> bytes:
        found = self._get(entry, (position, position + count))
        return self._perform(entry.key, lambda _: bytes(found.bytes()))

    def open(self, entry: Entry, position: int) -> Iterator[bytes]:
        return self._pieces(entry, self._get(entry, {"offset": position} if position else None))

    def look(self) -> None:
        try:
            super().look()
        except DeniedError:
            if self._doing == "read":
                raise  # else: who may only write may not list

    def _pieces(self, entry: Entry, found: Any) -> Iterator[bytes]:
        stream = self._perform(entry.key, lambda _: iter(found.stream(min_chunk_size=CHUNK_BYTES)))
        while (piece := self._perform(entry.key, lambda _: next(stream, None))) is not None:
            yield bytes(piece)

    def _get(self, entry: Entry, wanted: Any) -> Any:
        options: Any = {"if_match": f'"{entry.etag}"'}
        if wanted is not None:
            options["range"] = wanted
        try:
            return self._perform(entry.key, lambda store: obstore.get(store, entry.key, options=options))
        except ObjectExistsError as exc:  # a precondition failed
            raise ObjectChangedError(f"{self.url(entry.key)} has changed") from exc

    def _walk(self, prefix: str, after: str) -> Iterator[Entry]:
        folder = prefix.rpartition("/")[0]
        offset = _before(after) if after > prefix else _before(prefix[:-1])
        for page in obstore.list(self._store, folder or None, offset=offset or None, chunk_size=PAGE):
            for each in page:
                key, size = each["path"], each["size"]
                if key > prefix and not key.startswith(prefix):
                    return
                # Consoles make empty objects for folders; nothing could be read from any that is empty.
                if size and key.startswith(prefix) and key > after and not key.startswith(_UPLOADS):
                    etag = (each["e_tag"] or "").strip('"')
                    yield Entry(key, etag, size, int(each["last_modified"].timestamp() * 1000))

    def _delete(self, key: str) -> None:
        try:
            self._perform(key, lambda store: obstore.delete(store, key))
        except ConnectError as exc:
            log.warning("cannot delete what an object was put together of", key=key, error=str(exc))

    def _metadata_name(self, name: str) -> str:
        # Azure's are identifiers of C#.
        return name.replace("-", "_") if self._location.scheme == "az" else name

    @property
    def _store(self) -> "ObjectStore":
        with self._making:
            if self._made is None:
                self._made = _make_store(self._access, self._location)
            return self._made

    def _perform(self, key: str, request: Callable[["ObjectStore"], T]) -> T:
        try:
            return request(self._store)
        except (exceptions.BaseError, OSError, ValueError) as exc:
            raise self._explained(key, exc) from exc

    def _explained(self, key: str, exc: Exception) -> ConnectError:
        if _NO_BUCKET.search(str(exc)):
            return RefusedError(self._because(key, "the bucket does not exist"))
        if isinstance(exc, FileNotFoundError):
            return ObjectGoneError(f"{self.url(key)} has been deleted")
        if isinstance(exc, exceptions.AlreadyExistsError | exceptions.PreconditionError):
            return ObjectExistsError(self._because(key, "it exists already"))
        if isinstance(exc, exceptions.PermissionDeniedError):
            return DeniedError(self._because(key, "access denied"))
        if isinstance(exc, exceptions.UnauthenticatedError):
            return RefusedError(self._because(key, f"the credentials are not good: {_first_line(exc)}"))
        why = _first_line(exc)
        status = _STATUS.search(why)
        helps = status is None or status[1] in ("408", "429") or status[1] >= "500"
        if _UNUSABLE.search(why) or (_MACHINE in why and not (status and helps)):
            hint = _NO_CREDENTIALS[self._location.scheme]
            return RefusedError(self._because(key, f"no credentials ({why}); {hint}"))
        if isinstance(exc, ValueError) or not helps:
            return RefusedError(self._because(key, why))
        if status and status[1] in ("429", "503"):
            why = f"the store asks for fewer requests ({why})"
        return RetriableError(self._because(key, why))

    def _because(self, key: str, why: str) -> str:
        return f"cannot {self._doing} {self.url(key)}: {why}"


def _before(key: str) -> str:
    """Where a listing may begin that is to go on behind a key. obstore writes some characters in another way
    and then compares, so it may not see them."""
    found = _PLAIN.match(key)
    return found[0] if found else ""


def _first_line(exc: Exception) -> str:
    """What it says before it goes into its own structure."""
    line = str(exc).partition("\n")[0].strip()
    return re.sub("^Generic [A-Za-z]+ error: ", "", line)


def _make_store(access: Access, location: Location) -> "ObjectStore":
    client: Any = {
        "connect_timeout": f"{CONNECT_TIMEOUT_S}s",
        "read_timeout": f"{READ_TIMEOUT_S}s",
        "timeout": f"{_REQUEST_TIMEOUT_S}s",
    }
    if access.proxy is not None:
        client["proxy_url"] = str(access.proxy)
    wait: Any = {
        "init_backoff": timedelta(milliseconds=access.backoff_ms),
        "max_backoff": timedelta(milliseconds=max(access.backoff_ms, access.backoff_max_ms)),
        "base": 2,
    }
    more: Any = {
        "prefix": location.prefix.rstrip("/") or None,
        "client_options": client,
        "retry_config": {"max_retries": access.retries, "backoff": wait},
    }
    if location.scheme == "gs":
        config = _google_config(location)
        client["allow_http"] = "http://" in str(config.get("service_account_key", ""))
        return GCSStore(location.bucket, config=config, **more)
    config = _azure_config(location)
    client["allow_http"] = str(config.get("endpoint", "")).startswith("http://")
    return AzureStore(location.bucket, config=config, **more)


def _google_config(location: Location) -> Any:
    given = location.credentials
    if emulator := os.environ.get("STORAGE_EMULATOR_HOST"):  # Google's own name for it
        url = emulator if "://" in emulator else f"http://{emulator}"
        nobody = {"client_email": "", "private_key": "", "private_key_id": ""}
        key = {"gcs_base_url": url, "disable_oauth": True, **nobody}
        return {"service_account_key": json.dumps(key)}
    if given.gcs_json:
        return {"service_account_key": given.gcs_json}
    return {"application_credentials": given.gcs_path} if given.gcs_path else {}


def _azure_config(location: Location) -> Any:
    given = location.credentials
    text = given.azure_connection or (
        "" if given.azure_key else os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    )
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    account = given.azure_account or parts.get("AccountName")
    endpoint = location.endpoint or parts.get("BlobEndpoint")
    if endpoint is None and "EndpointSuffix" in parts:
        protocol = parts.get("DefaultEndpointsProtocol", "https")
        endpoint = f"{protocol}://{account}.blob.{parts['EndpointSuffix']}"
    found = {
        "account_name": account, "account_key": given.azure_key or parts.get("AccountKey"),
        "sas_key": parts.get("SharedAccessSignature"), "endpoint": endpoint,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}
