"""How a command ends."""

import hashlib
import signal
import subprocess
import sys
import threading

import pytest

from mjx_dm.ending import interruptible

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


@pytest.mark.skipif(sys.platform == "win32", reason="no pthread_kill there")
def test_an_interruption_is_heard_while_compiled_code_runs():
    ended = []

    def work():
        try:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 5_000_000)  # some seconds, deaf to signals
        finally:
            ended.append(True)

    main = threading.main_thread().ident
    # Tests that run in the background of a shell begin with a SIGINT that is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            interruptible(work)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not ended


def test_what_is_done_aside_returns_and_raises_as_if_it_were_not():
    assert interruptible(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)
