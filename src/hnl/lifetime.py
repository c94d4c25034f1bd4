"""Lifetimes: the decays of one sample, or of several of one mass, weighted to other lifetimes of N.

A decay after the proper length t has the weight ``lifetime_weight`` of ``include/lifetime.h``, for a target ctau

    w = N [exp(-t/ctau)/ctau] / sum_i [N_i exp(-t/ctau_i)/ctau_i],

with N_i decays generated at ctau_i and N those of the event's own sample; with one sample this is
(ctau_1/ctau) exp[t (1/ctau_1 - 1/ctau)]. Each sample keeps its own normalisation: the samples of a mass, weighted
so and added, are one sample of the target.

Samples are merged where they say so: parameters ``merge_ctau``, a list of the lifetimes in mm, and ``merge_decays``,
how many decays each stands for (processed events / filter efficiency); both the same for all samples of a mass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from portico import summary
from portico.selection import Selection
from portico.selection.model import INCLUSIVE

if TYPE_CHECKING:
    from portico import Sample

#: The factor of the weight, and with it the name of the variations: ``lifetime:ctau_20``.
FACTOR: Final = "lifetime"


def tag(ctau: float) -> str:
    """Name of the variation that is weighted to a lifetime in mm: 20 is ``ctau_20``, 0.5 is ``ctau_0p5``."""
    return f"ctau_{ctau:g}".replace(".", "p").replace("+", "")


def with_lifetimes(
    selection: Selection, sample: Sample, lifetimes: Sequence[float], *, extrapolate: bool = False
) -> tuple[Selection, Sample]:
    """Add the weight to a selection, and the numbers that it needs to the sample.

    Parameters
    ----------
    selection : Selection
        Gets one variation for each lifetime, of the kind ``signal``.
    sample : Sample
        Signal with the parameter ``ctau`` in mm; others are left as they are.
    lifetimes : sequence of float
        Targets in mm.
    extrapolate : bool
        Allow targets above the longest generated lifetime, where a few events carry all the weight.

    Raises
    ------
    ValueError
        For a target that is not positive or is too long, two targets of one name, or merged samples that do not
        contain this one.
    """
    if sample.kind != "signal" or not lifetimes:
        return selection, sample
    generated = _generated(sample)
    if len({tag(ctau) for ctau in lifetimes}) < len(lifetimes):
        raise ValueError(f"two of the lifetimes {', '.join(map(str, lifetimes))} have the same name; leave one out")
    check_lifetimes(lifetimes, max(generated), f"sample '{sample.name}'", extrapolate=extrapolate)
    numbers = {"decays": generated[sample.number("ctau")]}
    for k, (ctau, decays) in enumerate(generated.items()):
        numbers |= {f"ctau_{k}": ctau, f"decays_{k}": decays}
    samples = ", ".join(f"{{sample.ctau_{k}, sample.decays_{k}}}" for k in range(len(generated)))
    # The nominal weight is the sample as it was generated.
    expression = (
        f"{{variation}} < 0 ? 1.0 : hnl::lifetime_weight(C_Hnl_gen_l_prop, {{variation}}, sample.decays, {{{samples}}})"
    )
    weight = {
        "expression": expression,
        "nominal": "-1.0",
        "variations": {tag(ctau): repr(float(ctau)) for ctau in lifetimes},
        "kinds": ["signal"],
    }
    weights = {**selection.model_dump(exclude_unset=True).get("weights", {}), FACTOR: weight}
    return (
        selection.replace(weights=weights),
        sample.model_copy(update={"parameters": {**sample.parameters, **numbers}}),
    )


def _generated(sample: Sample) -> dict[float, float]:
    """Decays by the lifetime at which they were generated."""
    own = sample.number("ctau")
    ctaus, decays = (sample.parameters.get(name) for name in ("merge_ctau", "merge_decays"))
    if ctaus is None and decays is None:
        return {own: 1.0}  # alone, their number does not matter
    if not (isinstance(ctaus, tuple) and isinstance(decays, tuple) and len(ctaus) == len(decays)):
        raise ValueError(
            f"sample '{sample.name}': merge_ctau and merge_decays must be lists of one length, "
            "for example merge_ctau: [10, 100] and merge_decays: [1.2e6, 2.6e6]"
        )
    merged = {float(ctau): float(number) for ctau, number in zip(ctaus, decays, strict=True)}
    if own not in merged or min(merged.values()) <= 0 or min(merged) <= 0:
        raise ValueError(
            f"sample '{sample.name}': merge_ctau must contain its own ctau, {own:g} mm, and all numbers must be above 0"
        )
    return merged


def check_lifetimes(ctaus: Iterable[float], longest: float, where: str, *, extrapolate: bool) -> None:
    """Refuse lifetimes in mm that are not positive, or above the longest that was generated.

    Raises
    ------
    ValueError
        If there is one.
    """
    for ctau in ctaus:
        if not (ctau > 0 and math.isfinite(ctau)):
            raise ValueError(f"lifetimes must be in mm and above 0, not {ctau!r}")
        if ctau > longest * (1 + 1e-9) and not extrapolate:
            raise ValueError(
                f"{where}: ctau {ctau:g} mm is above {longest:g} mm, the longest that was generated; few events would "
                "carry all the weight. Generate a longer one, or set the option extrapolate: true"
            )


@summary
def lifetimes(results: Mapping[str, Any], samples: Mapping[str, Sample], *, product: str = "") -> dict[str, Any]:
    """Yield and effective sample size of every mass and lifetime, from the weighted histograms.

    Parameters
    ----------
    results : mapping of str to Results
        Of `hnl.select.select` with lifetimes.
    samples : mapping of str to Sample
        Those of one mass that have the parameter ``merge_ctau`` are added.
    product : str
        The histogram whose sums are taken; any that was varied by default.

    Returns
    -------
    dict
        ``lifetimes``: by mass, then by lifetime as ``ctau_20``: ``yield`` (events), ``uncertainty``, and
        ``effective_events``, (sum w)^2 / sum w^2, with under- and overflow.

    Raises
    ------
    ValueError
        If nothing was weighted to lifetimes.
    """
    sums: dict[str, dict[str, list[float]]] = {}
    for name, sample in samples.items():
        if sample.kind != "signal":
            continue
        own = "" if "merge_ctau" in sample.parameters else f", {name}"
        of_mass = sums.setdefault(f"{sample.number('mass'):g} GeV{own}", {})
        for target, histogram in _weighted(results[name], product).items():
            total = of_mass.setdefault(target, [0.0, 0.0])
            total[0] += float(np.sum(histogram.values(flow=True)))
            total[1] += float(np.sum(histogram.variances(flow=True)))
    if not any(sums.values()):
        raise ValueError("no histogram is weighted to lifetimes; set the option 'lifetimes' of the step before")
    return {"lifetimes": {mass: {t: _describe(*pair) for t, pair in found.items()} for mass, found in sums.items()}}


def _weighted(results: Any, product: str) -> dict[str, Any]:
    """One histogram under each lifetime."""
    names = [product] if product else [name for name in results if name.startswith(f"{INCLUSIVE}_")]
    for name in names:
        varied = results.variations(name) if name in results else {}
        found = {v.partition(":")[2]: h for v, h in varied.items() if v.startswith(f"{FACTOR}:")}
        if found:
            return found
    return {}


def _describe(total: float, squares: float) -> dict[str, float]:
    effective = total * total / squares if squares > 0 else 0.0
    return {"yield": total, "uncertainty": math.sqrt(squares), "effective_events": effective}
