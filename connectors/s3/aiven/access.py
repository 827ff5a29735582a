"""What the S3 sink and the S3 source have in common under Aiven's names, the older names too."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from pydantic import SecretStr

from connect.api import FieldError, Importance, Kind, setting
from connectors.s3.access import (
    ANONYMOUS,
    Access,
    Encryption,
    Role,
    SettingNames,
    check_provider,
    simple_name,
)
from connectors.s3.checks import key_pair_errors, revealed
from connectors.s3.locations import KNOWN, OtherStoresConfig, location_errors

LOW, LONG = Importance.LOW, Kind.LONG

FIELDS: Final = ("key", "value", "offset", "timestamp", "headers")
COMPRESSIONS: Final[Mapping[str, str]] = {"none": "", "gzip": ".gz", "snappy": ".snappy", "zstd": ".zst"}
_STS: Final = "https://sts.amazonaws.com"
_REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d+|aws(-[a-z]+)*-global")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NAMES: Final = SettingNames("aws.s3.bucket.name", "aws.s3.region", "aws.s3.endpoint")


def any_case(message: str, *choices: str) -> Callable[[str | None], str | None]:
    """A check for one of these, in any case, or nothing."""
    return lambda value: None if value is None or value.lower() in choices else message


def quoted(names: Iterable[str]) -> str:
    """As Aiven lists what is allowed."""
    return ", ".join(f"'{name}'" for name in names)


def check_fields(value: list[str] | None) -> str | None:
    """What is wrong with the fields of a row."""
    if value is None:
        return None
    if not any(value):
        return "cannot be empty"
    return None if set(value) <= set(FIELDS) else f"supported values are: {quoted(FIELDS)}"


def _check_bucket(value: str | None) -> str | None:
    if value is None or (_BUCKET.fullmatch(value) and ".." not in value):
        return None
    return "Illegal bucket name: 3 to 63 small letters, digits, dots and hyphens"


def _check_region(value: str | None) -> str | None:
    fits = value is None or _REGION.fullmatch(value)
    return None if fits else "Regions are named like us-east-1"


def _check_endpoint(value: str | None) -> str | None:
    if value is None or ("://" in value and not re.search(r"\s", value)):
        return None
    return f"The endpoint must be a URL that begins with {KNOWN}"


check_compression = any_case(quoted(COMPRESSIONS), *COMPRESSIONS)


class AivenConfig(OtherStoresConfig):
    """In the order in which the Java connectors list them. What has no effect is accepted."""

    access_key_id: SecretStr | None = setting(
        "aws.access.key.id", default=None, group="AWS",
        doc="The access key. Without one, the environment, a profile, the container or instance give it.",
    )  # fmt: skip
    secret_access_key: SecretStr | None = setting(
        "aws.secret.access.key", default=None, group="AWS",
        doc="The secret that belongs to aws.access.key.id.",
    )  # fmt: skip
    credentials_provider: str | None = setting(
        "aws.credentials.provider", kind=Kind.CLASS, default=None, group="AWS", check=check_provider,
        doc="AWS's own providers by their names. Without aws.access.key.id the usual places are looked at: "
            "environment, profile, container, instance.",
    )  # fmt: skip
    bucket_name: str | None = setting(
        "aws.s3.bucket.name", default=None, group="AWS", check=_check_bucket, doc="The bucket.",
    )  # fmt: skip
    sse_algorithm: str | None = setting(
        "aws.s3.sse.algorithm", default=None, group="AWS",
        check=any_case("Supported values are: 'AES256', 'aws:kms'", "", "aes256", "aws:kms", "aws:kms:dsse"),
        doc="The algorithm of server-side encryption: AES256 or aws:kms.",
    )  # fmt: skip
    s3_endpoint: str | None = setting(
        "aws.s3.endpoint", default=None, importance=LOW, group="AWS", check=_check_endpoint,
        doc="The endpoint of an S3-compatible store; that of AWS if not set.",
    )  # fmt: skip
    s3_region: str | None = setting(
        "aws.s3.region", default=None, group="AWS", check=_check_region, doc="The region of the bucket.",
    )  # fmt: skip
    s3_prefix: str | None = setting(
        "aws.s3.prefix", default=None, group="AWS",
        doc="What names of objects begin with, in the old style: they go on as topic-partition-offset, with "
            "20 digits, and file.name.template is not used.",
    )  # fmt: skip
    fetch_page_size: int = setting(
        "aws.s3.fetch.page.size", default=10, group="AWS", doc="Accepted and not needed.",
    )  # fmt: skip
    fetch_buffer_size: int = setting(
        "aws.s3.fetch.buffer.size", default=1000, group="AWS",
        doc="Accepted and not needed.",
    )  # fmt: skip
    role_arn: str | None = setting(
        "aws.sts.role.arn", default=None, group="AWS STS", doc="The role to assume.",
    )  # fmt: skip
    role_session: str | None = setting(
        "aws.sts.role.session.name", default=None, group="AWS STS",
        doc="How the session with the role is called in AWS's logs.",
    )  # fmt: skip
    role_duration_s: int = setting(
        "aws.sts.role.session.duration", default=3600, group="AWS STS", at_least=900, at_most=43200,
        doc="How many seconds a session lasts before it is renewed.",
    )  # fmt: skip
    role_external_id: str | None = setting(
        "aws.sts.role.external.id", default=None, group="AWS STS",
        doc="The external id that the role asks for.",
    )  # fmt: skip
    sts_endpoint: str = setting(
        "aws.sts.config.endpoint", default=_STS, group="AWS STS", doc="The endpoint of STS.",
    )  # fmt: skip
    old_access_key_id: SecretStr | None = setting(
        "aws_access_key_id", default=None, doc="The old name of aws.access.key.id."
    )
    old_secret_access_key: SecretStr | None = setting(
        "aws_secret_access_key", default=None, doc="The old name of aws.secret.access.key."
    )
    old_bucket: str | None = setting(
        "aws_s3_bucket", default=None, check=_check_bucket, doc="The old name of aws.s3.bucket.name."
    )
    old_endpoint: str | None = setting(
        "aws_s3_endpoint", default=None, importance=LOW, check=_check_endpoint,
        doc="The old name of aws.s3.endpoint.",
    )  # fmt: skip
    old_region: str | None = setting(
        "aws_s3_region", default=None, check=_check_region, doc="The old name of aws.s3.region."
    )
    old_prefix: str | None = setting("aws_s3_prefix", default=None, doc="The old name of aws.s3.prefix.")
    old_fields: list[str] | None = setting(
        "output_fields", default=None, check=check_fields, doc="The old name of format.output.fields."
    )
    old_compression: str | None = setting(
        "output_compression", default=None, check=check_compression,
        doc="The old name of file.compression.type.",
    )  # fmt: skip
    backoff_ms: int = setting(
        "aws.s3.backoff.delay.ms", kind=LONG, default=100, group="S3 retry backoff policy", at_least=1,
        doc="How long to wait before a failed request is tried again; doubled for each further try.",
    )  # fmt: skip
    backoff_max_ms: int = setting(
        "aws.s3.backoff.max.delay.ms", kind=LONG, default=20_000, group="S3 retry backoff policy",
        at_least=1, doc="The longest such wait.",
    )  # fmt: skip
    backoff_retries: int = setting(
        "aws.s3.backoff.max.retries", default=3, group="S3 retry backoff policy", at_least=0, at_most=30,
        doc="How often a failed request is tried again at once.",
    )  # fmt: skip

    @property
    def bucket(self) -> str:
        """The name that `check` has seen."""
        return self.bucket_name or self.old_bucket or ""

    @property
    def prefix(self) -> str | None:
        """What names of objects begin with."""
        return self.s3_prefix if self.s3_prefix is not None else self.old_prefix

    @property
    def access(self) -> Access:
        """How to reach the bucket."""
        url = self.s3_endpoint or self.old_endpoint
        location = self.location(url, self.bucket)
        role, encryption = None, None
        if self.role_arn:
            endpoint = self.sts_endpoint if self.sts_endpoint != _STS else None
            session = self.role_session or "millstream"
            role = Role(self.role_arn, session, self.role_external_id, self.role_duration_s, endpoint)
        if self.sse_algorithm:
            name = self.sse_algorithm.lower()
            encryption = Encryption("AES256" if name == "aes256" else name)
        return Access(
            bucket=self.bucket,
            region=self.s3_region or self.old_region,
            endpoint=None if location else url,
            key_id=revealed(self.access_key_id) or revealed(self.old_access_key_id),
            secret=revealed(self.secret_access_key) or revealed(self.old_secret_access_key),
            anonymous=simple_name(self.credentials_provider or "") == ANONYMOUS,
            role=role,
            encryption=encryption,
            retries=self.backoff_retries,
            backoff_ms=self.backoff_ms,
            backoff_max_ms=self.backoff_max_ms,
            names=_NAMES,
            location=location,
        )

    @property
    def _only_s3(self) -> Mapping[str, object]:
        """What no other store has."""
        return {"aws.s3.sse.algorithm": self.sse_algorithm}

    def check(self) -> Iterable[FieldError]:
        if not self.bucket:
            why = "Neither aws.s3.bucket.name nor aws_s3_bucket is set; name the bucket"
            yield FieldError("aws.s3.bucket.name", why)
        yield from key_pair_errors(
            revealed(self.access_key_id) or revealed(self.old_access_key_id),
            revealed(self.secret_access_key) or revealed(self.old_secret_access_key),
        )
        url = self.s3_endpoint or self.old_endpoint
        yield from location_errors("aws.s3.endpoint", url, self.bucket, self._only_s3)
