"""The C++ of a step in this process, for tests, notebooks and tools that call it themselves."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from portico import root
from portico.environment.bundle import collect

__all__ = ["load_cpp"]

# Until the process ends: cling knows a file by its inode, which another header may get once this one is removed, and
# would then be taken for included.
_unpacked: list[tempfile.TemporaryDirectory[str]] = []


def load_cpp(function: str, folder: Path) -> Any:
    """Load ROOT, and declare what a step declares of C++, as a worker does.

    Parameters
    ----------
    function : str
        The step, as ``module:function``.
    folder : Path
        Where the module is looked up first.

    Returns
    -------
    module
        ROOT.

    Raises
    ------
    PorticoError
        If something is missing or does not compile.
    """
    bundle = collect(function, folder).with_library()
    loaded = root.load()
    _unpacked.append(unpacked := tempfile.TemporaryDirectory(prefix="portico-"))
    with zipfile.ZipFile(io.BytesIO(bundle.archive)) as archive:
        archive.extractall(unpacked.name)
    if bundle.library:
        root.load_library(Path(unpacked.name, bundle.library))
    for name, digest in bundle.declared.items():
        root.declare(Path(unpacked.name, name), name, digest)
    return loaded
