"""Start JupyterLab with the notebooks of this project, for this machine alone.

usage: notebook.py [--no-browser] [NOTEBOOK]

Without a browser, as on a server that is reached with ssh, it prints the address, which has the token.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


def find(name: str) -> str:
    """Return the name of a notebook in the folder, given with or without folder and ending."""
    wanted, there = Path(name).with_suffix(".ipynb").name, sorted(path.name for path in FOLDER.glob("*.ipynb"))
    if wanted not in there:
        raise SystemExit(f"portico: no notebook '{name}'; valid: {', '.join(there)}")
    return wanted


def command(notebook: str, *, browser: bool) -> list[str]:
    """Return the command that starts JupyterLab."""
    return [
        sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", "--log-level=WARN", f"--ServerApp.root_dir={FOLDER}",
        f"--LabApp.default_url=/lab/tree/{notebook}", *([] if browser else ["--no-browser"]),
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Become JupyterLab."""
    parser = argparse.ArgumentParser(description="Start JupyterLab with the notebooks of this project.")
    parser.add_argument("notebook", nargs="?", default="hnl.ipynb")
    parser.add_argument("--no-browser", action="store_true")
    given = parser.parse_args(arguments)
    notebook = find(given.notebook)
    print(f"portico: JupyterLab with {notebook}; Ctrl-C ends it", flush=True)
    if given.no_browser:
        print("portico: from another machine, forward the port of the address first, "
              "such as: ssh -L 8888:127.0.0.1:8888 HOST", flush=True)  # fmt: skip
    # Cells that run commands find those of this Python.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"}
    words = command(notebook, browser=not given.no_browser)
    os.execve(words[0], words, environment)


if __name__ == "__main__":
    main(sys.argv[1:])
