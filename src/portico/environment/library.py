"""Libraries of the C++ sources of steps: compiled once on the driver's machine, cached by content, and shipped.

All workers of a run load the same library, so that none of them compiles and all have the same bits. Where there is no
compiler, each process compiles the sources with cling. Which of both it is, and by which compiler, is part of the key.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from portico.errors import ConfigError, PorticoError, StepError
from portico.files.atomic import write_atomic
from portico.files.remembered import compiled_folder
from portico.root import root_folder

__all__ = ["Compiler", "build", "compiler", "keep", "library_folder", "library_name", "linked", "read"]

# No contraction to fused multiply-add: the same bits on every machine. The rest is as ROOT's ACLiC does it.
_FLAGS = ("-O2", "-fPIC", "-shared", "-ffp-contract=off", "-w", "-Wl,--as-needed", "-Wl,-s", "-Wl,--no-undefined")
_SECONDS = 1800  # after which a compiler is taken to hang
_KEPT = 256  # libraries; those that were used longest ago go first
_DIGITS = 40
_NAMES = "[0-9a-f]" * _DIGITS + ".so"  # other libraries in the folder are not ours
_ERROR = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?: (?:fatal )?error: (?P<message>.+)$", re.MULTILINE)
_MISSING = re.compile(r"undefined reference to [`'\"](.+?)['\"]$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler of C++, and the ROOT that it compiles for.

    Parameters
    ----------
    program : str
        Its path or name.
    version : str
        What it says of itself; a part of the key of results.
    flags : tuple of str
        Options of the program, and those that ROOT was compiled with.
    headers, libraries : Path
        The folders of ROOT's headers and libraries.
    """

    program: str
    version: str
    flags: tuple[str, ...]
    headers: Path
    libraries: Path

    @property
    def identity(self) -> str:
        """What can change the code that it makes, without the paths of this machine."""
        return " ".join([self.version, *_FLAGS, *self.flags])


def compiler() -> Compiler | None:
    """Return the compiler of ``PORTICO_CXX``, ``CXX``, or the system; None without one, or without ROOT.

    Raises
    ------
    ConfigError
        If the compiler that a variable names does not run.
    """
    variable = next((name for name in ("PORTICO_CXX", "CXX") if os.environ.get(name)), "")
    return _compiler(variable, os.environ.get(variable, ""))


@cache
def _compiler(variable: str, name: str) -> Compiler | None:
    name = name or next(filter(shutil.which, ("c++", "g++", "clang++")), "none")
    home = root_folder()  # of ROOT's wheel, which holds all
    config = shutil.which("root-config", path=str(home / "bin")) if home is not None else None
    config = config or shutil.which("root-config")
    if name == "none" or home is None or config is None:
        return None
    program, *options = shlex.split(name)
    try:
        version = _ask([program, *options, "--version"]).splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        if not variable:
            return None
        raise ConfigError(
            f"{variable}={name}: no C++ compiler ({error}); give its path, or set PORTICO_CXX=none to do without one"
        ) from None
    options += [flag for flag in _ask([config, "--cflags"]).split() if not flag.startswith("-I")]
    if (home / "include" / "RVersion.h").is_file():  # what root-config of the wheel says of folders is wrong
        folders = [home / "include", home / "lib"]
    else:
        folders = [Path(_ask([config, option]).strip()) for option in ("--incdir", "--libdir")]
    return Compiler(program, version, tuple(options), *folders)


def _ask(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def library_name(sources: Mapping[str, str], made_by: str) -> str:
    """Return the name in a bundle of the library of some sources.

    Parameters
    ----------
    sources : mapping of str to str
        From the name of each in the bundle to a digest of it and of all that it includes.
    made_by : str
        The identity of the compiler.
    """
    text = "\0".join([made_by, *(f"{name}={digest}" for name, digest in sources.items())])
    return f"_library/{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}.so"


def build(
    name: str, sources: Sequence[str], archive: bytes, function: str, say: Callable[[str], None] = lambda _: None
) -> bytes:
    """Return a library; it is compiled unless it has been before.

    Parameters
    ----------
    name : str
        As `library_name` returns it.
    sources : sequence of str
        The sources, by their names in the archive.
    archive : bytes
        The bundle.
    function : str
        The step, for messages.
    say : callable
        Takes a line for the user before something is compiled.

    Raises
    ------
    StepError
        If a source does not compile, or uses what is not defined.
    PorticoError
        If there is no compiler any more, or no space for its files.
    """
    folder = library_folder()
    try:
        if folder is None:
            return _compile(sources, archive, function, say)
        path = folder / Path(name).name
        with path.with_suffix(".lock").open("wb") as lock:
            with suppress(OSError):  # a file system without locks: two processes may make it
                fcntl.flock(lock, fcntl.LOCK_EX)
            content = read(path)
            if content is None:
                content = _compile(sources, archive, function, say)
                keep(path, content)
            return content
    except OSError as error:
        raise PorticoError(f"{function}: its C++ sources cannot be compiled: {error}") from error


def library_folder() -> Path | None:
    """Return the folder of kept libraries: ``$PORTICO_LIBRARIES``, else one in the user's cache.

    None where none can be kept, or where another user could write to it.
    """
    return compiled_folder("PORTICO_LIBRARIES", "libraries")


def read(path: Path) -> bytes | None:
    """Return a library if it is there as it was written, followed by its digest."""
    if not path.is_file() or (status := path.stat()).st_uid != os.getuid() or status.st_mode & 0o022:
        return None
    path.touch()
    content = path.read_bytes()
    return content[:-32] if hashlib.sha256(content[:-32]).digest() == content[-32:] else None


def keep(path: Path, content: bytes) -> None:
    """Write a library; that it cannot be kept is not an error."""
    with suppress(OSError):
        with write_atomic(path) as aside:
            aside.write_bytes(content + hashlib.sha256(content).digest())
            aside.chmod(0o600)  # whatever the umask lets others do
        for old in sorted(path.parent.glob(_NAMES), key=lambda file: file.stat().st_mtime)[:-_KEPT]:
            old.unlink(missing_ok=True)
            old.with_suffix(".lock").unlink(missing_ok=True)


def _compile(sources: Sequence[str], archive: bytes, function: str, say: Callable[[str], None]) -> bytes:
    """Compile and link sources in a folder of their own."""
    found = compiler()
    if found is None:
        raise PorticoError(f"{function}: the C++ compiler found earlier no longer exists")
    say(f"{function}: compiling {', '.join(sources)} ({found.version})")
    with tempfile.TemporaryDirectory(prefix="portico-") as folder:
        with zipfile.ZipFile(io.BytesIO(archive)) as members:
            members.extractall(folder)
        return linked(found, Path(folder), sources, function)


def linked(
    found: Compiler, folder: Path, sources: Sequence[str], function: str, *, options: Sequence[str] = (),
    libraries: Sequence[str] = (),
) -> bytes:  # fmt: skip
    """Compile sources, and return the library.

    Parameters
    ----------
    found : Compiler
        The compiler.
    folder : Path
        Where the sources lie, and the library is written.
    sources : sequence of str
        Their names in the folder.
    function : str
        What they are of, for messages.
    options, libraries : sequence of str
        Further options, and libraries besides those of ROOT.

    Raises
    ------
    StepError
        If they do not compile, or take too long.
    """
    output = folder / "library.so"
    of_root = [f"-l{path.stem.removeprefix('lib')}" for path in sorted(found.libraries.glob("lib*.so"))]
    folders = [f"-I{found.headers}", f"-L{found.libraries}"]
    command = [found.program, *found.flags, *_FLAGS, *options, *folders, *sources, "-o", str(output)]
    try:
        done = subprocess.run(
            [*command, *libraries, *of_root], cwd=folder, capture_output=True, text=True, errors="replace",
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        what = f"{found.program} takes longer than {_SECONDS} s for {', '.join(sources)}"
        raise StepError(f"{function}: {what}") from None
    if done.returncode != 0:
        raise StepError(f"{function}: {_reason(done.stderr, found.program)}")
    return output.read_bytes()


def _reason(errors: str, program: str) -> str:
    """Return the first error of a compiler or linker."""
    if error := _ERROR.search(errors):
        return f"{error['file']}:{error['line']} does not compile: {error['message']}"
    if missing := _MISSING.search(errors):
        return f"its C++ sources use {missing[1]}, which neither they nor ROOT's libraries define"
    last = errors.strip().splitlines()[-1:] or ["no reason given"]
    return f"{program} fails: {last[0]}"
