"""Requirements of a service; if one is missing, its tests skip, or fail if nothing may skip."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tools.facility.places import free_port

__all__ = ["free_port", "missing", "program", "wait_for"]


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where every service has to be there."""
    if os.environ.get("PORTICO_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what}; PORTICO_REQUIRE_SERVICES=1 forbids to skip", pytrace=False)
    pytest.skip(what)


def program(name: str, package: str) -> Path:
    """Return the path of a program, or skip with the name of its Debian package."""
    folders = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/bin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        missing(f"the program {name} of the Debian package {package} is missing; tools/services.sh installs it")
    return Path(found)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60, log: Path | None = None) -> None:
    """Wait until a condition holds; else fail with the end of a log. To ask takes at most a fifth of the time."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return
        if (now := time.monotonic()) > deadline:
            said = log.read_text(errors="replace")[-3000:] if log is not None and log.exists() else ""
            pytest.fail(f"{what} did not happen within {seconds:g} s\n{said}")
        time.sleep(max(0.1, 4 * (now - began)))
