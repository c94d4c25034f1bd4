"""A workspace of pyhf as a RooFit workspace with a ModelConfig: ROOT reads its HS3, in a process of its own.

The workspace ``w`` holds ``simPdf`` over the category ``channelCat``, ``obsData`` and ``ModelConfig``. Parameters have
the names of `portico.stats.exports.workspace_hs3`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from portico.stats.exports.roofit import in_another_process, serve, write
from portico.stats.exports.workspace_hs3 import workspace_hs3
from portico.stats.workspace import Workspace

__all__ = ["write_workspace_roofit"]


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
    in_another_process(("portico.stats.exports.workspace_roofit",), json.dumps(workspace_hs3(workspace)), path)


def _write(content: str) -> bool:
    import ROOT

    workspace = ROOT.RooWorkspace("w")
    read = ROOT.RooJSONFactoryWSTool(workspace).importJSONfromString(content)
    return bool(read and workspace.obj("ModelConfig") and write(workspace, None, sys.argv[1]))


if __name__ == "__main__":
    serve(_write)
