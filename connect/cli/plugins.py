"""`millstream plugin`: a project to begin a plugin with."""

import keyword
import re
import sys
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Annotated, Final

import typer

from connect.cli.failure import USAGE, Failure
from connect.version import __version__

app = typer.Typer(no_args_is_help=True, help="Begin a plugin of your own.")

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_NAME_LENGTH_MAX: Final = 30  # so that no line of the project gets too long, and none is broken
# What the project could not import beside its own package.
_TAKEN: Final = frozenset({"broker", "connect", "connectors", "millstream", "pytest", "setuptools", "tests"})


@app.callback()
def plugin() -> None:
    """Begin a plugin of your own."""


class Kind(StrEnum):
    """What can be made."""

    SOURCE = "source"
    SINK = "sink"
    TRANSFORM = "transform"
    PREDICATE = "predicate"
    CONVERTER = "converter"
    CONFIG_PROVIDER = "config-provider"


@dataclass(frozen=True, slots=True)
class _About:
    """`title` is what the README calls it, `suffix` ends the class's name; configs may leave out
    `optional_suffix`."""

    title: str
    suffix: str
    group: str
    optional_suffix: str = ""


_ABOUT: Final = {
    Kind.SOURCE: _About("source connector", "SourceConnector", "millstream.connectors", "Connector"),
    Kind.SINK: _About("sink connector", "SinkConnector", "millstream.connectors", "Connector"),
    Kind.TRANSFORM: _About("transform", "Transform", "millstream.transforms"),
    Kind.PREDICATE: _About("predicate", "Predicate", "millstream.predicates"),
    Kind.CONVERTER: _About("converter", "Converter", "millstream.converters", "Converter"),
    Kind.CONFIG_PROVIDER: _About(
        "config provider", "ConfigProvider", "millstream.config_providers", "ConfigProvider"
    ),
}


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the project, such as my-weather.", show_default=False)],
    kind: Annotated[Kind, typer.Option(help="What to make.")] = Kind.SOURCE,
    directory: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Where to make the project's directory.")
    ] = Path(),
) -> None:
    """Make a project directory with a small plugin that works, its tests and a README."""
    package = _package_of(name)
    target = directory / name
    contents = _contents(name, package, kind)
    try:
        target.mkdir()
    except FileExistsError:
        raise Failure(
            f"{target} exists already, and nothing is overwritten: choose another name or --directory", USAGE
        ) from None
    except OSError as exc:
        raise Failure(f"{target} cannot be made: {exc.strerror}") from None
    for path, text in contents.items():
        file = target / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    typer.echo(f"{target}: a {_ABOUT[kind].title}. Next: cd {target} && pip install -e '.[dev]' && pytest")


def _package_of(name: str) -> str:
    """The package's name for the project's; `Failure` for a name that cannot be one."""
    if not _NAME.fullmatch(name) or len(name) > _NAME_LENGTH_MAX:
        raise Failure(
            f"plugin name {name!r} will not do: use lower-case letters, digits and hyphens, a letter first, "
            f"at most {_NAME_LENGTH_MAX} characters, such as my-weather",
            USAGE,
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _TAKEN:
        raise Failure(
            f"plugin name {name!r} will not do: Python has a module or word of that name. "
            f"Add to it, such as my-{name}",
            USAGE,
        )
    return package


def _contents(name: str, package: str, kind: Kind) -> dict[str, str]:
    """The project's files by their path."""
    about = _ABOUT[kind]
    prefix = "".join(part.capitalize() for part in package.split("_"))
    class_ = _without_end(prefix, about) + about.suffix
    values = {
        "name": name,
        "package": package,
        "prefix": prefix,
        "class": class_,
        "class_name": f"{package}.{class_}",
        "alias": class_.removesuffix(about.optional_suffix),
        "kind": about.title,
        "group": about.group,
        "millstream_version": __version__,
    }
    common = files("connect.cli") / "plugin_templates"
    own = common / kind.value
    values["usage"] = _filled(own / "usage.tmpl", values).strip()
    return {
        "pyproject.toml": _filled(common / "pyproject.toml.tmpl", values),
        "README.md": _filled(common / "README.md.tmpl", values),
        ".gitignore": _filled(common / "gitignore.tmpl", values),
        f"{package}/__init__.py": _filled(own / "module.py.tmpl", values),
        f"{package}/py.typed": "",
        f"tests/test_{package}.py": _filled(own / "test.py.tmpl", values),
    }


def _without_end(prefix: str, about: _About) -> str:
    """The name's part of the class's name: `orders-source` makes OrdersSourceConnector."""
    for end in (about.suffix, about.suffix.removesuffix(about.optional_suffix)):
        if end and prefix.endswith(end) and prefix != end:
            return prefix.removesuffix(end)
    return prefix


def _filled(template: Traversable, values: dict[str, str]) -> str:
    return Template(template.read_text(encoding="utf-8")).substitute(values)
