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
    with tempfile.TemporaryDirectory() as unpacked, zipfile.ZipFile(io.BytesIO(bundle.archive)) as archive:
        archive.extractall(unpacked)
        if bundle.library:
            root.load_library(Path(unpacked, bundle.library))
        for name, digest in bundle.declared.items():
            root.declare(Path(unpacked, name), name, digest)
    return loaded
