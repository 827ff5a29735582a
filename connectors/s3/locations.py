"""Stores other than S3, named by the URL that else is that of an endpoint: Google Cloud Storage, Azure Blob
Storage, and folders.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from connect.api import Config, FieldError, setting

Scheme = Literal["gs", "az", "file"]

_SCHEMES: Final[Mapping[str, Scheme]] = {
    "gs": "gs", "az": "az", "azure": "az", "abfs": "az", "abfss": "az", "file": "file",
}  # fmt: skip
_BLOB_HOST: Final = re.compile(r"(?P<account>[^.]+)\.(?:blob|dfs)\.(?:core\.|storage\.).+")
KNOWN: Final = "http:// or https://, or with gs://, az://, abfss:// or file:///"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the settings say; where they say nothing, the environment is asked."""

    gcs_path: str | None = None
    gcs_json: str | None = field(default=None, repr=False)
    azure_account: str | None = None
    azure_key: str | None = field(default=None, repr=False)
    azure_connection: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Location:
    """Where objects are. `bucket` is an Azure container, or a folder as an absolute path. `prefix` begins all
    names, and ends with a slash if it is not empty."""

    scheme: Scheme
    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    credentials: Credentials = Credentials()

    @property
    def name(self) -> str:
        """What tells it from others of its scheme."""
        return f"{self.bucket}/{self.prefix}".rstrip("/")

    def url(self, key: str) -> str:
        """An object's."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}{key}"


def locate(url: str | None, bucket: str, credentials: Credentials = Credentials()) -> Location | None:
    """Where the bucket is, or None if it is one of S3, perhaps at the endpoint `url`. Raises `ValueError`.

    A URL may name the bucket too, and a prefix behind it: `gs://bucket/prefix`.
    """
    if not url:
        return None
    parts = urlsplit(url)
    blob_host = _BLOB_HOST.fullmatch(parts.hostname or "") if parts.scheme in ("http", "https") else None
    if parts.scheme in ("http", "https") and blob_host is None:
        return None
    scheme = "az" if blob_host else _SCHEMES.get(parts.scheme)
    if scheme is None:
        raise ValueError(f"The URL must begin with {KNOWN}")
    if parts.query or parts.fragment:
        raise ValueError("The URL cannot have a query or a fragment; credentials have settings of their own")
    path = [part for part in unquote(parts.path).split("/") if part]
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or ".." in path:
            raise ValueError("A folder is given by its absolute path, as in file:///var/lib/objects")
        return Location("file", "/" + "/".join([*path, bucket]))
    named, account = parts.netloc, None
    if blob_host:
        named, account = (path.pop(0) if path else ""), blob_host["account"]
    elif "@" in named:  # abfss://container@account.dfs.core.windows.net
        named, _, host = named.partition("@")
        found = _BLOB_HOST.fullmatch(host)
        account = found["account"] if found else host
    if named not in ("", bucket):
        raise ValueError(
            f"The URL names the bucket {named}, but {bucket!r} is set; name the same, or none here"
        )
    if account and credentials.azure_account is None:
        credentials = Credentials(
            credentials.gcs_path, credentials.gcs_json, account, credentials.azure_key,
            credentials.azure_connection,
        )  # fmt: skip
    endpoint = f"{parts.scheme}://{parts.netloc}" if blob_host else None
    prefix = "".join(f"{part}/" for part in path)
    return Location(scheme, bucket, prefix, endpoint, credentials)


class OtherStoresConfig(Config):
    """Credentials for stores other than S3."""

    gcs_credentials_path: str | None = setting(
        "gcs.credentials.path", default=None, internal=True,
        doc="The file with the key of a Google service account; if not set, GOOGLE_APPLICATION_CREDENTIALS "
            "and the machine's own account are looked at.",
    )  # fmt: skip
    gcs_credentials_json: SecretStr | None = setting(
        "gcs.credentials.json", default=None, internal=True,
        doc="The key of a Google service account itself, as JSON.",
    )  # fmt: skip
    azure_account: str | None = setting(
        "azblob.account.name", default=None, internal=True,
        doc="The Azure storage account; if not set, that of the URL or AZURE_STORAGE_ACCOUNT_NAME.",
    )  # fmt: skip
    azure_key: SecretStr | None = setting(
        "azblob.account.key", default=None, internal=True,
        doc="The key of the Azure storage account; if not set, Azure's environment variables and the "
            "machine's identity are looked at.",
    )  # fmt: skip
    azure_connection: SecretStr | None = setting(
        "azure.storage.connection.string", default=None, internal=True,
        doc="All of that in one, as Azure's portal shows it; if not set, AZURE_STORAGE_CONNECTION_STRING.",
    )  # fmt: skip

    @property
    def _other_credentials(self) -> Credentials:
        def text(secret: SecretStr | None) -> str | None:
            return secret.get_secret_value() or None if secret is not None else None

        return Credentials(
            self.gcs_credentials_path or None, text(self.gcs_credentials_json), self.azure_account or None,
            text(self.azure_key), text(self.azure_connection),
        )  # fmt: skip

    def location(self, url: str | None, bucket: str) -> Location | None:
        """As `locate`, with the credentials that are set."""
        return locate(url, bucket, self._other_credentials)


def location_errors(
    setting_name: str, url: str | None, bucket: str, only_s3: Mapping[str, object]
) -> Iterable[FieldError]:
    """What is wrong with the URL of a store. `only_s3` are settings, with their values, that no other store
    has: it must not seem as if they were followed."""
    try:
        location = locate(url, bucket)
    except ValueError as exc:
        yield FieldError(setting_name, f"Invalid value {url} for configuration {setting_name}: {exc}")
        return
    if location is not None:
        for name, value in only_s3.items():
            if value:
                yield FieldError(
                    name, f"What {name} asks for is there on S3 only, and {setting_name} is {url}"
                )
