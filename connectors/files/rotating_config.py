"""Settings of the file sink with rotation: names that users of the S3 sinks know."""

import re
from collections.abc import Iterable
from typing import Final

from connect.api import Config, FieldError, Importance, Kind, setting

HIGH, MEDIUM, LOW = Importance.HIGH, Importance.MEDIUM, Importance.LOW
SUFFIXES: Final = {"none": "", "gzip": ".gz", "zstd": ".zst"}
_VARIABLE: Final = re.compile(r"\{\{\s*([a-z_]+)\s*(?::\s*padding\s*=\s*(true|false)\s*)?\}\}")
_VARIABLES: Final = ("topic", "partition", "start_offset")
_PADDED_DIGITS: Final = {"partition": 10, "start_offset": 20}


def _template_error(template: str) -> str | None:
    found = {name for name, _ in _VARIABLE.findall(template)}
    if unknown := sorted(found - set(_VARIABLES)):
        return f"The template has no variable {unknown[0]}: only {', '.join(_VARIABLES)}"
    if missing := [name for name in _VARIABLES if name not in found]:
        return f"The template must have {{{{{missing[0]}}}}}, so that no two files have one name"
    if template.startswith("/") or ".." in template.split("/"):
        return "The template must stay below output.path"
    return None


def _path_error(path: str) -> str | None:
    return None if path.startswith("/") else "The path must be absolute"


class RotatingFileSinkConfig(Config):
    output_path: str = setting(
        "output.path", importance=HIGH, check=_path_error, doc="The directory that files are written to.",
    )  # fmt: skip
    template: str = setting(
        "file.name.template", default="{{topic}}-{{partition}}-{{start_offset}}", importance=MEDIUM,
        check=_template_error,
        doc="The name of a file below output.path, with slashes for directories. "
            "{{start_offset:padding=true}} is filled with zeros.",
    )  # fmt: skip
    max_records: int = setting(
        "file.max.records", default=0, importance=MEDIUM, at_least=0,
        doc="A file is completed after this many records; 0: however many.",
    )  # fmt: skip
    rotate_bytes: int = setting(
        "rotate.bytes", kind=Kind.LONG, default=128 << 20, importance=MEDIUM,
        doc="A file is completed after this many bytes of records, before compression; -1: however many.",
    )  # fmt: skip
    rotate_interval_ms: int = setting(
        "rotate.interval.ms", kind=Kind.LONG, default=60_000, importance=MEDIUM,
        doc="A file is completed this long after its first record came, whether others follow or not; "
            "-1: never.",
    )  # fmt: skip
    compression: str = setting(
        "file.compression.type", default="none", importance=MEDIUM, choices=list(SUFFIXES),
        doc="none, gzip or zstd; the file's name ends in .gz or .zst.",
    )  # fmt: skip

    def check(self) -> Iterable[FieldError]:
        if not self.max_records and self.rotate_bytes < 0 and self.rotate_interval_ms < 0:
            yield FieldError(
                "rotate.interval.ms",
                "No file would ever be completed: set file.max.records, rotate.bytes or rotate.interval.ms",
            )

    def file_name(self, topic: str, partition: int, start_offset: int) -> str:
        """The name of the file that begins with this record."""
        values = {"topic": topic, "partition": partition, "start_offset": start_offset}

        def shown(variable: re.Match[str]) -> str:
            text = str(values[variable[1]])
            return text.zfill(_PADDED_DIGITS.get(variable[1], 0)) if variable[2] == "true" else text

        return _VARIABLE.sub(shown, self.template) + SUFFIXES[self.compression]
