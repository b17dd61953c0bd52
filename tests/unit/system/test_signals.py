"""Signals set a flag, the second one ends the process, and the handlers that were there come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from equipot.system import signals
from equipot.system.signals import SIGNALS, stop_on_signal


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_only_sets_the_flag_and_handlers_come_back(number):
    before = [signal.getsignal(each) for each in SIGNALS]
    with stop_on_signal() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert stop() and stop.signal_name == signal.Signals(number).name
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), stop_on_signal():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_the_process_at_once(second):
    # By path: the package around it takes seconds to import, and the file itself needs the standard library only.
    code = (
        f"import runpy, time\nstop_on_signal = runpy.run_path({signals.__file__!r})['stop_on_signal']\n"
        "with stop_on_signal():\n    print('ready', flush=True)\n"
        "    while True:\n        time.sleep(0.05)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(second)
        assert process.wait(timeout=10) == -second
    finally:
        process.kill()
        process.stdout.close()


def test_outside_the_main_thread_nothing_is_caught():
    result = []

    def work():
        with stop_on_signal() as stop:
            result.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert result == [False]
