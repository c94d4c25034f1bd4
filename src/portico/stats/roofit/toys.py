"""Toys of models of RooFit: see `portico.stats.toys.ToySource`, and models as files that are shipped to workers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from portico.errors import ConfigError
from portico.files.atomic import write_atomic
from portico.stats.fit import Fit
from portico.stats.roofit.model import RooFitModel
from portico.stats.toys import statistic_of

__all__ = ["RooFitToys", "ThrownToy", "received", "shipped"]

_SEEDS: Final = 4  # numbers of 32 bits for each toy
_KEY: Final = "roofit"
_FILES: Final = ("file", "path")  # keys of what a model is built of, whose values are files


@dataclass(frozen=True, slots=True)
class ThrownToy:
    """One toy, which the process with ROOT throws where it is fitted.

    Attributes
    ----------
    near : Fit
        What it is thrown from, where fits to it begin.
    seeds : tuple of int
    """

    near: Fit
    seeds: tuple[int, ...]


class RooFitToys:
    """Toys of a model of RooFit, of the events and of the auxiliary measurements.

    Parameters
    ----------
    model : RooFitModel
    blind : bool
        Do not use the data: toys are thrown from the start values of the nuisance parameters.
    """

    def __init__(self, model: RooFitModel, *, blind: bool = False) -> None:
        self.observed = not blind
        self._model, self._session, self._poi = model, model.session, model.poi
        self._background: Fit | None = None
        self._conditionals: dict[float, Fit] = {}

    def sample(self, mu: float, rng: np.random.Generator) -> ThrownToy:
        """Return a toy under a strength, with the nuisance parameters at their best fit to the data for it.

        Raises
        ------
        FitError
            If that fit does not converge.
        """
        return ThrownToy(self._conditional(mu), tuple(rng.integers(0, 2**32, _SEEDS).tolist()))

    def statistic(self, mu: float, data: ThrownToy) -> float:
        """Return q~_mu of a toy.

        Raises
        ------
        FitError
            If the fits do not converge, or fewer than 0 events are expected in a bin.
        """
        self._session.ask("throw", values=dict(data.near.values), seeds=list(data.seeds))
        return self._statistic("toy", mu, data.near)

    def observed_statistic(self, mu: float) -> float:
        """Return q~_mu of the observed data.

        Raises
        ------
        ValueError
            While they are blinded.
        FitError
            If the fits do not converge.
        """
        if not self.observed:
            raise ValueError("there is no observed statistic while data are blinded")
        return self._statistic("obs", mu, self._conditional(mu))

    def _conditional(self, mu: float) -> Fit:
        """Fit the data with a fixed strength, always from the background-only fit, so that no order matters."""
        start = self._model.start
        if not self.observed:
            return Fit({**start, self._poi: mu}, 0.0, 0.0, ())
        if self._background is None:
            self._background, _ = self._session.fit("obs", {self._poi: 0.0}, [start], fresh=True)
        if mu not in self._conditionals:
            near = self._background.values
            self._conditionals[mu], _ = self._session.fit("obs", {self._poi: mu}, [near], fresh=True)
        return self._conditionals[mu]

    def _statistic(self, data: str, mu: float, near: Fit) -> float:
        fresh = True  # only the first fit, so that earlier toys do not matter

        def fit(held: float | None, starts: Sequence[Mapping[str, float]]) -> Fit:
            nonlocal fresh
            found, _ = self._session.fit(data, {} if held is None else {self._poi: held}, starts, fresh=fresh)
            fresh = False
            return found

        return statistic_of(fit, self._poi, mu, near)


def shipped(model: RooFitModel, folder: Path) -> tuple[str, list[str]]:
    """Copy the files of a model to a folder.

    Parameters
    ----------
    model : RooFitModel
    folder : Path

    Returns
    -------
    content : str
        JSON of the model, see `received`.
    files : list of str
        Names of the files that it needs beside it.

    Raises
    ------
    ConfigError
        If a file cannot be copied.
    """
    known: dict[str, str] = {}

    def beside(path: str) -> str:
        return known.setdefault(path, f"model_{len(known)}.root")

    content = _with_files(dict(model.content), beside)
    for path, name in known.items():
        try:
            with write_atomic(folder / name) as aside:
                shutil.copyfile(path, aside)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be copied to {folder}, for toys: {error.strerror}") from None
    kept = {_KEY: model.kind, "where": model.where, "content": content, "remarks": list(model.remarks)}
    return json.dumps(kept), list(known.values())


def received(content: Any, folder: Path) -> RooFitModel | None:
    """Return the model of `shipped`, with its files in a folder; None if the content is of another kind."""
    if not isinstance(content, dict) or _KEY not in content:
        return None
    made = _with_files(content["content"], lambda name: str((folder / name).absolute()))
    return RooFitModel(content["where"], content[_KEY], made, tuple(content["remarks"]))


def _with_files(content: Any, named: Callable[[str], str]) -> Any:
    """Return what a model is built of, with other names of its files; histograms in it, as HS3, have none."""
    if isinstance(content, list):
        return [_with_files(of, named) for of in content]
    if not isinstance(content, dict):
        return content
    return {
        key: named(of) if key in _FILES and isinstance(of, str) and of
        else of if key == "histograms" else _with_files(of, named)
        for key, of in content.items()
    }  # fmt: skip
