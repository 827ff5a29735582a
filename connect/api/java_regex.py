"""Regular expressions as `java.util.regex` writes them, run by `re`.

The two agree on most; this translates where they do not: named groups, `\\Q…\\E`, POSIX and Unicode classes,
`\\h`, `\\R`, `\\z`, hexadecimal and octal escapes, flags in the middle, `$1` in replacements. As in Java,
`\\w`, `\\d` and `(?i)` mean ASCII. What cannot be translated (`[a-z&&[^b]]`) is refused, not misread.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

_CLASSES: Final[Mapping[str, str]] = {
    "Lower": "a-z", "Upper": "A-Z", "Alpha": "a-zA-Z", "Digit": "0-9", "Alnum": "a-zA-Z0-9",
    "Punct": r"!-/:-@\[-`{-~", "Graph": "!-~", "Print": " -~", "Blank": r" \t", "Cntrl": r"\x00-\x1f\x7f",
    "XDigit": "0-9a-fA-F", "Space": r" \t\n\x0b\f\r", "ASCII": r"\x00-\x7f",
    "IsDigit": "0-9", "IsAlphabetic": r"^\W\d_", "L": r"^\W\d_", "IsL": r"^\W\d_",
}  # fmt: skip
_ESCAPES: Final[Mapping[str, str]] = {
    "z": r"\Z", "Z": r"(?=\n?\Z)", "h": r"[ \t\xa0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000]",
    "R": r"(?:\r\n|[\n\x0b\f\r\x85\u2028\u2029])", "e": r"\x1b",
}  # fmt: skip
_TOKEN: Final = re.compile(
    r"""\\Q(?P<quoted>.*?)(?:\\E|\Z)
      | \\(?P<not>[pP])\{(?P<class>\w+)\}
      | \\x\{(?P<hex>[0-9a-fA-F]+)\}
      | \\0(?P<octal>[0-3]?[0-7]{1,2})
      | \\k<(?P<reference>\w+)>
      | \\(?P<escape>.)
      | \(\?<(?P<name>[a-zA-Z]\w*)>
      | \(\?(?P<flags>[imsxu]+)\)
      | (?P<mark>\[\^?\]?|[\]()]|&&)
    """,
    re.VERBOSE | re.DOTALL,
)


def compile_java(pattern: str) -> re.Pattern[str]:
    """The pattern for `re`; raises `ValueError` for one that is wrong or cannot be translated."""
    try:
        return re.compile(_translated(pattern), re.ASCII)
    except (re.error, OverflowError, RecursionError) as exc:
        raise ValueError(f"Invalid regex: {exc}") from None


def regex_error(pattern: str) -> str | None:
    """What is wrong with a pattern, for the `check` of a setting."""
    try:
        compile_java(pattern)
    except ValueError as exc:
        return str(exc)
    return None


def _translated(pattern: str) -> str:
    out: list[str] = []
    position = 0
    # For each open group, how many groups that hold a flag must be closed with it.
    flagged = [0]
    in_class = False
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if token is None:
            out.append(pattern[position])
            position += 1
            continue
        position = token.end()
        mark = token["mark"]
        if mark is None:
            if token["flags"] and not in_class:
                # `re` has flags for all of a pattern or for a group: from here to the end of this one.
                out.append(f"(?{token['flags'].replace('u', '')}:")
                flagged[-1] += 1
            elif token["name"] and not in_class:
                out.append(f"(?P<{token['name']}>")
                flagged.append(0)
            else:
                out.append(_escape(token, in_class))
        elif in_class:
            if mark.startswith("[") or mark == "&&":
                raise re.error("nested and intersected character classes are not supported", pattern)
            in_class = mark != "]"
            out.append(mark)
        elif mark.startswith("["):
            in_class = True
            # Right after the bracket, `]` is a character of the class.
            out.append(mark.replace("]", r"\]"))
        else:
            if mark == "(":
                flagged.append(0)
            elif mark == ")" and len(flagged) > 1:
                out.append(")" * flagged.pop())
            out.append(mark)
    out.append(")" * flagged[0])
    return "".join(out)


def _escape(token: re.Match[str], in_class: bool) -> str:
    if token["quoted"] is not None:
        return re.escape(token["quoted"])
    if token["class"]:
        return _class(token, in_class)
    if token["hex"]:
        return re.escape(chr(int(token["hex"], 16)))
    if token["octal"]:
        return re.escape(chr(int(token["octal"], 8)))
    if token["reference"]:
        return f"(?P={token['reference']})"
    if token["escape"] is None:  # flags or the opening of a named group inside a class: plain characters
        return token[0]
    if in_class and token["escape"] in "zZRh":
        return r" \t" if token["escape"] == "h" else token[0]
    return _ESCAPES.get(token["escape"], token[0])


def _class(token: re.Match[str], in_class: bool) -> str:
    members = _CLASSES.get(token["class"])
    if members is None:
        raise re.error(f"the character class {token[0]} is not supported")
    negated = (token["not"] == "P") != members.startswith("^")
    if in_class and negated:
        raise re.error(f"the character class {token[0]} is not supported inside brackets")
    members = members.removeprefix("^")
    return members if in_class else f"[{'^' if negated else ''}{members}]"


def java_replacement(template: str, pattern: re.Pattern[str]) -> Callable[[re.Match[str]], str]:
    """What a match becomes: `$1` and `${name}` are groups, a backslash takes the next character as it is.
    Raises `ValueError` for a group that the pattern does not have."""
    parts: list[str | int] = []
    position = 0
    for token in re.finditer(
        r"\\(?P<plain>.)|\$(?P<number>\d+)|\$\{(?P<name>\w+)\}|[\\$]", template, re.DOTALL
    ):
        parts.append(template[position : token.start()])
        position = token.end()
        if token["plain"] is not None:
            parts.append(token["plain"])
        elif token["number"] is not None:
            # As many digits as still name a group that exists.
            digits = token["number"]
            while len(digits) > 1 and int(digits) > pattern.groups:
                digits = digits[:-1]
            if int(digits) > pattern.groups:
                raise ValueError(f"No group {digits}")
            parts += [int(digits), token["number"][len(digits) :]]
        elif token["name"] is not None:
            if token["name"] not in pattern.groupindex:
                raise ValueError(f"No group with name {{{token['name']}}}")
            parts.append(pattern.groupindex[token["name"]])
        else:
            raise ValueError(f"Illegal group reference: {template}")
    parts.append(template[position:])
    return lambda match: "".join([part if isinstance(part, str) else match[part] or "" for part in parts])
