"""Disks that fail: calls of the system that return errors, small and read-only file systems, other users."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from traceback import format_exc

import pytest

__all__ = ["as_nobody", "can_mount", "failing", "mounted", "read_only", "run_failing"]

NOBODY = 65_534


@cache
def _library() -> Path:
    target = Path(mkdtemp(prefix="portico-faulty-")) / "faulty.so"
    source = Path(__file__).parent / "storms" / "faulty.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(target), str(source), "-ldl"], check=True)
    return target


def failing(rules: str, after: int = 0, times: int | None = None, jump: int | None = None) -> dict[str, str]:
    """Return the environment of a process in which calls fail, such as ``write@ledger:EIO``, or ``:KILL`` it.

    Only so many ``times``, if they are given; the clock jumps by ``jump`` seconds.
    """
    words = [rule.rpartition(":") for rule in rules.split()]
    numbers = " ".join(f"{call}:{getattr(errno, name, 0)}" for call, _, name in words)
    more = {"FAULTY_TIMES": times, "FAULTY_JUMP": jump}
    given = {name: str(value) for name, value in more.items() if value is not None}
    return {**os.environ, "LD_PRELOAD": str(_library()), "FAULTY": numbers, "FAULTY_AFTER": str(after), **given}


def run_failing(rules: str, code: str, *arguments: object, after: int = 0) -> subprocess.CompletedProcess[str]:
    """Run Python code in which calls fail."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=failing(rules, after), capture_output=True, text=True, check=False, timeout=120)


@contextmanager
def mounted(folder: Path, *options: str, source: str = "tmpfs", kind: str = "tmpfs") -> Iterator[Path]:
    """Mount a file system of its own on a folder, such as a small one with ``size=1m``."""
    folder.mkdir(parents=True, exist_ok=True)
    how = ["-t", kind] if kind else []
    done = subprocess.run(
        ["mount", *how, *(("-o", ",".join(options)) if options else ()), source, str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"this user cannot mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def can_mount() -> bool:
    """Return whether this user can mount file systems."""
    return os.geteuid() == 0 and subprocess.run(["mount"], capture_output=True, check=False).returncode == 0


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Make a folder read-only, also for root."""
    with mounted(folder, "bind", source=str(folder), kind=""):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield folder


def as_nobody(action: Callable[[], object]) -> str:
    """Call a function as another user, in a process of its own; return its error, or what it returned, as text."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                text = f"{action()}"
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
        except BaseException:
            text = format_exc()
        os.write(theirs, text.encode()[:60_000])
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, encoding="utf-8") as stream:
        text = stream.read()
    os.waitpid(child, 0)
    return text
