"""How a command ends."""

import subprocess
import sys

import pytest

READER_LEFT = """
import sys
from mjx_dm.ending import leave

def main():
    print("x" * 1_000_000, flush=True)
    return 0

leave(main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGPIPE there")
def test_a_command_whose_reader_has_gone_ends_without_a_traceback():
    command = subprocess.Popen(
        [sys.executable, "-c", READER_LEFT], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None and command.stderr is not None
    command.stdout.read(10)
    command.stdout.close()
    assert command.stderr.read() == b""
    assert command.wait() == 128 + 13
