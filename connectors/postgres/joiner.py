"""Fragments of JSON → JSON objects: of one row, or of many by column."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from json.encoder import encode_basestring as quote
from operator import itemgetter
from typing import Any, Final

from connectors.postgres.masks import Change

_NULL: Final = "null"

Column = Sequence[str]


class Joiner:
    """Makes the JSON object of a row from the fragments of its columns.

    Each of `fields` has the place of its fragment, its name, and its JSON where that is always the same. Each
    of `changes` is a mask: the place, the placeholder of a value that was not sent, which stays what it is as
    null does, and what to do with others. `template` takes the fragments of `places`.
    """

    def __init__(
        self,
        fields: Sequence[tuple[int, str, str | None]],
        changes: Sequence[tuple[int, str, Change]] = (),
    ) -> None:
        shown = ",".join(
            as_template(quote(name)) + ":" + ("%s" if constant is None else as_template(constant))
            for _, name, constant in fields
        )
        self.template = f"{{{shown}}}"
        self.places = tuple(place for place, _, constant in fields if constant is None)
        self._pick: Callable[[Sequence[str]], Any] = itemgetter(*self.places) if self.places else _nothing
        self._changes = changes

    def __call__(self, fragments: Sequence[str]) -> str:
        if self._changes:
            shown = list(fragments)
            for place, placeholder, change in self._changes:
                shown[place] = _changed(shown[place], placeholder, change)
            fragments = shown
        joined: str = self.template % self._pick(fragments)
        return joined

    def rows(
        self, columns: Sequence[Column], count: int, more: Sequence[Column] = ()
    ) -> Iterable[tuple[str, ...]]:
        """What `template` takes for each of `count` rows, and behind it what `more` columns have."""
        shown = list(columns)
        for place, placeholder, change in self._changes:
            shown[place] = [_changed(fragment, placeholder, change) for fragment in shown[place]]
        taken = [*(shown[place] for place in self.places), *more]
        return zip(*taken, strict=True) if taken else repeat((), count)

    def many(self, columns: Sequence[Column], count: int) -> list[bytes]:
        """The objects of `count` rows."""
        return fill(self.template, self.rows(columns, count))


def _nothing(fragments: Sequence[str]) -> tuple[()]:
    return ()


def as_template(json: str) -> str:
    """JSON to stand in a template as it is."""
    return json.replace("%", "%%")


def fill(template: str, rows: Iterable[tuple[str, ...]]) -> list[bytes]:
    """The template with each of the rows, in UTF-8."""
    return list(map(str.encode, map(template.__mod__, rows)))


def _changed(fragment: str, placeholder: str, change: Change) -> str:
    return fragment if fragment in (_NULL, placeholder) else change(fragment)
