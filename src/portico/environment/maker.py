"""The process that makes a library of C++ beside the work, with the lowest priority.

It goes on after the process that began it has ended: what a short run compiles, the next one loads. It holds a copy of
the headers, which the run removes.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from portico.environment.library import Compiler, compiler, keep, library_folder, linked, read
from portico.errors import PorticoError, StepError

__all__ = ["INCLUDE", "Job", "begin", "make"]

INCLUDE = Path(__file__).parents[1] / "include"
"""The folder of portico's headers."""
_COMMAND = ("nice", "-n", "19", sys.executable, "-P", "-m", "portico.environment.maker")
_ONE_AT_A_TIME = "making.lock"
# gcc computes functions of constants more exactly than the C library, and sines with cosines.
_OF_GCC = ("-frounding-math", "-fno-builtin-sin", "-fno-builtin-cos")
# Names that cling knows without an include or a prefix.
_AS_CLING = "#include <cmath>\n#include <cstdlib>\n#include <string>\n#include <vector>\nusing namespace std;\n"


@dataclass(frozen=True, slots=True)
class Job:
    """A library to make.

    Parameters
    ----------
    name : str
        Its file name, a digest of all that it is made of, but for the compiler.
    own : tuple of str
        The headers of portico that it includes.
    text : str
        The C++.
    headers : tuple of str
        Paths of the step's headers that it includes.
    files : mapping of str to str
        By path the texts of these, and of all files of the step that they include.
    calls_library : bool
        It may call functions of another library, which processes load before.
    """

    name: str
    own: tuple[str, ...]
    text: str
    headers: tuple[str, ...]
    files: Mapping[str, str]
    calls_library: bool = False


def begin(job: Job) -> subprocess.Popen[bytes]:
    """Start a process that makes a library; it does not end with this one.

    Raises
    ------
    OSError
        If it cannot be started.
    """
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(asdict(job)).encode())
        file.seek(0)
        silent = subprocess.DEVNULL
        return subprocess.Popen(_COMMAND, stdin=file, stdout=silent, stderr=silent, cwd="/", start_new_session=True)


def make(job: Job) -> None:
    """Compile a library unless it is kept, or made now; of what does not compile an empty one is kept.

    Raises
    ------
    PorticoError
        If the compiler fails for another reason, or there is none as a variable names.
    OSError
        If files cannot be written.
    """
    folder, found = library_folder(), compiler()
    if folder is None or found is None:
        return
    path = folder / job.name
    with path.with_suffix(".lock").open("wb") as lock, (folder / _ONE_AT_A_TIME).open("wb") as turn:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else another process makes it, or nobody can
        fcntl.flock(turn, fcntl.LOCK_EX)
        if read(path) is None:
            keep(path, _made(job, found))


def _made(job: Job, found: Compiler) -> bytes:
    packages = [_package("correctionlib")] if any("corrections" in name for name in job.own) else []
    options = [f"-I{INCLUDE}", *(f"-I{package / 'include'}" for package in packages), "-fvisibility=hidden"]
    options += () if "clang" in found.version else _OF_GCC
    options += ("-Wl,-z,undefs",) if job.calls_library else ()
    libraries = [str(library) for package in packages for library in sorted((package / "lib").glob("lib*.so"))]
    with tempfile.TemporaryDirectory(prefix="portico-") as folder:
        _write(Path(folder, "unit.cc"), _source(job, folder))
        for name, text in job.files.items():
            _write(Path(folder + name), text)
        try:
            return linked(found, Path(folder), ["unit.cc"], "", options=options, libraries=libraries)
        except StepError as error:
            if " fails: " in str(error):  # no memory, no space
                raise
            return b""


def _source(job: Job, folder: str) -> str:
    of_step = _AS_CLING + "".join(f'#include "{folder}{name}"\n' for name in job.headers) if job.headers else ""
    return "".join(f'#include "{name}"\n' for name in job.own) + of_step + job.text


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _package(name: str) -> Path:
    """Return the folder of an installed package, without loading it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise PorticoError(f"{name} is not installed")
    return Path(spec.origin).parent


def main(source: IO[str]) -> None:
    """Make the library of a job in JSON."""
    content = json.load(source)
    job = Job(**content | {key: tuple(content[key]) for key in ("own", "headers")})
    with suppress(PorticoError, OSError):
        make(job)


if __name__ == "__main__":
    main(sys.stdin)
