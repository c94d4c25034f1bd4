"""C++ of the benchmark: compiled with g++ against the installed ROOT, kept by content, called with ctypes."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import subprocess
from pathlib import Path

__all__ = ["build", "load", "root_home"]

SOURCES = Path(__file__).parent / "cpp"
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-Wall")
LIBRARIES = ("Core", "RIO", "Tree", "TreePlayer", "Hist", "MathCore", "ROOTDataFrame", "ROOTVecOps", "ROOTNTuple",
             "GenVector", "Physics")  # fmt: skip


@functools.cache
def root_home() -> Path:
    """Return the folder of the installed ROOT, with its headers and libraries, without loading it."""
    spec = importlib.util.find_spec("ROOT")
    if spec is None or spec.origin is None:
        raise ImportError("ROOT is not installed")
    return Path(spec.origin).parent


def build(name: str, folder: Path) -> Path:
    """Compile ``cpp/NAME.cpp`` unless it is there already, and return the library.

    Parameters
    ----------
    name : str
        The source, without its ending.
    folder : Path
        Where libraries are kept.

    Raises
    ------
    subprocess.CalledProcessError
        If it does not compile; the compiler has written why.
    """
    source, home = SOURCES / f"{name}.cpp", root_home()
    headers = sorted([*SOURCES.glob("*.h"), *SOURCES.parent.glob("adl/adl.*")])
    compiler = subprocess.run(["g++", "--version"], check=True, capture_output=True, text=True).stdout
    content = "\0".join([compiler, str(home), *FLAGS, *(file.read_text() for file in (source, *headers))])
    library = folder / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = library.with_suffix(".part")
        places = ["-isystem", f"{home}/include", f"-L{home}/lib", f"-Wl,-rpath,{home}/lib",
                  f"-Wl,-rpath-link,{home.with_name('root.libs')}"]  # fmt: skip
        command = ["g++", *FLAGS, str(source), "-o", str(part), *places, *(f"-l{library}" for library in LIBRARIES)]
        subprocess.run(command, check=True)
        part.rename(library)
    return library


def load(name: str, folder: Path) -> ctypes.CDLL:
    """Compile a source unless it is there already, and load it into this process."""
    return ctypes.CDLL(str(build(name, folder)))
