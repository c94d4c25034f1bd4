"""Loading of ROOT into a process: batch mode, no stack traces by gdb, C++ under a name derived from its content."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from portico.cpp import unmapped
from portico.errors import PorticoError

__all__ = [
    "StaleProcess", "declare", "declare_text", "hear_errors", "load", "load_library", "optimise", "root_folder", "use",
    "version",
]  # fmt: skip

_declared: dict[str, str] = {}
_texts: set[str] = set()
_libraries: set[str] = set()
_NEEDS = re.compile(r"(lib[^:/\s]+): cannot open shared object file")


class StaleProcess(Exception):  # noqa: N818 (a state, not an error)
    """The process holds C++ that the step did not declare; only a new process is without it."""


def root_folder() -> Path | None:
    """Return the folder of ROOT's package, without loading it; None if it is not installed."""
    spec = importlib.util.find_spec("ROOT")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@cache
def version() -> str:
    """Return ROOT's version as ROOT names it, such as 6.40.00, without loading it; ``unknown`` if it is not found."""
    header = (root_folder() or Path()) / "include" / "ROOT" / "RVersion.hxx"
    with suppress(OSError, subprocess.SubprocessError):
        if header.is_file():
            numbers = re.findall(r"#define ROOT_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header.read_text())
            return "{}.{:0>2}.{:0>2}".format(*numbers)
        asked = subprocess.run(["root-config", "--version"], capture_output=True, text=True, check=True, timeout=60)
        return asked.stdout.strip()
    return "unknown"


def load() -> Any:
    """Import ROOT in batch mode and declare portico's own C++.

    Raises
    ------
    PorticoError
        If ROOT cannot be imported or cannot compile C++.
    """
    # Takes effect only before the import. Headers run 2.5 times faster than with cling's default.
    os.environ.setdefault("EXTRA_CLING_ARGS", "-O2")
    with _away(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*This distribution of ROOT is in alpha stage", UserWarning)
        try:
            import ROOT
        except ImportError as error:
            raise PorticoError(
                f"ROOT cannot be imported: {error}; install it with: pip install 'root==0.1a12'"
            ) from error
        ROOT.PyConfig.DisableRootLogon = True  # what it declares would be part of no key
        ROOT.gROOT.SetBatch(True)
        folders = str(ROOT.gSystem.GetDynamicPath()).split(os.pathsep)
        ROOT.gSystem.SetDynamicPath(os.pathsep.join(folder for folder in folders if folder not in {"", "."}))
    ROOT.PyConfig.IgnoreCommandLineOptions = True
    ROOT.gSystem.ResetSignals()  # a crash ends the process at once, not after minutes of gdb
    ROOT.TH1.AddDirectory(False)
    use("collect.h")
    return ROOT


@contextmanager
def _away() -> Iterator[None]:
    """Leave the current folder while ROOT begins: it would take libraries and settings from there before its own."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed
        here = None
    if "cppyy" not in sys.modules:
        os.chdir(Path(__file__).parent)
    try:
        yield
    finally:
        if here is not None:
            os.chdir(here)


def use(header: str) -> Any:
    """Include one of portico's own headers, once per process, and return the namespace ``portico`` of C++."""
    import ROOT

    own, name = Path(__file__).parent / "include" / header, f"portico/{header}"
    if name not in _declared:
        _include(own, name, hashlib.sha256(own.read_bytes()).hexdigest())
    return ROOT.portico


def declare_text(text: str) -> bool:
    """Declare C++ that portico made of a step's words, once per process; return whether it compiles."""
    import ROOT

    if text not in _texts and ROOT.gInterpreter.Declare(text):
        _texts.add(text)
    return text in _texts


def declare(path: Path, name: str, digest: str) -> None:
    """Include a header unless this process has already included the same content.

    Parameters
    ----------
    path : Path
        Path of the header, in a folder named by the digest of all its files.
    name : str
        Its name in the analysis, the same for every version.
    digest : str
        Digest of its content and of all that it includes.

    Raises
    ------
    StaleProcess
        If the process has another version: cling cannot replace a function.
    PorticoError
        If it does not compile; cling writes the reason to standard error.
    """
    if _declared.get(name) == digest:
        return
    if name in _declared:
        raise StaleProcess(name)
    _include(path, name, digest)


def optimise(compiled: bool) -> None:
    """Set how far cling optimises from now on: as it was asked to, or hardly where a library has what takes time."""
    import ROOT

    asked = re.findall(r"-O([0-3])", os.environ["EXTRA_CLING_ARGS"])
    ROOT.gInterpreter.ProcessLine(f".O{0 if compiled or not asked else asked[-1]}")


def load_library(path: Path) -> None:
    """Load a library of C++, once per process, before its headers are included: cling then compiles nothing of it.

    Parameters
    ----------
    path : Path
        The library, under a name made of its content, as `portico.environment.library.library_name` returns it.

    Raises
    ------
    PorticoError
        If this machine cannot load it.
    """
    import ROOT

    ROOT.gSystem.Load("libROOTDataFrame")
    while path.name not in _libraries:
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            needed = _NEEDS.match(str(error))  # ROOT knows where its own lie
            if needed is not None and ROOT.gSystem.Load(needed[1]) == 0:
                continue
            raise PorticoError(
                f"the library of C++ sources, made where portico runs, cannot be loaded on this machine: {error}; with "
                "PORTICO_CXX=none in the environment of portico every worker compiles them itself"
            ) from None
        _libraries.add(path.name)


def _include(path: Path, name: str, digest: str) -> None:
    import ROOT

    if not ROOT.gInterpreter.Declare(f'#include "{path}"'):
        raise PorticoError(
            f"the C++ header {name} does not compile (messages above); if a standard header is missing, "
            "install the system's C++ headers, for example: apt-get install g++"
        )
    _declared[name] = digest


def first_compiler_error(log: str) -> str:
    """Return the first error line that cling wrote; empty if there is none.

    The file name is left out, unless a ``#line`` directive of portico names the origin of the code.
    """
    match = re.search(r"(?:^(?P<where>in .+?):\d+:\d+: )?error: (?P<message>.+)(?:\n(?P<code>.*))?", log, re.MULTILINE)
    if match is None:
        return ""
    where, code = f"{match['where']}: " if match["where"] else "", (match["code"] or "").strip()
    is_code = re.search(r"\w", code) is not None  # cling also shows what it put around an expression
    return unmapped(where + match["message"].strip() + (f" in: {code}" if is_code else ""))


def hear_errors() -> None:
    """Let ROOT write its errors, whatever level the user's code has set: they tell of damaged files."""
    import ROOT

    ROOT.gErrorIgnoreLevel = min(ROOT.gErrorIgnoreLevel, ROOT.kError)
