"""The process that makes a library beside the work."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from portico.environment.library import compiler, read
from portico.environment.maker import Job, make

EXPORT = 'extern "C" __attribute__((visibility("default")))'
NAME = "0" * 40 + ".so"


def job(tmp_path: Path) -> Job:
    """Return a library of a header that includes another one, both gone by now."""
    above, below = f"{tmp_path}/gone/above.h", f"{tmp_path}/gone/part/below.h"
    files = {above: '#include "part/below.h"\n', below: "inline double half(double x) { return abs(x) / 2; }\n"}
    return Job(NAME, (), f"{EXPORT} double of_library(double x) {{ return half(x); }}\n", (above,), files)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if compiler() is None:
        pytest.skip("no compiler of C++")
    folder = tmp_path / "libraries"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("PORTICO_LIBRARIES", str(folder))
    return folder


def test_it_goes_on_when_the_process_that_began_it_is_killed(tmp_path: Path, folder: Path) -> None:
    begin = (
        "import json, sys, time\nfrom portico.environment.maker import Job, begin\n"
        "begin(Job(**json.loads(sys.argv[1])))\nprint('begun', flush=True)\ntime.sleep(600)"
    )
    command = [sys.executable, "-P", "-c", begin, json.dumps(asdict(job(tmp_path)))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, 9)
    deadline = time.monotonic() + 120
    while not (path := folder / NAME).exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    library = ctypes.CDLL(str(path))
    library.of_library.restype, library.of_library.argtypes = ctypes.c_double, [ctypes.c_double]
    assert library.of_library(-3.0) == 1.5


def test_of_what_does_not_compile_an_empty_library_is_kept(tmp_path: Path, folder: Path) -> None:
    make(Job(NAME, (), "int broken(", (), {}))
    assert read(folder / NAME) == b""
    make(job(tmp_path))
    assert read(folder / NAME) == b""
