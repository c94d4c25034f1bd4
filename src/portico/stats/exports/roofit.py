"""A model as a RooFit workspace with a ModelConfig, for RooStats and other programs that read workspaces.

The workspace ``w`` holds for each channel CH, and each component K of it,

- ``x_CH``: the variable, with the bins of the channel;
- ``K_CH`` and ``K_CH_norm``: the shape, and the expected events where the parameter of interest is 1;
- ``K_CH_yield``: the events of a component that the parameter of interest multiplies;
- ``model_CH``: the extended sum, times the constraints of its nuisance parameters,

and ``simPdf`` over the category ``channel``, ``obsData``, ``ModelConfig`` and the snapshot ``chosen``. A nuisance
parameter NP has the constraint ``NP_constraint``, a Gaussian around the global observable ``nom_NP``. Parameters have
the names of the model; characters that RooFit does not take become ``_``.

What differs from the likelihood of this package:

- There is no choice between shapes (RooMultiPdf is a class of Combine's own). One choice is exported: that of the fit
  without signal, or another that is given. Limits are then those without the envelope.
- In bins RooFit takes the density at the centre. Where that would misplace more than 0.5% of a shape, or 0.1 events of
  a background, the shape is integrated over the bins (RooBinSamplingPdf), which takes longer.
- There is no term of the saturated model: only differences of -log L compare.
- Parameters without bounds have wide ones: HS3 knows the roles of parameters by their bounds.

Blinded data are never written. The data are then the expectation of the fit without signal (of start values, if there
are no data at all), with the global observables of that fit, and are named ``asimovData``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from portico.environment.interpreter import isolated
from portico.errors import PorticoError
from portico.files.atomic import write_atomic
from portico.stats.exports.chosen import Chosen, choose
from portico.stats.likelihood import Choice
from portico.stats.model import Model

__all__ = ["roofit_workspace", "write", "write_aside", "write_workspace"]

_LINES: Final = 5  # of a process that failed, which are told


def roofit_workspace(model: Model, *, choice: Choice | None = None, values: Mapping[str, float] | None = None) -> Any:
    """Return a model as a RooWorkspace. This loads ROOT into the process; `write_workspace` does not.

    Parameters
    ----------
    model : Model
    choice : tuple of int, optional
        Which shape of each of the competing components; that of the fit without signal by default.
    values : mapping of str to float, optional
        Values of some or all parameters; those of the fit without signal by default, the parameter of interest 1.

    Raises
    ------
    InputError
        If there is no such choice or parameter, or two names become one in RooFit.
    FitError
        If the fit without signal does not converge.
    PorticoError
        If ROOT cannot be loaded.
    """
    return _build(choose(model, choice=choice, values=values))


def write_workspace(
    model: Model, path: str | Path, *, choice: Choice | None = None, values: Mapping[str, float] | None = None
) -> Path:
    """Write the workspace to a ROOT file atomically. ROOT runs in its own process.

    Parameters
    ----------
    model : Model
    path : str or Path
        A file that ends in ``.root``; its folder is made, a file there is replaced.
    choice, values
        See `roofit_workspace`.

    Raises
    ------
    InputError, FitError
        See `roofit_workspace`.
    PorticoError
        If ROOT cannot be loaded, or does not write the file.
    SpaceError
        If the disk is full.
    """
    return write_aside(write, choose(model, choice=choice, values=values), Path(path))


def write_aside(write: Callable[[Any, Chosen, str], bool], chosen: Chosen, path: Path) -> Path:
    """Have a process of its own build the workspace and write a file of it atomically; return the path.

    Parameters
    ----------
    write : callable
        The function ``write`` of a module: takes the workspace, what it is made of, and the path; returns whether all
        went well.
    chosen : Chosen
    path : Path

    Raises
    ------
    PorticoError
        With the last lines of the process, if it fails.
    """
    return in_another_process(("portico.stats.exports.roofit", write.__module__), chosen.to_json(), path)


def in_another_process(command: Sequence[str], content: str, path: Path) -> Path:
    """Have a module of this package write a file atomically, in a process of its own that loads ROOT.

    Parameters
    ----------
    command : sequence of str
        The module, which calls `serve`, and its arguments before the path to write.
    content : str
        What it gets on standard input.
    path : Path

    Raises
    ------
    PorticoError
        With the last lines of the process, if it fails.
    """
    python, environment = isolated()
    with write_atomic(path) as aside:
        done = subprocess.run(
            [*python, "-m", *command, str(aside.absolute())],
            input=content, capture_output=True, text=True, check=False, env=environment,
            cwd="/",  # ROOT loads libraries from the current folder
        )  # fmt: skip
        if done.returncode != 0 or not aside.exists():
            said = "\n".join(done.stderr.strip().splitlines()[-_LINES:]) or f"it ended with {done.returncode}"
            raise PorticoError(f"{path}: ROOT did not write it: {said}")
    return path


def serve(write: Callable[[str], bool]) -> None:
    """Write a file of what is on standard input, and end with 0 if all went well."""
    status = 1
    try:
        status = 0 if write(sys.stdin.read()) else 1
    except Exception as error:  # any: the other process tells it
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    sys.stderr.flush()
    os._exit(status)  # ROOT may crash while it is taken down; the work is done


def _write_chosen(content: str) -> bool:
    """Build the workspace, and have it written as the command line says."""
    chosen = Chosen.from_json(content)
    return bool(import_module(sys.argv[1]).write(_build(chosen), chosen, sys.argv[2]))


def _build(chosen: Chosen) -> Any:
    from portico.stats.exports.roofit_builder import Builder

    return Builder(chosen).workspace


def write(workspace: Any, _: Chosen | None, path: str) -> bool:
    """Write a workspace to a ROOT file; return whether that went well."""
    import ROOT

    file = ROOT.TFile(path, "RECREATE")
    if file.IsZombie():
        return False
    written = int(workspace.Write())
    file.Close()
    return written > 0 and not file.TestBit(ROOT.TFile.kWriteError)


if __name__ == "__main__":
    serve(_write_chosen)
