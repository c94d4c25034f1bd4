"""The command and environment of portico's own Python processes, which take no modules from the current folder.

Otherwise a file ``fractions.py`` or ``json.py`` there, of whoever can write to that folder, would run in place of
Python's own module. The modules of an analysis come from its bundle.
"""

from __future__ import annotations

import os
import sys

__all__ = ["SAFE", "isolated"]

SAFE = "-P"
"""Python's option that keeps the current folder off the path of modules."""


def isolated(**more: str) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts this interpreter, and the environment for it.

    An empty entry of ``PYTHONPATH``, as scripts leave it behind (``export PYTHONPATH=/mine:$PYTHONPATH``), means the
    current folder too, and is left out.

    Parameters
    ----------
    **more : str
        Further variables.
    """
    environment = {**os.environ, **more}
    entries = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry not in {"", "."}]
    entries = [os.path.abspath(entry) for entry in entries]  # noqa: PTH100 (the process may leave the folder)
    environment.pop("PYTHONPATH", None)
    if entries:
        environment["PYTHONPATH"] = os.pathsep.join(entries)
    return [sys.executable, SAFE], environment
