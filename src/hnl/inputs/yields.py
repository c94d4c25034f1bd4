"""Signal efficiencies at any lifetime: the fraction of all produced decays Ds -> mu N -> mu mu pi that is selected.

The samples of one mass together are N_s decays at each of their lifetimes tau_s, N_s = processed events / filter
efficiency. A selected event that decayed after the proper length t, with the product c of its corrections (trigger,
identification, pile-up), counts at a lifetime tau

    w(t; tau) = c [exp(-t/tau)/tau] / sum_s [N_s exp(-t/tau_s)/tau_s],

and the efficiency is the sum of w. That is the expected number of selected decays over the number of all decays,
whatever the sizes and cross sections of the samples: the sum over events is on average the integral over t of
c(t) a(t) exp(-t/tau)/tau, a the fraction of decays at t that is selected, since sum_s N_s exp(-t/tau_s)/tau_s dt is the
number that was generated at t. The nominal weight of a sample is cross section x luminosity / N_s x c; with
w N_s / c in front it is the weight of the variations ``lifetime:ctau_20``, see `hnl.lifetime`. So the yield of these
histograms, over cross section x luminosity and added over the samples, is this efficiency.

The error is the root of the sum of w^2: N_s are numbers of decays that were made, so that the uncertainty of the filter
efficiency is in it. That a sum of w is of a binomial number is left out: efficiencies are a few per mille.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hnl.inputs.spectra import categories_of
from hnl.inputs.variations import signal_samples
from hnl.lifetime import check_lifetimes
from portico.errors import ConfigError, InputError
from portico.selection.booking import event_weight
from portico.selection.model import INCLUSIVE

if TYPE_CHECKING:
    from portico import Sample

__all__ = ["Efficiency", "Generated", "Signal", "read_signal"]

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_COLUMNS: Final = ("C_Hnl_mass", "C_Hnl_gen_l_prop", "weight", "selection")
_ROUNDING: Final = 0.01  # of merge_decays, which are written with a few digits


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Fraction of all produced decays that is selected.

    Attributes
    ----------
    value, error : float
        Its statistical uncertainty is that of the simulation.
    effective_events : float
        (sum w)^2 / sum w^2: how many equal weights would have this uncertainty. Few mean that it is not known.
    """

    value: float
    error: float
    effective_events: float


@dataclass(frozen=True, slots=True)
class Generated:
    """One simulated sample.

    Attributes
    ----------
    name : str
    ctau : float
        Generated proper decay length in mm.
    decays : float
        Decays that it stands for: processed events / filter efficiency.
    event_weight : float
        Nominal weight of an event without corrections.
    """

    name: str
    ctau: float
    decays: float
    event_weight: float


@dataclass(frozen=True)
class Signal:
    """The selected events of all samples of one mass; one entry per event and selection that it passes.

    Attributes
    ----------
    mass : float
        Generated mass of N in GeV.
    samples : tuple of Generated
    selections : tuple of str
        ``inclusive`` and the categories, in the order of `selection`.
    candidate_mass : array of shape (entries,)
        Mass of the chosen mu pi candidate in GeV.
    proper_length : array of shape (entries,)
        Generated proper decay length in mm.
    weight : array of shape (entries,)
        Nominal, of its own sample.
    selection : array of int, shape (entries,)
        Index into `selections`.
    sample : array of int, shape (entries,)
        Index into `samples`.
    """

    mass: float
    samples: tuple[Generated, ...]
    selections: tuple[str, ...]
    candidate_mass: Array
    proper_length: Array
    weight: Array
    selection: Integers
    sample: Integers

    @property
    def categories(self) -> tuple[str, ...]:
        """The selections but for the inclusive one."""
        return tuple(name for name in self.selections if name != INCLUSIVE)

    @property
    def shortest(self) -> float:
        """The shortest generated lifetime in mm; below it the effective events become few."""
        return min(sample.ctau for sample in self.samples)

    @property
    def longest(self) -> float:
        """The longest generated lifetime in mm."""
        return max(sample.ctau for sample in self.samples)

    @cached_property
    def correction(self) -> Array:
        """Product of the corrections of every entry: weights that do not depend on the sample."""
        return np.asarray(self.weight / np.array([sample.event_weight for sample in self.samples])[self.sample])

    @cached_property
    def _log_generated(self) -> Array:
        """Logarithm of the number of decays that were generated per mm at each entry's proper length."""
        terms = [
            math.log(sample.decays / sample.ctau) - self.proper_length / sample.ctau for sample in self.samples
        ]
        return np.asarray(np.logaddexp.reduce(terms, axis=0))

    def weights(self, ctau: float) -> Array:
        """Return the part of the efficiency at a lifetime (mm) that each entry is, of shape (entries,)."""
        exponents = -self.proper_length / ctau - math.log(ctau) - self._log_generated
        return np.asarray(self.correction * np.exp(exponents))

    def chosen(self, selection: str) -> npt.NDArray[np.bool_]:
        """Return which entries are of a selection.

        Raises
        ------
        ValueError
            If there is no such selection.
        """
        if selection not in self.selections:
            raise ValueError(f"no selection '{selection}' of signal; there are {', '.join(self.selections)}")
        return np.asarray(self.selection == self.selections.index(selection))

    def efficiency(
        self, ctau: float, *, window: tuple[float, float] | None = None, extrapolate: bool = False
    ) -> dict[str, Efficiency]:
        """Return the efficiency of every selection at one lifetime; see `efficiencies`."""
        return self.efficiencies([ctau], window=window, extrapolate=extrapolate)[0]

    def efficiencies(
        self, ctaus: Sequence[float] | Array, *, window: tuple[float, float] | None = None, extrapolate: bool = False
    ) -> list[dict[str, Efficiency]]:
        """Return the efficiency of every selection at many lifetimes.

        Parameters
        ----------
        ctaus : sequence of float
            Proper decay lengths in mm.
        window : (float, float), optional
            Only candidates with low <= mass < high, in GeV.
        extrapolate : bool
            Allow lifetimes above the longest that was generated, where a few events carry all the weight.

        Returns
        -------
        list of dict of str to Efficiency
            For each lifetime, by selection: ``inclusive`` and the categories. One without events is 0 +- 0 with 0
            effective events. Lifetimes below the shortest generated one are allowed: look at the effective events.

        Raises
        ------
        ValueError
            For a lifetime that is not positive, or too long.
        """
        check_lifetimes(map(float, ctaus), self.longest, f"m_N = {self.mass:g} GeV", extrapolate=extrapolate)
        used: Any = slice(None)
        if window is not None:
            used = (self.candidate_mass >= window[0]) & (self.candidate_mass < window[1])
        selection, number = self.selection[used], len(self.selections)
        found = []
        for ctau in ctaus:
            weights = self.weights(float(ctau))[used]
            sums = np.bincount(selection, weights, number)
            squares = np.bincount(selection, weights**2, number)
            pairs = zip(self.selections, sums.tolist(), squares.tolist(), strict=True)
            found.append({n: Efficiency(s, math.sqrt(q), s * s / q if q > 0 else 0.0) for n, s, q in pairs})
        return found


def read_signal(results: Mapping[str, Any], samples: Mapping[str, Sample]) -> dict[float, Signal]:
    """Read the selected events of every mass.

    Parameters
    ----------
    results : mapping of str to Results
        Of `hnl.select.select`, by sample: the tree ``candidates``, of which four columns are read.
    samples : mapping of str to Sample
        Of kind ``signal``, with the parameters ``mass`` (GeV) and ``ctau`` (mm). Those without results are left out:
        the others stand for themselves.

    Returns
    -------
    dict of float to Signal
        By mass in GeV, in rising order; empty without signal.

    Raises
    ------
    ConfigError
        If a parameter is missing, a sample cannot be normalised, or ``merge_decays`` is not what it stands for.
    InputError
        If a tree lacks a column, has not as many choices as the cutflows say, or a decay length is not a length.
    """
    return {
        mass: _merge(mass, [_generated(sample) for sample in members], [results[sample.name] for sample in members])
        for mass, members in signal_samples(results, samples).items()
    }


def _generated(sample: Sample) -> Generated:
    weight = event_weight(sample)  # which checks the numbers
    decays = (sample.processed_events or 0.0) / sample.filter_efficiency
    ctau = sample.number("ctau")
    if not (ctau > 0 and math.isfinite(ctau)):
        raise ConfigError(f"sample '{sample.name}': ctau must be in mm and above 0, not {ctau!r}")
    ctaus, declared = (sample.parameters.get(name) for name in ("merge_ctau", "merge_decays"))
    if isinstance(ctaus, tuple) and isinstance(declared, tuple):
        own = dict(zip(ctaus, declared, strict=False)).get(ctau)
        if own is not None and not math.isclose(float(own), decays / sample.completeness, rel_tol=_ROUNDING):
            raise ConfigError(
                f"sample '{sample.name}': merge_decays says {own:g} decays at {ctau:g} mm, but processed events / "
                f"filter efficiency are {decays / sample.completeness:g}; correct the one that is wrong"
            )
    return Generated(sample.name, ctau, decays, weight)


def _merge(mass: float, generated: Sequence[Generated], results: Sequence[Any]) -> Signal:
    selections = [tuple(categories_of(found)) for found in results]
    if any(names != selections[0] for names in selections):
        raise InputError(f"the samples of m_N = {mass:g} GeV were not selected in the same categories; run them again")
    trees = [_read(sample.name, found) for sample, found in zip(generated, results, strict=True)]
    columns = [np.concatenate([tree[name] for tree in trees]) for name in _COLUMNS]
    numbers = np.repeat(np.arange(len(trees)), [len(tree["weight"]) for tree in trees])
    masses, lengths, weights, selection = columns
    return Signal(
        mass, tuple(generated), selections[0], masses.astype(np.float64), lengths.astype(np.float64),
        weights.astype(np.float64), selection.astype(np.int64), numbers.astype(np.int64),
    )  # fmt: skip


def _read(sample: str, results: Any) -> dict[str, npt.NDArray[Any]]:
    """Columns of one sample, one element per choice."""
    import awkward as ak
    import uproot

    if "candidates" not in results:
        raise InputError(f"sample '{sample}': the selection wrote no tree 'candidates'; selection.yaml: output")
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [np.empty(0)] for name in _COLUMNS}
    for path in results["candidates"]:
        with uproot.open({path: None}) as file:
            tree = file["candidates"]
            for name in _COLUMNS:
                try:  # column by column: all together takes uproot a second per RNTuple of 180 columns
                    values = tree[name].array()
                except KeyError:
                    raise InputError(
                        f"{path}: no column '{name}' among the candidates; selection.yaml must write it"
                    ) from None
                parts[name].append(ak.to_numpy(ak.flatten(values)))
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    names = categories_of(results)
    counts = np.bincount(columns["selection"].astype(np.int64), minlength=len(names)).tolist()
    expected = [results[f"cutflow_{name}"].passed[-1] for name in names]
    if counts != expected:
        raise InputError(f"sample '{sample}': the tree has {counts} choices, the cutflows of {names} say {expected}")
    if not (columns["C_Hnl_gen_l_prop"] >= 0).all() or not np.isfinite(columns["weight"]).all():
        raise InputError(f"sample '{sample}': a candidate has no generated decay length, or no weight")
    return columns
