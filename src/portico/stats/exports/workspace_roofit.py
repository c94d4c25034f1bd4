"""A workspace of pyhf as a RooFit workspace with a ModelConfig: ROOT reads its HS3, in a process of its own.

The workspace ``w`` holds ``simPdf`` over the category ``channelCat``, ``obsData`` and ``ModelConfig``. Parameters have
the names of `portico.stats.exports.workspace_hs3`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from portico.environment.interpreter import isolated
from portico.errors import PorticoError
from portico.files.atomic import write_atomic
from portico.stats.exports.workspace_hs3 import workspace_hs3
from portico.stats.workspace import Workspace

__all__ = ["write_workspace_roofit"]

_LINES: Final = 5  # of a process that failed, which are shown


def write_workspace_roofit(workspace: Workspace, path: Path) -> None:
    """Write a workspace to a ROOT file atomically.

    Parameters
    ----------
    workspace : Workspace
    path : Path
        A file that ends in ``.root``; its folder is made, a file there is replaced.

    Raises
    ------
    InputError
        If two names become one in RooFit.
    PorticoError
        If ROOT cannot be loaded, or does not write the file.
    SpaceError
        If the disk is full.
    """
    content = json.dumps(workspace_hs3(workspace))
    python, environment = isolated()
    with write_atomic(path) as aside:
        done = subprocess.run(
            [*python, "-m", "portico.stats.exports.workspace_roofit", str(aside)],
            input=content, capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        if done.returncode != 0 or not aside.exists():
            said = "\n".join(done.stderr.strip().splitlines()[-_LINES:]) or f"it ended with {done.returncode}"
            raise PorticoError(f"{path}: ROOT did not write it: {said}")


def _serve(path: str) -> None:
    """Have ROOT read HS3 from standard input, write the workspace, and end."""
    status = 1
    try:
        import ROOT

        from portico.stats.exports.roofit import write

        workspace = ROOT.RooWorkspace("w")
        read = ROOT.RooJSONFactoryWSTool(workspace).importJSONfromString(sys.stdin.read())
        status = 0 if read and workspace.obj("ModelConfig") and write(workspace, None, path) else 1
    except Exception as error:  # any: the other process shows it
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    sys.stderr.flush()
    os._exit(status)  # ROOT may crash while it is taken down; the work is done


if __name__ == "__main__":
    _serve(sys.argv[1])
