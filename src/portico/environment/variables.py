"""Environment variables that a step's code reads: they determine its result, and workers must have them too."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from portico.shown import names_secret

__all__ = ["set_variables", "variables_of"]

_READ = re.compile(r"""(?:\b(?:getenv|Getenv)\s*\(|\benviron(?:\s*\[|\.(?:get|pop|setdefault)\s*\())\s*["'](\w+)["']""")
_OF_THE_MACHINE = re.compile(
    r"HOME|USER|LOGNAME|HOSTNAME|SHELL|PWD|PATH|\w+_PATH|PYTHON\w+|TMPDIR|TMP|TEMP|DISPLAY|LANG|LC_\w+|\w+_THREADS|ROOTSYS"
    r"|(?:SLURM|CONDOR|_CONDOR|DASK|XRD|XDG|X509|KRB5|CUDA|JUPYTER)_\w+|\w*PROXY\w*"
)


def variables_of(texts: Iterable[str]) -> dict[str, str | None]:
    """Return the variables that texts of Python and C++ read by name, and their values here; None for no value.

    Those that describe a machine or hold secrets are left out.
    """
    names = {name for text in texts for name in _READ.findall(text)}
    wanted = (name for name in sorted(names) if not (_OF_THE_MACHINE.fullmatch(name) or names_secret(name)))
    return {name: os.environ.get(name) for name in wanted}


def set_variables(variables: dict[str, str | None]) -> None:
    """Give this process the values that `variables_of` found."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
