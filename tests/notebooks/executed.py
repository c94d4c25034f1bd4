"""Notebooks executed without a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[2] / "notebooks"
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
try:
    NotebookClient(notebook, timeout=800).execute()
finally:
    nbformat.write(notebook, sys.argv[1])
"""


def execute(path: Path, environment: Mapping[str, str]) -> list[NotebookNode]:
    """Execute a notebook in its folder, and return its code cells with what they say in ``said``."""
    command = [sys.executable, "-c", EXECUTE, str(path)]
    subprocess.run(command, env={**os.environ, **environment}, cwd=path.parent, timeout=850, check=True)
    return code_cells(path)


def copy(name: str, folder: Path) -> Path:
    """Copy one of the project's notebooks."""
    return Path(shutil.copy(FOLDER / name, folder / name))


def code_cells(path: Path) -> list[NotebookNode]:
    """Return the code cells of a notebook."""
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def said(cell: NotebookNode) -> str:
    """Return all that the outputs of a cell say, without how pictures and colours are encoded."""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        parts += [output.get("text", ""), data.get("text/html", ""), data.get("text/plain", "")]
        parts += [kind for kind in data if kind.startswith("image/")]
    return "\n".join(parts)


def errors(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Return the outputs that are errors."""
    return [output for cell in cells for output in cell.outputs if output.output_type == "error"]


def widgets(cells: list[NotebookNode]) -> list[str]:
    """Return the outputs that need a kernel, or an extension, to be shown."""
    kinds = [kind for cell in cells for output in cell.outputs for kind in output.get("data", {})]
    return [kind for kind in kinds if kind not in {"text/plain", "text/html", "image/png"}]
