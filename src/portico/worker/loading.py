"""Loading of ROOT, and of what most steps need, into a process that runs chunks."""

from __future__ import annotations

import ctypes
import os
import signal
import stat
from contextlib import suppress
from pathlib import Path

from portico import root
from portico.errors import PorticoError
from portico.files import tune_xrootd

__all__ = ["leave_unsafe_folder", "load", "warm"]

_PR_SET_PDEATHSIG = 1


def load() -> None:
    """Load ROOT into a process that ends with the driver or Dask worker, who decides what Ctrl-C means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    tune_xrootd()
    leave_unsafe_folder()
    with suppress(PorticoError):  # reported when the first message needs ROOT
        root.load()


def leave_unsafe_folder() -> None:
    """Leave a current folder that any user can write to, or that has libraries named as ROOT's, which it loads first.

    Relative paths in steps lead nowhere then, as on other machines.
    """
    home = root.root_folder()
    ours = {path.name for path in (home / "lib").glob("lib*.so")} if home is not None else set()
    with suppress(OSError):
        here = Path.cwd()
        if here.stat().st_mode & stat.S_IWOTH or not ours.isdisjoint(path.name for path in here.iterdir()):
            os.chdir("/")


def warm() -> None:
    """Compile what nearly every step needs, for the processes that are forked from this one."""
    import ROOT

    from portico.worker.frame import check_methods

    check_methods()
    frame = ROOT.RDataFrame(1).Define("x", "1.0 + rdfentry_").Define("w", "2.f * x")
    kept = frame.Filter("x > 0 && w < 9", "cut")
    results = [
        kept.Count(), kept.Sum("x"), kept.Max("x"), kept.Report(), kept.Histo1D(("warm", "", 1, 0.0, 2.0), "x"),
        kept.Histo1D(("weighted", "", 1, 0.0, 2.0), "x", "w"),
    ]  # fmt: skip
    for result in results:
        result.GetValue()
