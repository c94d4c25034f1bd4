"""Probes of a process: its software, machine and memory, and its access to files. Run here and on every worker."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import platform
import re
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from portico._version import __version__
from portico.environment.pins import pins
from portico.errors import PorticoError
from portico.files.plain_name import plain_name
from portico.files.storage import storage_of

__all__ = ["PACKAGES", "answer", "describe", "free", "version_of"]

PACKAGES = (
    "root", "numpy", "awkward", "uproot", "hist", "numba", "correctionlib", "dask", "distributed", "cloudpickle",
    "msgpack", "xrootd", "fsspec-xrootd",
)  # fmt: skip
"""Packages whose versions are reported, by their names on PyPI."""

_FEATURES = ("sse4_2", "avx", "avx2", "fma", "avx512f", "asimd", "sve")
_IMAGES = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "JUPYTER_IMAGE", "JUPYTER_IMAGE_SPEC")
_CGROUPS = ("/sys/fs/cgroup{}/memory.max", "/sys/fs/cgroup/memory{}/memory.limit_in_bytes")
_PATIENCE = 5.0
_XROOTD_PORT, _CONNECT_SECONDS = 1094, 10.0
_UNLIMITED = 2**60


def answer(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Answer a probe that `portico.doctor` sends to a worker.

    Parameters
    ----------
    content : mapping
        ``describe``: true to describe this process; ``shared``: a folder and the name of the driver's file in it;
        ``readable``: local files; ``read``: a file and its tree; ``store``: a path or URL to write to.
    folder : Path
        The scratch folder of this process.

    Returns
    -------
    dict
        An answer under each key of the request, and ``time``, in seconds since 1970.
    """
    found: dict[str, Any] = {}
    if content.get("describe"):
        problem = _problem_of_root()
        found["describe"] = describe(folder)
        found["describe"]["root"]["problem"] = problem
    if "shared" in content:
        found["shared"] = check_shared(Path(content["shared"][0]), content["shared"][1])
    if "readable" in content:
        found["readable"] = unreadable(content["readable"])
    if "read" in content:
        found["read"] = read_first_entry(plain_name(content["read"][0], folder), content["read"][1])
    if "store" in content:
        found["store"] = write_test_file(content["store"], folder)
    return {**found, "time": time.time()}


def describe(folder: Path) -> dict[str, Any]:
    """Describe this process: software, machine, memory and disk. This does not load ROOT.

    Parameters
    ----------
    folder : Path
        Its scratch folder.
    """
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "versions": {"portico": __version__, **{name: version_of(name) for name in PACKAGES}},
        "source": source_digest(),
        "root": _root(),
        "pins": pins(),
        "image": next((os.environ[name] for name in _IMAGES if os.environ.get(name)), ""),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "libc": " ".join(platform.libc_ver()),
        "arithmetic": arithmetic(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _memory(),
        "disk": free(folder),
        "scratch": str(folder.parent),
        "user": os.getuid(),
    }


@cache
def version_of(package: str) -> str:
    """Return the version of an installed package, empty if there is none."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return ""


@cache
def source_digest() -> str:
    """Return a digest of portico's own source: two copies of the same version may differ."""
    digest, package = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(p for p in package.rglob("*") if p.suffix in {".py", ".h"}):
        digest.update(f"\0{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _root() -> dict[str, Any]:
    """Return ROOT's version if this process has loaded it, as all workers have."""
    root = sys.modules.get("ROOT")
    return {"version": str(root.gROOT.GetVersion()) if root is not None else "", "problem": ""}


def _problem_of_root() -> str:
    from portico import root

    try:
        root.load()
    except Exception as error:
        return " ".join(str(error).split())
    return ""


def _cpu() -> dict[str, Any]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    return {"model": model[1].strip() if model else "", "features": [name for name in _FEATURES if name in known]}


@cache
def arithmetic() -> str:
    """Return a digest of the values of exp, log, sin, pow and others on this machine.

    ROOT compiles for the same basic instructions everywhere, but the C library and numpy choose among several
    implementations by the processor, and their last bits differ.
    """
    import numpy as np

    digest, points = hashlib.sha256(), [0.1 + 0.37 * i for i in range(200)]
    for function in (math.exp, math.log, math.sin, math.cos, math.tan, math.atan, math.cbrt):
        digest.update(np.array([function(x) for x in points]).tobytes())
    for values in (np.array(points, dtype=np.float64), np.array(points, dtype=np.float32)):
        for result in (np.exp(values), np.log(values), np.sin(values), np.cos(values), values**0.3):
            digest.update(result.tobytes())
    return digest.hexdigest()[:12]


def _memory() -> dict[str, int]:
    """Return the total and available bytes of memory, within the limits of the machine and of the control group."""
    import psutil

    virtual = psutil.virtual_memory()
    limits = [int(virtual.total)]
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            for template in _CGROUPS:
                with suppress(OSError, ValueError):
                    limits.append(int(Path(template.format(group.rstrip("/"))).read_text(encoding="ascii")))
    return {"total": min(limit for limit in limits if limit < _UNLIMITED), "available": int(virtual.available)}


def free(folder: Path) -> int:
    """Return the free bytes on the disk of a folder; ``-1`` if unknown."""
    try:
        info = os.statvfs(folder)
    except OSError:
        return -1
    return info.f_bavail * info.f_frsize


def check_shared(folder: Path, driver_file: str) -> dict[str, str]:
    """Look for a file that the driver wrote into a shared folder, and write one for the driver.

    Parameters
    ----------
    folder : Path
        Path of the folder on the driver.
    driver_file : str
        Name of the driver's file.

    Returns
    -------
    dict
        ``wrote``: name of the file that was written. ``problem``: why the folder is not shared; empty if it is.
    """
    if not folder.is_dir():
        return {"wrote": "", "problem": "no such folder"}
    end = time.monotonic() + _PATIENCE  # a file from another machine may take a moment to appear on a network disk
    while not (folder / driver_file).exists():
        if time.monotonic() > end:
            return {"wrote": "", "problem": "this is another folder of the same name: files written here do not appear"}
        time.sleep(0.2)
    own = f"{socket.gethostname()}-{os.getpid()}"
    try:
        (folder / own).write_bytes(b"\0")
    except OSError as error:
        return {"wrote": "", "problem": f"cannot write to it: {_reason(error)}"}
    return {"wrote": own, "problem": ""}


def unreadable(files: Iterable[str]) -> dict[str, str]:
    """Return the local files that cannot be read here, each with the reason."""
    problems = {}
    for file in files:
        try:
            with Path(file).open("rb") as stream:
                if stream.read(4) != b"root":
                    problems[file] = "is not a ROOT file"
        except OSError as error:
            problems[file] = _reason(error)
    return problems


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or errno.EIO)


def read_first_entry(file: str, tree: str) -> str:
    """Read the first entry of a tree with ROOT, as a step would; return why this fails, empty if it works."""
    from portico import root

    loaded = root.load()
    try:
        return _unreachable(file) or _read_entry(loaded, file, tree)
    except Exception as error:  # any exception of ROOT is the answer
        return " ".join(f"{error}".split()) or type(error).__name__


def write_test_file(target: str, folder: Path) -> str:
    """Write a small file to a path or URL and remove it; return why this fails, empty if it works."""
    source = folder / "small"
    source.write_bytes(b"\0")
    try:
        if problem := _unreachable(target):
            return problem
        storage = storage_of(target)
        storage.make(target.rpartition("/")[0])
        storage.write(target, source)
        storage.remove(target)
    except PorticoError as error:
        return str(error)
    finally:
        source.unlink()
    return ""


def _unreachable(file: str) -> str:
    """Return why the server of a ``root://`` URL cannot be reached: XRootD's client would retry for minutes."""
    url = urlsplit(file)
    if url.scheme not in {"root", "roots", "xroot", "xroots"}:
        return ""
    try:
        with socket.create_connection((url.hostname or "", url.port or _XROOTD_PORT), _CONNECT_SECONDS):
            return ""
    except (OSError, ValueError) as error:
        return f"no server answers at {url.hostname}:{url.port or _XROOTD_PORT}: {error}"


def _read_entry(root: Any, file: str, tree: str) -> str:
    opened = root.TFile.Open(file, "READ")
    if not opened or opened.IsZombie():
        return "cannot be opened"
    path, _, name = tree.rpartition("/")
    folder = opened.GetDirectory(path) if path else opened
    key = folder.GetKey(name) if folder else None
    if not key:
        return "" if opened.GetNkeys() == 0 else f"contains no tree '{tree}'"
    if "RNTuple" in key.GetClassName():
        opened.Close()
        reader = root.RNTupleReader.Open(tree, file)
        if reader.GetNEntries():
            reader.LoadEntry(0, reader.CreateEntry())
        return ""
    read = opened.Get(tree)
    bad = read.GetEntries() and read.GetEntry(0) <= 0
    opened.Close()
    return "its first entry cannot be read" if bad else ""
