"""How to reach a bucket, and how objects are written there: what all S3 connectors have, each under the
names of its own settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from connectors.s3.locations import Location

if TYPE_CHECKING:
    from boto3 import Session as BotoSession
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 60
_CONNECTIONS_MAX: Final = 64
HTTP: Final = ("http://", "https://")

ASSUME_ROLE: Final = "AwsAssumeRoleCredentialsProvider"
ANONYMOUS: Final = "AnonymousCredentialsProvider"
AIVEN: Final = "AivenAWSCredentialsProvider"  # has its keys in settings of its own
# All but those three look where boto3 looks: environment, profile, web identity, container, instance.
_PROVIDERS: Final = (
    "DefaultAWSCredentialsProviderChain", ASSUME_ROLE, ANONYMOUS, AIVEN, "DefaultCredentialsProvider",
    "EnvironmentVariableCredentialsProvider", "ProfileCredentialsProvider",
    "InstanceProfileCredentialsProvider", "EC2ContainerCredentialsProviderWrapper",
    "WebIdentityTokenCredentialsProvider",
)  # fmt: skip


def simple_name(provider: str) -> str:
    """The name of a provider of credentials without its Java package."""
    return provider.rpartition(".")[2]


def check_provider(value: str | None) -> str | None:
    """What is wrong with the class of a provider of credentials."""
    if value is None or simple_name(value) in _PROVIDERS:
        return None
    return (
        f"Millstream cannot run Java classes; it knows these, by their simple names: {', '.join(_PROVIDERS)}"
    )


@dataclass(frozen=True, slots=True)
class SettingNames:
    """How a connector calls the settings that are told of in errors."""

    bucket: str = "s3.bucket.name"
    region: str = "s3.region"
    endpoint: str = "store.url"
    key_id: str = "aws.access.key.id"
    secret: str = "aws.secret.access.key"


@dataclass(frozen=True, slots=True)
class Role:
    """A role that the credentials assume (AWS STS)."""

    arn: str
    session_name: str = "millstream"
    external_id: str | None = None
    duration_s: int = 3600
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Encryption:
    """Server-side encryption: by S3, by a key of KMS, or by a key of the customer's (32 bytes)."""

    algorithm: str
    kms_key_id: str | None = None
    customer_key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Proxy:
    url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """With the credentials in it."""
        if not self.user:
            return self.url
        parts = urlsplit(self.url)
        who = f"{quote(self.user, safe='')}:{quote(self.password or '', safe='')}"
        return parts._replace(netloc=f"{who}@{parts.netloc.rpartition('@')[2]}").geturl()


@dataclass(frozen=True, slots=True)
class Access:
    """`secret` None: credentials are looked for in the environment, a profile, the container or instance.
    `retries` are those of one request, the first after `backoff_ms`. `location`: the bucket is not one of
    S3 but there, and all that only S3 has is not set."""

    bucket: str
    region: str | None = None
    endpoint: str | None = None
    key_id: str | None = None
    secret: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    anonymous: bool = False
    path_style: bool = True
    accelerate: bool = False
    role: Role | None = None
    proxy: Proxy | None = None
    encryption: Encryption | None = None
    acl: str | None = None
    retries: int = 3
    backoff_ms: int = 200
    backoff_max_ms: int = 5_000
    names: SettingNames = SettingNames()
    location: Location | None = None

    @property
    def scope(self) -> str:
        """What names the bucket, or its part, in source offsets."""
        prefix = self.location.prefix if self.location else ""
        return f"{self.bucket}/{prefix}".rstrip("/")

    @property
    def for_new_objects(self) -> Mapping[str, Any]:
        """Arguments of requests that begin an object."""
        found: dict[str, Any] = dict(self.for_parts)
        if self.acl:
            found["ACL"] = self.acl
        if self.encryption is not None and self.encryption.customer_key is None:
            found["ServerSideEncryption"] = self.encryption.algorithm
            if self.encryption.kms_key_id:
                found["SSEKMSKeyId"] = self.encryption.kms_key_id
        return found

    @property
    def for_parts(self) -> Mapping[str, Any]:
        """Arguments of every request that writes or reads bytes of an object."""
        if self.encryption is None or self.encryption.customer_key is None:
            return {}
        return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": self.encryption.customer_key}


def make_session(access: Access) -> "BotoSession":
    """Where clients come from that have these credentials. Importing boto3 costs 30 MB, so nobody does before
    this."""
    import boto3

    session = boto3.Session(
        aws_access_key_id=access.key_id or None,
        aws_secret_access_key=access.secret or None,
        aws_session_token=access.session_token or None,
        region_name=access.region,
    )
    if access.role is not None:
        session = boto3.Session(botocore_session=_with_role(session, access), region_name=access.region)
    return session


def make_client(access: Access, *, read_timeout_s: float = READ_TIMEOUT_S) -> "S3Client":
    """A boto3 client."""
    from botocore import UNSIGNED
    from botocore.config import Config as ClientConfig

    proxies = {"http": str(access.proxy), "https": str(access.proxy)} if access.proxy else None
    return make_session(access).client(
        "s3",
        endpoint_url=access.endpoint,
        config=ClientConfig(
            signature_version=UNSIGNED if access.anonymous else None,
            s3={
                "addressing_style": "path" if access.path_style else "virtual",
                "use_accelerate_endpoint": access.accelerate,
            },
            proxies=proxies,
            connect_timeout=CONNECT_TIMEOUT_S,
            max_pool_connections=_CONNECTIONS_MAX,
            read_timeout=read_timeout_s,
            retries={"total_max_attempts": 1},  # Bucket tries again itself, as the settings say
            # Not every store that speaks S3 knows the checksums that AWS does.
            request_checksum_calculation="when_required" if access.endpoint else "when_supported",
        ),
    )


def _with_role(session: Any, access: Access) -> "Session":
    """A session whose credentials are those of the role, renewed before they run out."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
    from botocore.session import get_session

    role = access.role
    assert role is not None, "the caller has looked"

    arguments: dict[str, Any] = {"RoleSessionName": role.session_name, "DurationSeconds": role.duration_s}
    if role.external_id:
        arguments["ExternalId"] = role.external_id
    make_sts = partial(session.client, endpoint_url=role.endpoint)
    own = session.get_credentials()
    fetcher = AssumeRoleCredentialFetcher(make_sts, own, role.arn, extra_args=arguments)
    with_role = get_session()
    # Botocore has no public way to give a session credentials that renew themselves.
    with_role._credentials = DeferredRefreshableCredentials(  # type: ignore[attr-defined]
        fetcher.fetch_credentials, "assume-role"
    )
    return with_role
