"""What a process says of itself and of what it can reach: asked of this one and of every worker."""

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
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from portico._version import __version__
from portico.errors import PorticoError
from portico.files.storage import storage_of

__all__ = ["PACKAGES", "answer", "describe", "free"]

PACKAGES = (
    "root", "numpy", "awkward", "uproot", "hist", "numba", "correctionlib", "dask", "distributed", "cloudpickle",
    "msgpack", "xrootd", "fsspec-xrootd",
)  # fmt: skip
"""Packages whose versions are told, as PyPI names them."""

_FEATURES = ("sse4_2", "avx", "avx2", "fma", "avx512f", "asimd", "sve")
_IMAGES = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "JUPYTER_IMAGE", "JUPYTER_IMAGE_SPEC")
_CGROUPS = ("/sys/fs/cgroup{}/memory.max", "/sys/fs/cgroup/memory{}/memory.limit_in_bytes")
_PATIENCE = 5.0
_XROOTD_PORT, _CONNECT_SECONDS = 1094, 10.0
_UNLIMITED = 2**60


def answer(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Answer what `portico.doctor` asks of a worker.

    Parameters
    ----------
    content : mapping
        ``describe``: true to be told about itself; ``meet``: folder and name of the driver's file in it;
        ``readable``: local files; ``read``: a file and its tree; ``store``: a path or URL to write to.
    folder : Path
        The scratch folder of this process.

    Returns
    -------
    dict
        An answer under each name that was asked, and ``time``, in seconds since 1970.
    """
    told: dict[str, Any] = {}
    if content.get("describe"):
        problem = _problem_of_root()
        told["describe"] = describe(folder)
        told["describe"]["root"]["problem"] = problem
    if "meet" in content:
        told["meet"] = meet(Path(content["meet"][0]), content["meet"][1])
    if "readable" in content:
        told["readable"] = readable(content["readable"])
    if "read" in content:
        told["read"] = read_first(*content["read"])
    if "store" in content:
        told["store"] = write_small(content["store"], folder)
    return {**told, "time": time.time()}


def describe(folder: Path) -> dict[str, Any]:
    """Describe this process: software, machine, memory, disk; without ROOT unless it is loaded already.

    Parameters
    ----------
    folder : Path
        Its scratch folder.
    """
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "versions": {"portico": __version__, **{name: _version(name) for name in PACKAGES}},
        "source": source_digest(),
        "root": _root(),
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


def _version(package: str) -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return ""


def source_digest() -> str:
    """Return a digest of portico's own source: two copies may differ under the same version."""
    digest, package = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(p for p in package.rglob("*") if p.suffix in {".py", ".h"}):
        digest.update(f"\0{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _root() -> dict[str, Any]:
    """Return ROOT's own word on its version if this process has loaded it, as all workers do."""
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


def arithmetic() -> str:
    """Return a digest of what this machine makes of exp, log, sin, pow and others.

    What ROOT compiles is for the same basic instructions everywhere, but the C library and numpy choose among several
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
    """Return the bytes of memory that this process may still count on: of the machine, and of its control group."""
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
    """Return the bytes that the user may still write below a folder; ``-1`` if that cannot be told."""
    try:
        info = os.statvfs(folder)
    except OSError:
        return -1
    return info.f_bavail * info.f_frsize


def meet(folder: Path, theirs: str) -> dict[str, str]:
    """Look for a file that the driver wrote into a shared folder, and leave one for it to see.

    Parameters
    ----------
    folder : Path
        As the driver names it.
    theirs : str
        Name of the driver's file.

    Returns
    -------
    dict
        ``wrote``: name of the file that was left. ``problem``: why this does not work; empty if it does.
    """
    if not folder.is_dir():
        return {"wrote": "", "problem": "there is no such folder"}
    end = time.monotonic() + _PATIENCE  # what another machine wrote may take a moment to be seen
    while not (folder / theirs).exists():
        if time.monotonic() > end:
            return {"wrote": "", "problem": "there is another folder of this name: it lacks what was written here"}
        time.sleep(0.2)
    own = f"{socket.gethostname()}-{os.getpid()}"
    try:
        (folder / own).write_bytes(b"\0")
    except OSError as error:
        return {"wrote": "", "problem": f"it cannot be written to: {_words(error)}"}
    return {"wrote": own, "problem": ""}


def readable(files: Iterable[str]) -> dict[str, str]:
    """Say of each local file why it cannot be read here; those that can be are left out."""
    problems = {}
    for file in files:
        try:
            with Path(file).open("rb") as stream:
                if stream.read(4) != b"root":
                    problems[file] = "is no ROOT file"
        except OSError as error:
            problems[file] = _words(error)
    return problems


def _words(error: OSError) -> str:
    return os.strerror(error.errno or errno.EIO)


def read_first(file: str, tree: str) -> str:
    """Read the first entry of a tree with ROOT, as a step would; return why it cannot be read, empty if it can."""
    from portico import root

    loaded = root.load()
    try:
        return _unreachable(file) or _read_entry(loaded, file, tree)
    except Exception as error:  # whatever ROOT throws is the answer
        return " ".join(f"{error}".split()) or type(error).__name__


def write_small(place: str, folder: Path) -> str:
    """Write a small file to a store and remove it; return why this cannot be done, empty if it can."""
    source = folder / "small"
    source.write_bytes(b"\0")
    try:
        if problem := _unreachable(place):
            return problem
        storage = storage_of(place)
        storage.make(place.rpartition("/")[0])
        storage.write(place, source)
        storage.remove(place)
    except PorticoError as error:
        return str(error)
    finally:
        source.unlink()
    return ""


def _unreachable(file: str) -> str:
    """Say why the server of a ``root://`` URL cannot be reached: XRootD's client would try for minutes."""
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
        return "" if opened.GetNkeys() == 0 else f"holds no tree '{tree}'"
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
