"""Templates of object names, and which of them are refused."""

import pytest

from connect.api.java_patterns import time_zone
from connectors.s3.aiven.template import Clock, Name, Template, check_template

AUGUST = 1_754_007_300_000  # 2025-08-01T00:15:00Z


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{{topic}}-{{partition}}-{{start_offset}}", "t-3-42"),
        ("{{ topic }}/{{partition:padding=true}}/{{start_offset:padding=true}}.x",
         "t/0000000003/00000000000000000042.x"),
        ("{{partition:padding=false}}{{ key }}", "3k"),
        ("{{timestamp:unit=yyyy}}{{timestamp:unit=MM}}{{timestamp:unit=dd}}-{{timestamp:unit=HH}}",
         "20250801-02"),
        ("{{utc_date}}|{{unknown}}|{{topic}|", "2025-08-01|{{unknown}}|{{topic}|"),
    ],
)  # fmt: skip
def test_names(text: str, name: str) -> None:
    template = Template.parse(text)
    clock = Clock(template, time_zone("Europe/Berlin"))
    times = dict(zip(clock.variables, clock.texts(AUGUST), strict=True))
    assert template.render(Name("t", 3, 42, "k", times)) == name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{topic}}", "unsupported set of template variables"),
        ("", "unsupported set of template variables"),
        ("{{key}}-{{timestamp:unit=dd}}", "unsupported set of template variables"),
        ("{{topic}}{{partition}}{{start_offset:}}", "a variable with a colon needs a parameter"),
        ("{{topic}}{{partition}}{{start_offset}}{{timestamp}}", "{{timestamp}} needs one of the parameters"),
        (
            "{{topic}}{{partition}}{{start_offset}}{{timestamp:unit=mm}}",
            "needs one of the parameters unit=",
        ),
        ("{{topic}}{{partition:padding=maybe}}{{start_offset}}", "needs one of the parameters padding=true"),
        ("{{topic:padding=true}}{{partition}}{{start_offset}}", "topic has no parameters"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    assert why in (check_template(text) or "")


@pytest.mark.parametrize(
    "text", ["{{key}}", "{{topic}}/{{key}}", "{{key}}{{topic}}{{partition}}{{start_offset}}"]
)
def test_keys_stand_with_or_without_an_offset(text: str) -> None:
    assert check_template(text) is None
