"""Java's regular expressions, and its replacements."""

import pytest

from connect.api.java_regex import compile_java, java_replacement


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(.*)-(\d+)", "topic-1"),
        (r"\Qa.b\E\.c", "a.b.c"),
        (r"(?<word>\w+) \k<word>", "so so"),
        (r"\p{Alpha}+\p{Digit}", "abc1"),
        (r"[\p{Upper}_]+", "A_B"),
        (r"\P{Digit}+", "abc"),
        (r"\x{41}\u0042\0103", "ABC"),
        (r"a++b", "aab"),
        (r"(?>a|ab)b", "ab"),
        (r"(?i)TOPIC", "topic"),
        (r"a(?i)B(?-i:c)", "abc"),
        (r"(a(?i)b)c", "aBc"),
        (r"\h\R", "\t\r\n"),
        (r"^a\z", "a"),
        (r"[]a]", "]"),
        (r"[^]a]", "b"),
        (r"[a(?i)]+", "?(i"),
        (r"server\.public\.(a|b)", "server.public.b"),
        (r"(?!x)a", "a"),
        (r"(?<=a)b|ab", "ab"),
    ],
)
def test_matches(pattern: str, text: str) -> None:
    assert compile_java(pattern).fullmatch(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\d", "٣"),  # ASCII only, as in Java
        (r"\w", "é"),
        (r"(?i)É", "é"),
        (r"\Qa.b\E", "axb"),
        (r"(a(?i)b)c", "abC"),
        (r"a\z", "a\n"),
        (r"TOPIC", "topic"),
    ],
)
def test_does_not_match(pattern: str, text: str) -> None:
    assert not compile_java(pattern).fullmatch(text)


@pytest.mark.parametrize(
    "pattern", ["(", "[a", "a**", "(?<n>a)(?<n>b)", r"\p{IsGreek}", "[a-z&&[^b]]", r"\k<n>", "a{2,1}"]
)
def test_what_is_wrong_or_has_no_translation_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="Invalid regex"):
        compile_java(pattern)


@pytest.mark.parametrize(
    ("pattern", "template", "text", "result"),
    [
        (r"(.*)-(\d+)", "$2_$1", "topic-1", "1_topic"),
        (r"(a)", "$12", "a", "a2"),
        (r"(a)(b)?", "[$2]", "a", "[]"),
        (r"t(?<name>.*)", "${name}!", "topic", "opic!"),
        (r".*", r"\$1 \\ \x", "a", r"$1 \ x"),
        (r"(.*)", "$0$0", "a", "aa"),
        (r".*", r"\1\g<0>", "a", "1g<0>"),
    ],
)
def test_replacement(pattern: str, template: str, text: str, result: str) -> None:
    compiled = compile_java(pattern)
    assert compiled.sub(java_replacement(template, compiled), text, count=1) == result


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("$9", "No group 9"),
        ("${n}", "No group with name {n}"),
        ("a$", "Illegal group reference"),
        ("a\\", "Illegal"),
    ],
)
def test_wrong_replacements(template: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        java_replacement(template, compile_java("(a)"))
