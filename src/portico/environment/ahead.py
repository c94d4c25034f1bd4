"""Libraries of the C++ that portico writes: what a process compiles now, those that begin later load.

Where no library is kept, cling compiles as ever, and in a process that may, `portico.environment.maker` makes the
library beside the work, which the process takes as well once it is there. Both have the same bits: a library is made
without fused multiply-add and without results of mathematical functions that the compiler computes itself.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from portico import root
from portico.environment.library import library_folder, read
from portico.environment.maker import INCLUDE, Job, begin
from portico.errors import PorticoError

__all__ = ["Unit", "build", "functions", "included", "load", "of_table", "use_headers"]

_SWITCH = "PORTICO_AHEAD"
_EXPORT = 'extern "C" __attribute__((visibility("default"))) std::uintptr_t portico_table()'
# What cling computes by other functions of the C library, and what tells compilers apart.
_UNLIKE = re.compile(r"(?<!using std::)\bpow[fl]?\b|__(?:clang|CLING|GNUC|OPTIMIZE|FAST_MATH)")


@dataclass(frozen=True, slots=True)
class Unit:
    """C++ that becomes a library.

    Parameters
    ----------
    own : tuple of str
        The headers of portico that it includes.
    text : str
        The C++.
    headers : mapping of Path to str
        Headers of the step that it includes as well, with digests of each and all that it includes.
    after : tuple of str
        The headers of portico whose libraries have what it shares with others; see `functions`.
    library : str
        The library of the step's sources, whose functions it may call; empty if there is none.
    """

    own: tuple[str, ...]
    text: str
    headers: Mapping[Path, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    library: str = ""

    @property
    def name(self) -> str:
        """The name of the library: a digest of all that it is made of, but for the compiler."""
        import ROOT

        of_step = [*self.headers.values(), self.library] if self.library else [*self.headers.values()]
        parts = [ROOT.__version__, platform.machine(), _own_headers(), *self.own, *of_step, self.text]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:40] + ".so"


@cache
def _own_headers() -> str:
    digest = hashlib.sha256()
    for path in sorted(INCLUDE.glob("*.h")):
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@dataclass(slots=True)
class _Process:
    """What cling has of the step, unless it has more than headers; which tables come from libraries; who makes more."""

    headers: Mapping[Path, str] | None = None
    files: Mapping[str, str] = field(default_factory=dict)  # the headers and all that they include
    library: str = ""  # of its sources
    loaded: set[str] = field(default_factory=set)
    makers: list[subprocess.Popen[bytes]] = field(default_factory=list)


_process = _Process()


def use_headers(headers: Mapping[Path, str] | None, files: Iterable[Path] = (), library: str = "") -> None:
    """Take headers as all of the step's C++ that cling has; None if it has more than headers.

    Parameters
    ----------
    headers : mapping of Path to str
        With digests of each and all that it includes.
    files : iterable of Path
        They, and all that they include.
    library : str
        That of the step's sources, by a name made of its content; empty if it has none.
    """
    _process.library = library
    texts = {str(path): path.read_text(encoding="utf-8", errors="surrogateescape") for path in files}
    is_unlike = headers is None or any(map(_UNLIKE.search, texts.values()))
    _process.headers, _process.files = (None, {}) if is_unlike else (headers, texts)


def included(own: Sequence[str], text: str, after: Sequence[str]) -> Unit | None:
    """Return the unit of a text that may use the step's headers; None if only cling may compile it."""
    headers = _process.headers
    if headers is None or _UNLIKE.search(text):
        return None
    return Unit(tuple(own), text, headers, tuple(after), _process.library)


def _has_bits_of_cling() -> bool:
    """Whether cling fuses no multiply-adds, as libraries do not: on other processors, or with options, it may."""
    return platform.machine() == "x86_64" and not re.sub(r"-O[0-3]", "", os.environ.get("EXTRA_CLING_ARGS", "")).strip()


def load(unit: Unit) -> ctypes.CDLL | None:
    """Load the library of a unit; None if it is not kept, or not for this machine."""
    folder = None if os.environ.get("PORTICO_CXX") == "none" else library_folder()
    if (
        not _has_bits_of_cling()
        or folder is None
        or not _process.loaded.issuperset(unit.after)
        or not read(path := folder / unit.name)
    ):
        return None
    with suppress(PorticoError, OSError):
        root.load_library(path)
        return ctypes.CDLL(str(path))
    return None


def functions(
    header: str, signatures: Mapping[str, Sequence[Any]], prepare: Callable[[], None] = lambda: None
) -> dict[str, Any]:  # fmt: skip
    """Return the functions in the table of one of portico's headers, from its library or compiled by cling.

    Parameters
    ----------
    header : str
        Such as ``selection_calls.h``, which defines a function ``portico::selection_calls``.
    signatures : mapping of str to sequence of ctypes
        By name the result and the arguments of each function, in the order of the table.
    prepare : callable
        Prepares cling for the header.
    """
    table, unit = header.removesuffix(".h"), of_table(header)
    if (library := load(unit)) is not None:
        _process.loaded.add(header)
        root.declare_text(f"#define PORTICO_LOADED_{table}\n")
        library.portico_table.restype = ctypes.c_size_t
        address = library.portico_table()
    else:
        prepare()
        address = int(getattr(root.use(header), table)())
        build(unit)
    addresses = (ctypes.c_void_p * len(signatures)).from_address(address)
    return {
        name: ctypes.CFUNCTYPE(*types)(pointer)
        for (name, types), pointer in zip(signatures.items(), addresses, strict=True)
    }


def of_table(header: str) -> Unit:
    """Return the unit of one of portico's headers that defines a table of functions."""
    return Unit((header,), f"{_EXPORT} {{ return portico::{header.removesuffix('.h')}(); }}\n")


def build(unit: Unit) -> bool:
    """Have the library of a unit made, if this process may do that; return whether it may be there later."""
    if os.environ.get(_SWITCH) != "1" or not _has_bits_of_cling():
        return False
    files = _process.files if unit.headers else {}
    job = Job(unit.name, unit.own, unit.text, tuple(map(str, unit.headers)), files, bool(unit.library))
    try:
        _process.makers.append(begin(job))
    except OSError:  # it saves time, and no more
        return False
    return True
