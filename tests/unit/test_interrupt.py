"""Ctrl-C on the command line, of a main thread that never gets to it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from portico.cli.interrupt import PATIENCE

STUCK = """
import sys, time
from portico.cli import interrupt

def stuck():
    ready = False
    while True:
        try:
            if not ready:
                ready = True
                print("ready", flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            print("interrupted", flush=True)

interrupt.ready_to_leave()
if len(sys.argv) > 1:
    interrupt.wait_for("the batch system to remove the jobs", float(sys.argv[1]))
stuck.__globals__["__name__"] = "portico.somewhere"
stuck()
"""


def started(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_command_that_cannot_end_is_ended_within_two_seconds() -> None:
    process = started()
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    said, complained = process.communicate(timeout=20)
    assert PATIENCE - 0.2 < time.monotonic() - began < 2.5  # 0.5 s for a busy machine
    assert process.returncode == 130
    assert said == "interrupted\n", "it had its chance to end in good order"
    assert "left without waiting any longer for portico.somewhere.stuck; what is done is kept" in complained


def test_a_second_interrupt_ends_at_once() -> None:
    process = started("60")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == "\n"
    told = "waiting for the batch system to remove the jobs; Ctrl-C again leaves at once\n"
    assert process.stderr.readline() == told
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, complained = process.communicate(timeout=20)
    assert time.monotonic() - began < 1
    assert process.returncode == 130
    assert "left at once" in complained


def test_what_is_waited_for_has_a_limit() -> None:
    process = started("2.5")
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    process.communicate(timeout=20)
    assert 2.2 < time.monotonic() - began < 3.5
