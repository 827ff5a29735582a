"""Settings of `IcebergFormat`: the names of Apache Iceberg's Kafka Connect sink (`iceberg.…`)."""

import re
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final
from urllib.parse import quote

from pydantic import SecretStr

from connect.api import Config, FieldError, Importance, setting
from connectors.s3.checks import invalid

HIGH, MEDIUM, LOW = Importance.HIGH, Importance.MEDIUM, Importance.LOW
GROUP: Final = "Iceberg"
CATALOG_PREFIX: Final = "iceberg.catalog."
_TABLE_PROPERTIES: Final = "iceberg.tables.auto-create-props."
_WRITE_PROPERTIES: Final = "iceberg.tables.write-props."
_PARTITION_BY: Final = re.compile(r"iceberg\.table\.(?P<table>.+)\.partition-by")
_ROUTE_REGEX: Final = re.compile(r"iceberg\.table\.(?P<table>.+)\.route-regex")

CATALOG_TYPES: Final = ("sql", "rest", "glue", "hive")
# What Java's settings name by class.
_CATALOG_CLASSES: Final[Mapping[str, str]] = {
    "org.apache.iceberg.jdbc.JdbcCatalog": "sql",
    "org.apache.iceberg.rest.RESTCatalog": "rest",
    "org.apache.iceberg.aws.glue.GlueCatalog": "glue",
    "org.apache.iceberg.hive.HiveCatalog": "hive",
}
# Settings of Iceberg's sink that ask for something else than appended rows.
_REFUSED: Final[Mapping[str, str]] = {
    "iceberg.tables.upsert-mode-enabled": "rows are appended only",
    "iceberg.tables.cdc-field": "rows are appended only",
    "iceberg.tables.default-id-columns": "rows are appended only",
    "iceberg.tables.default-commit-branch": "commits go to the branch main",
    "iceberg.tables.schema-case-insensitive": "names of columns are compared as they are written",
}
_REFUSED_OF_A_TABLE: Final = re.compile(r"iceberg\.table\..+\.(id-columns|commit-branch)")


def _check_partition_by(value: str | None) -> str | None:
    if not value:
        return None
    from connectors.s3.iceberg.terms import problem_with

    return problem_with(value)


class IcebergSettings(Config):
    """Those that a sink has which can write tables."""

    patterns: ClassVar[tuple[re.Pattern[str], ...]] = (
        re.compile(r"iceberg\.(catalog|hadoop|kafka)\..+"),
        re.compile(r"iceberg\.tables\.(auto-create-props|write-props)\..+"),
        re.compile(r"iceberg\.table\..+\.(partition-by|route-regex|id-columns|commit-branch)"),
    )

    iceberg_catalog: str = setting(
        "iceberg.catalog", default="iceberg", group=GROUP, importance=MEDIUM,
        doc="The catalog's name. A SQL catalog keeps the tables of each name apart.",
    )  # fmt: skip
    iceberg_catalog_type: str | None = setting(
        "iceberg.catalog.type", default=None, group=GROUP, importance=HIGH, recommended=CATALOG_TYPES,
        check=lambda value: None if value is None or value.lower() in (*CATALOG_TYPES, "jdbc")
        else f"Catalog must be one of: {', '.join(CATALOG_TYPES)}",
        doc="The kind of catalog: sql (the default), rest, glue or hive.",
    )  # fmt: skip
    iceberg_catalog_uri: str | None = setting(
        "iceberg.catalog.uri", default=None, group=GROUP, importance=HIGH,
        doc="Where the catalog is: for sql an URL of SQLAlchemy or JDBC such as sqlite:////data/c.db or "
            "postgresql://user@host/database, for rest its http(s) URL.",
    )  # fmt: skip
    iceberg_catalog_warehouse: str | None = setting(
        "iceberg.catalog.warehouse", default=None, group=GROUP, importance=HIGH,
        doc="Below which location new tables are made (rest: the warehouse's name); for sql, if not set, "
            "topics.dir in the bucket.",
    )  # fmt: skip
    iceberg_catalog_password: SecretStr | None = setting(
        "iceberg.catalog.jdbc.password", default=None, group=GROUP, importance=MEDIUM,
        doc="The password for a SQL catalog; the user is iceberg.catalog.jdbc.user.",
    )  # fmt: skip
    iceberg_catalog_token: SecretStr | None = setting(
        "iceberg.catalog.token", default=None, group=GROUP, importance=MEDIUM,
        doc="The token for a REST catalog.",
    )  # fmt: skip
    iceberg_catalog_credential: SecretStr | None = setting(
        "iceberg.catalog.credential", default=None, group=GROUP, importance=MEDIUM,
        doc="The OAuth2 credentials for a REST catalog, as id:secret.",
    )  # fmt: skip
    iceberg_catalog_secret_key: SecretStr | None = setting(
        "iceberg.catalog.s3.secret-access-key", default=None, group=GROUP, importance=LOW,
        doc="The secret key for the warehouse, where it is another than the sink's.",
    )  # fmt: skip
    iceberg_tables: list[str] = setting(
        "iceberg.tables", default=[], group=GROUP, importance=HIGH,
        doc="The tables (namespace.table) that records go to: all of them, or those whose route-regex "
            "matches iceberg.tables.route-field. If not set, each topic has its table in iceberg.namespace.",
    )  # fmt: skip
    iceberg_namespace: str = setting(
        "iceberg.namespace", default="default", group=GROUP, importance=MEDIUM,
        check=lambda value: None if value else "String must be non-empty",
        doc="The namespace of tables that are named after topics; what is no letter, digit or _ in a topic's "
            "name becomes _ in the table's. Millstream's own setting.",
    )  # fmt: skip
    iceberg_route_field: str | None = setting(
        "iceberg.tables.route-field", default=None, group=GROUP, importance=LOW,
        doc="The field of a record that says which table it goes to.",
    )  # fmt: skip
    iceberg_dynamic: bool = setting(
        "iceberg.tables.dynamic-enabled", default=False, group=GROUP, importance=LOW,
        doc="Whether iceberg.tables.route-field holds the table's name (in lower case: namespace.table).",
    )  # fmt: skip
    iceberg_auto_create: bool = setting(
        "iceberg.tables.auto-create-enabled", default=True, group=GROUP, importance=MEDIUM,
        doc="Whether a table that is missing is made when its first record comes.",
    )  # fmt: skip
    iceberg_evolve: bool = setting(
        "iceberg.tables.evolve-schema-enabled", default=False, group=GROUP, importance=MEDIUM,
        doc="Whether tables get new columns and wider types when records need them; if not, such records are "
            "errors.",
    )  # fmt: skip
    iceberg_force_optional: bool = setting(
        "iceberg.tables.schema-force-optional", default=False, group=GROUP, importance=LOW,
        doc="Whether all columns of new tables may be null, whatever the records' schema says.",
    )  # fmt: skip
    iceberg_partition_by: str = setting(
        "iceberg.tables.default-partition-by", default="", group=GROUP, importance=MEDIUM,
        check=_check_partition_by,
        doc="How new tables are partitioned: columns and year, month, day, hour(column), bucket(column, N), "
            "truncate(column, N), separated by commas; for one table iceberg.table.NAME.partition-by.",
    )  # fmt: skip
    iceberg_commit_interval_ms: int = setting(
        "iceberg.control.commit.interval-ms", default=300_000, group=GROUP, importance=HIGH, at_least=0,
        doc="How often at the latest written rows are committed to the tables.",
    )  # fmt: skip

    @property
    def catalog_type(self) -> str:
        """sql, rest, glue or hive."""
        java = self.originals.get(CATALOG_PREFIX + "catalog-impl", "").strip()
        kind = (self.iceberg_catalog_type or _CATALOG_CLASSES.get(java) or "sql").lower()
        return "sql" if kind == "jdbc" else kind

    @property
    def catalog_properties(self) -> Mapping[str, str]:
        """What is said of the catalog, as pyiceberg reads it; secrets are in it."""
        given = {
            name.removeprefix(CATALOG_PREFIX): value.strip()
            for name, value in self.originals.items()
            if name.startswith(CATALOG_PREFIX)
        }
        user, password = given.pop("jdbc.user", None), given.pop("jdbc.password", None)
        for java in ("catalog-impl", "io-impl"):
            given.pop(java, None)
        if "s3.path-style-access" in given:
            path_style = given.pop("s3.path-style-access").lower() == "true"
            given["s3.force-virtual-addressing"] = "false" if path_style else "true"
        given["type"] = self.catalog_type
        if self.catalog_type == "sql" and "uri" in given:
            given["uri"] = sqlalchemy_url(given["uri"], user, password)
        return given

    @property
    def new_table_properties(self) -> Mapping[str, str]:
        return self._with_prefix(_TABLE_PROPERTIES)

    @property
    def write_properties(self) -> Mapping[str, str]:
        return self._with_prefix(_WRITE_PROPERTIES)

    def partition_by(self, table: str) -> str:
        """How a table of this name is partitioned when it is made."""
        return self.originals.get(f"iceberg.table.{table}.partition-by", self.iceberg_partition_by)

    def route_regex(self, table: str) -> str | None:
        return self.originals.get(f"iceberg.table.{table}.route-regex")

    def check_iceberg(self) -> Iterable[FieldError]:
        """What is wrong between these settings, where tables are written."""
        if self.catalog_type in ("sql", "rest", "hive") and not self.iceberg_catalog_uri:
            yield FieldError("iceberg.catalog.uri", f"A catalog of type {self.catalog_type} needs its URI")
        java = self.originals.get(CATALOG_PREFIX + "catalog-impl")
        if java is not None and self.iceberg_catalog_type is None and java.strip() not in _CATALOG_CLASSES:
            known = ", ".join(_CATALOG_CLASSES)
            yield invalid(CATALOG_PREFIX + "catalog-impl", java, f"Catalog must be one of: {known}")
        for name, value in self.originals.items():
            if (why := _refusal(name)) is not None and value.strip().lower() not in ("", "false", "main"):
                yield invalid(name, value, f"This is not supported: {why}")
            if _PARTITION_BY.fullmatch(name) and (problem := _check_partition_by(value)) is not None:
                yield invalid(name, value, problem)
            if _ROUTE_REGEX.fullmatch(name) and (problem := _regex_problem(value)) is not None:
                yield invalid(name, value, problem)
        if self.iceberg_dynamic and not self.iceberg_route_field:
            yield FieldError("iceberg.tables.route-field", "iceberg.tables.dynamic-enabled needs it")
        if self.iceberg_route_field and not self.iceberg_dynamic and not self.iceberg_tables:
            yield FieldError("iceberg.tables", "iceberg.tables.route-field chooses among them")
        for table in self.iceberg_tables:
            if "." not in table.strip("."):
                yield invalid("iceberg.tables", table, "A table is named with its namespace: namespace.table")

    def _with_prefix(self, prefix: str) -> Mapping[str, str]:
        return {
            name.removeprefix(prefix): value
            for name, value in self.originals.items()
            if name.startswith(prefix)
        }


def sqlalchemy_url(uri: str, user: str | None = None, password: str | None = None) -> str:
    """The URL for SQLAlchemy of one that may be JDBC's; PostgreSQL is reached by psycopg."""
    url = uri.removeprefix("jdbc:")
    if uri.startswith("jdbc:sqlite:"):
        return f"sqlite:///{url.removeprefix('sqlite:').removeprefix('file:')}"
    scheme, separator, rest = url.partition("://")
    if scheme in ("postgresql", "postgres"):
        scheme = "postgresql+psycopg"
    if user and "@" not in rest and scheme != "sqlite":
        rest = f"{quote(user, safe='')}{':' + quote(password, safe='') if password else ''}@{rest}"
    return f"{scheme}{separator}{rest}"


def _refusal(name: str) -> str | None:
    if _REFUSED_OF_A_TABLE.fullmatch(name):
        return "rows are appended to the branch main only"
    return _REFUSED.get(name)


def _regex_problem(value: str) -> str | None:
    try:
        re.compile(value)
    except re.error as exc:
        return f"This is no regular expression: {exc}"
    return None
