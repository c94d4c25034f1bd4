"""Signal yields under the variations of the selection, from its histograms, summed over the samples of a mass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hnl.lifetime import FACTOR
from portico.errors import InputError
from portico.selection.booking import event_weight
from portico.stats.shapes import Array

if TYPE_CHECKING:
    from portico import Sample

__all__ = ["MASS_HISTOGRAM", "members_of", "signal_samples", "summed", "variations"]

#: Histograms of the N mass in fine bins, for every selection: ``SSlxy0to1_Hnl_mass_fine``.
MASS_HISTOGRAM: Final = "Hnl_mass_fine"

_FACTORS: Final = (0.1, 10.0)  # of a yield under a variation, beyond which it is noise


def signal_samples(results: Mapping[str, Any], samples: Mapping[str, Sample]) -> dict[float, list[Sample]]:
    """Return the signal samples with results by mass in GeV, in rising order.

    Raises
    ------
    ConfigError
        If one has no parameter ``mass``.
    """
    found: dict[float, list[Sample]] = {}
    for name, sample in samples.items():
        if sample.kind == "signal" and name in results:
            found.setdefault(sample.number("mass"), []).append(sample)
    return dict(sorted(found.items()))


def members_of(results: Mapping[str, Any], samples: Mapping[str, Sample], mass: float) -> list[Sample]:
    """Return the signal samples of one mass in GeV.

    Raises
    ------
    ValueError
        If there are none.
    """
    found = signal_samples(results, samples)
    if mass not in found:
        known = ", ".join(f"{value:g}" for value in found) or "none"
        raise ValueError(f"no signal sample of m_N = {mass:g} GeV; there are {known}")
    return found[mass]


def summed(results: Mapping[str, Any], members: Sequence[Sample], product: str) -> dict[str, tuple[Array, Array]]:
    """Add a histogram and its variations over samples, each event with its corrections alone.

    The samples of one mass have cross sections that fall as 1/ctau. With those, the few events of the shortest lifetime
    would outweigh all others; without, every event counts about the same.

    Parameters
    ----------
    results : mapping of str to Results
    members : sequence of Sample
    product : str
        Name of the histogram.

    Returns
    -------
    dict of str to (array, array)
        By variation, ``nominal`` too: contents and variances with under- and overflow, of shape (bins + 2,).

    Raises
    ------
    InputError
        If a sample lacks the histogram, or a variation that another has.
    """
    sums: dict[str, tuple[Array, Array]] = {}
    for number, sample in enumerate(members):
        if product not in results[sample.name]:
            raise InputError(f"sample '{sample.name}': no histogram '{product}'; selection.yaml must fill it")
        found = results[sample.name].variations(product)
        if number and found.keys() != sums.keys():
            differing = sorted(found.keys() ^ sums.keys())[0]
            raise InputError(f"not every sample of this mass has the variation '{differing}'; run them again")
        scale = 1 / event_weight(sample)
        for name, histogram in found.items():
            values, variances = sums.get(name, (0.0, 0.0))
            sums[name] = (
                np.asarray(values + scale * histogram.values(flow=True)),
                np.asarray(variances + scale**2 * histogram.variances(flow=True)),
            )
    return sums


def variations(
    results: Mapping[str, Any],
    samples: Mapping[str, Sample],
    mass: float,
    category: str,
    *,
    notes: list[str] | None = None,
) -> dict[str, tuple[float, float]]:
    """Return by which factors the yield of a category changes under each variation of weights and shapes.

    Parameters
    ----------
    results : mapping of str to Results
        Of `hnl.select.select`, by sample: histograms ``CATEGORY_Hnl_mass_fine``, added as `summed` says.
    samples : mapping of str to Sample
    mass : float
        Of N in GeV, a generated one.
    category : str
        Or ``inclusive``.
    notes : list of str, optional
        Gets a sentence where a factor is not what was found.

    Returns
    -------
    dict of str to (float, float)
        By nuisance parameter, from the pairs ``NAME:down`` and ``NAME:up``: the factors of the yield, with all masses.
        They are between 0.1 and 10. (1, 1) in a category without events. If one of the two is missing, it is one over
        the other.

    Raises
    ------
    ValueError
        If no sample has this mass.
    InputError
        If a histogram is missing.
    """
    found = summed(results, members_of(results, samples, mass), f"{category}_{MASS_HISTOGRAM}")
    sums = {name: float(values.sum()) for name, (values, _) in found.items()}
    notes = [] if notes is None else notes
    where = f"m_N = {mass:g} GeV, {category}"
    pairs: dict[str, dict[str, float]] = {}
    for name, total in sums.items():
        nuisance, _, side = name.partition(":")
        if side in ("down", "up") and nuisance != FACTOR:
            pairs.setdefault(nuisance, {})[side] = total
    if not sums["nominal"] > 0:
        notes.append(f"{where}: no simulated signal, and so no variations of it")
        return dict.fromkeys(pairs, (1.0, 1.0))
    return {name: _factors(pair, sums["nominal"], f"{where}, {name}", notes) for name, pair in pairs.items()}


def _factors(pair: Mapping[str, float], nominal: float, where: str, notes: list[str]) -> tuple[float, float]:
    factors = {}
    for side, total in pair.items():
        factors[side] = min(max(total / nominal, _FACTORS[0]), _FACTORS[1])
        if factors[side] != total / nominal:
            notes.append(f"{where} {side}: the yield changes by {total / nominal:g}, taken as {factors[side]:g}")
    for side, other in (("down", "up"), ("up", "down")):
        if side not in factors:
            factors[side] = 1 / factors[other]
            notes.append(f"{where}: no variation {side}, taken as one over that {other}")
    return factors["down"], factors["up"]
