"""Every usual way to stop is heard, and put back as it was."""

import signal
import threading

import pytest

from mjx_dm.runs.signals import stop_on_signal

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


@pytest.fixture(autouse=True)
def as_usual():
    """Whoever starts the tests may have signals ignored, as nohup does."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in NUMBERS[1:]:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_stops_and_all_act_as_usual_after_it(number):
    said = []
    with stop_on_signal(said.append) as stop:
        signal.raise_signal(number)
        assert stop.is_set() and stop.number == number
        assert len(said) == 1 and said[0].startswith("Stopping")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_handlers_are_put_back_and_what_is_ignored_stays_ignored():
    def own(number, frame):
        pass

    signal.signal(signal.SIGTERM, own)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_on_signal(print) as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop.is_set(), "as nohup wants it"
        assert signal.getsignal(signal.SIGTERM) is not own
    assert signal.getsignal(signal.SIGTERM) is own
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_signals_are_left_alone():
    found = []

    def run():
        with stop_on_signal(print) as stop:
            found.append((stop.is_set(), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [(False, signal.SIG_DFL)]


def test_a_line_that_was_being_written_does_not_keep_a_signal_out():
    def busy(text):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    with stop_on_signal(busy) as stop:
        signal.raise_signal(signal.SIGTERM)
    assert stop.number == signal.SIGTERM
