"""Stacks of another process, from faulthandler's output."""

from pathlib import Path

import pytest

from connect.runtime.stacks import StackOffer, show_stacks

MAIN, CONTROL, OTHER = 0x7F01, 0x7F02, 0x7F03


@pytest.mark.parametrize("name", ["", " [upload]"])  # Python 3.14 tells the names
def test_the_main_thread_comes_first_and_the_latest_call_last(tmp_path: Path, name: str) -> None:
    source = tmp_path / "plugin.py"
    source.write_text("def poll():\n    read()\n\ndef read():\n    wait()\n")
    dump = "\n".join([
        f"Thread 0x{OTHER:016x}{name} (most recent call first):",
        f'  File "{source}", line 5 in read',
        "",
        f"Thread 0x{CONTROL:016x} (most recent call first):",
        '  File "task_channel.py", line 1 in _listen',
        "",
        f"Current thread 0x{MAIN:016x} (most recent call first):",
        f'  File "{source}", line 5 in read',
        f'  File "{source}", line 2 in poll',
        '  File "<frozen>", line ??? in run',
    ])  # fmt: skip
    assert show_stacks(dump, StackOffer(3, MAIN, [CONTROL])) == "\n".join([
        "Main thread (most recent call last):",
        '  File "<frozen>", line 0, in run',
        f'  File "{source}", line 2, in poll',
        "    read()",
        f'  File "{source}", line 5, in read',
        "    wait()",
        f"Thread {'upload' if name else '0x7f03'} (most recent call last):",
        f'  File "{source}", line 5, in read',
        "    wait()",
    ])  # fmt: skip
