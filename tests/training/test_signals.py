"""Stop requests: the first signal is noted, the second ends the process."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from lexforge.training.signals import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_noted(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested and stop.exit_code == 0
        os.kill(os.getpid(), number)
        assert stop.requested and stop.exit_code == 128 + number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_the_process(number):
    code = (
        "import os, time\n"
        "from lexforge.training.signals import StopRequest\n"
        "with StopRequest() as stop:\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    print(stop.signum, flush=True)\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == -number
    assert done.stdout == f"{int(number)}\n"


def test_in_another_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with StopRequest() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
