"""Processes at the other end of pipes: dead ones whose children live, stopped ones, messages in pieces."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.worker.child import Inbox, end, has_died, is_stopped, post, start
from portico.worker.wire import Incoming, send

ANSWERS = """
import os, sys, time
from portico.worker.wire import receive, send
source, sink = os.fdopen(0, "rb"), os.fdopen(1, "wb")
while True:
    content, blobs = receive(source)
    if content["op"] == "fork":
        child = os.fork()
        if child == 0:
            time.sleep(600)
        sink.write(b"half of a mess")
        sink.flush()
        os.kill(os.getpid(), 9)
    send(sink, content, blobs)
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with open(os.devnull, "wb") as log:  # noqa: PTH123
        started = start([sys.executable, "-c", ANSWERS], log, dict(os.environ))
    yield started
    end(started)


def posted(process: subprocess.Popen[bytes], operation: str, size: int = 10) -> Inbox:
    assert process.stdin is not None
    inbox = Inbox(process)
    post(process.stdin, {"op": operation}, [bytes(size)])
    return inbox


def answer(inbox: Inbox, seconds: float = 20) -> tuple[str, int] | None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (message := inbox.take()) is not None:
            return message[0]["op"], len(message[1][0])
    return None


def test_answers_of_any_size_come(process: subprocess.Popen[bytes]) -> None:
    for size in (0, 10, 3_000_000):
        assert answer(posted(process, "echo", size)) == ("echo", size)


def test_a_dead_process_is_seen_though_its_child_holds_the_pipe(process: subprocess.Popen[bytes]) -> None:
    assert answer(posted(process, "echo")) == ("echo", 10)
    inbox, began = posted(process, "fork"), time.monotonic()
    with pytest.raises(EOFError):
        answer(inbox)
    assert time.monotonic() - began < 2
    assert has_died(process)
    left = [p for p in psutil.process_iter(["pid"]) if p.pid != process.pid and group(p.pid) == process.pid]
    assert len(left) == 1
    assert end(process) == -signal.SIGKILL
    left[0].wait(5)


def group(number: int) -> int:
    try:
        return os.getpgid(number)
    except OSError:
        return -1


def test_a_stopped_process_stops_nobody_else(process: subprocess.Popen[bytes]) -> None:
    assert answer(posted(process, "echo")) == ("echo", 10)
    os.kill(process.pid, signal.SIGSTOP)
    while not is_stopped(process):
        time.sleep(0.01)
    began = time.monotonic()
    inbox = posted(process, "echo", 10_000_000)
    assert inbox.take() is None
    assert time.monotonic() - began < 1
    assert not has_died(process)
    os.kill(process.pid, signal.SIGCONT)
    assert answer(inbox) == ("echo", 10_000_000)
    os.kill(process.pid, signal.SIGSTOP)
    posted(process, "echo", 10_000_000)
    began = time.monotonic()
    assert end(process) == -signal.SIGKILL
    assert time.monotonic() - began < 1


@given(blobs=st.lists(st.binary(max_size=50), max_size=3), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_a_message_may_come_in_pieces(blobs: list[bytes], cuts: list[int]) -> None:
    stream = io.BytesIO()
    send(stream, {"op": "é"}, blobs)
    data, incoming, first = stream.getvalue(), Incoming(), 0
    for last in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        assert incoming.message() is None
        incoming.feed(data[first:last])
        first = last
    assert incoming.message() == ({"op": "é"}, blobs)


def test_the_status_of_a_process_is_told(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        ended = start([sys.executable, "-c", "raise SystemExit(3)"], log, dict(os.environ))
        while not has_died(ended):
            time.sleep(0.01)
        assert end(ended) == 3
