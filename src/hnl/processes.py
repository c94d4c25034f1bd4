"""The simulated processes: their checked parameters, and the C++ call that simulates one entry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

from hnl.constants import MASSES
from portico.errors import nearest

#: Mean number of additional collisions by ``mode``.
MODES: Final[Mapping[str, float]] = {"fast": 0.0, "data-like": 30.0}
MESONS: Final[Mapping[str, str]] = {"Ds": "ds", "Dplus": "dplus"}
_PDG = {"Ds": 431, "Dplus": 411}
#: Which processes of the meson pools belong to each origin.
ORIGINS: Final[Mapping[str, tuple[str, ...]]] = {
    "all": ("hardccbar", "hardbbbar"),
    "prompt": ("hardccbar",),
    "b": ("hardbbbar",),
}
#: Parts of a mixture and what they set.
PARTS: Final[Mapping[str, Mapping[str, str]]] = {
    "signal": {"process": "signal"},
    "control": {"process": "control", "meson": "Ds"},
    "control_dplus": {"process": "control", "meson": "Dplus"},
    "background": {"process": "background"},
}
PROCESSES: Final = ("signal", "control", "background", "mixture")
MAX_PILEUP: Final = 200.0  # what the Poisson numbers are exact for, with room for the profile's tail
_OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "mass": ("signal", "mixture"),
    "ctau": ("signal", "mixture"),
    "meson": ("control",),
    "origin": ("signal", "control", "mixture"),
    "fractions": ("mixture",),
}


def pool_factor(pool: str, description: Mapping[str, Any], origin: str = "all") -> float:
    """Return how many decays (events) of the full spectrum one draw from a pool stands for.

    Parameters
    ----------
    pool : {"ds", "dplus", "background"}
        Which pool.
    description : mapping
        Content of ``pools.json``.
    origin : {"all", "prompt", "b"}
        Which mesons are drawn.

    Returns
    -------
    float
        Rounded to 1/1024, so that sums of it are exact and do not depend on their order.
    """
    prefix = "" if pool == "background" else f"{pool}_"
    processes = [description[pool][name] for name in ORIGINS[origin]]
    total, kept = (sum(p[f"{prefix}{what}cross_section_pb"] for p in processes) for what in ("", "kept_"))
    return round(1024 * float(total / kept)) / 1024


def is_mixture(parameters: Mapping[str, Any]) -> bool:
    """Return whether the parameters are those of a mixture, which has no normalisation of its own."""
    return parameters.get("process") == "mixture"


def event_expression(parameters: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    """Return the C++ call that simulates one entry.

    Parameters
    ----------
    parameters : mapping
        Of the sample, as `hnl.simulate` describes.
    description : mapping
        Content of ``pools.json``.

    Raises
    ------
    ValueError
        If a parameter is missing, out of range, or not one of the process.
    """
    process = parameters.get("process")
    if process not in PROCESSES:
        hint = nearest(str(process), PROCESSES)
        raise ValueError(f"parameter 'process' is {process!r}; {hint}")
    for name, processes in _OWN.items():
        if name in parameters and process not in processes:
            raise ValueError(f"parameter '{name}' is for {' and '.join(processes)}, not for {process}; leave it out")
    if process == "mixture":
        return _mixture(parameters, description)
    meson, origin = _one_of(parameters, "meson", MESONS), _one_of(parameters, "origin", ORIGINS)
    pool = "background" if process == "background" else MESONS[meson]
    request = _request(parameters, pool_factor(pool, description, origin), origin)
    if process == "background":
        return f"hnl::simulate_background(entry, {request})"
    if process == "control":
        return f"hnl::simulate_control(entry, {request}, {_PDG[meson]})"
    mass, ctau = (_number(parameters, name) for name in ("mass", "ctau"))
    low, high = MASSES["muon"] + MASSES["pion"], MASSES["Ds"] - MASSES["muon"]
    if not low < mass < high or not ctau > 0.0:
        allowed = f"mass must be between {low:.4f} and {high:.4f}, ctau above 0"
        raise ValueError(f"mass {mass} GeV, ctau {ctau} mm: {allowed}")
    return f"hnl::simulate_signal(entry, {request}, {mass!r}, {ctau!r})"


def _request(parameters: Mapping[str, Any], per_try: float, origin: str) -> str:
    """Return the C++ of what an entry is asked for besides its process."""
    seed, muons = _whole(parameters, "seed", None), _whole(parameters, "min_muons", 1)
    mode = _one_of(parameters, "mode", MODES)
    pileup = _number(parameters, "pileup") if "pileup" in parameters else MODES[mode]
    if not 0.0 <= pileup <= MAX_PILEUP:
        raise ValueError(f"parameter 'pileup' is {pileup}; give a mean from 0 to {MAX_PILEUP:.0f} collisions")
    return f"hnl::Request{{{seed}ULL, {per_try!r}, {muons}, {pileup!r}, hnl::Origin::{origin}}}"


def _mixture(parameters: Mapping[str, Any], description: Mapping[str, Any]) -> str:
    """Return the C++ that draws the process of an entry and simulates it."""
    fractions = _fractions(parameters)
    calls = []
    for part in fractions:
        process = PARTS[part]["process"]
        own = {name: value for name, value in parameters.items() if process in _OWN.get(name, PROCESSES)}
        calls.append(event_expression({**own, **PARTS[part]}, description))
    shares = ", ".join(repr(share) for share in accumulate(fractions.values()))
    choices = [f"process == {k} ? {call}" for k, call in enumerate(calls[:-1])]
    seed = _whole(parameters, "seed", None)
    return (
        f"const auto process = hnl::draw_process(entry, {seed}ULL, {{{shares}}}); "
        f"return {' : '.join([*choices, calls[-1]])};"
    )


def _fractions(parameters: Mapping[str, Any]) -> dict[str, float]:
    given = parameters.get("fractions")
    example = "fractions: {control: 0.6, background: 0.4}"
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"parameter 'fractions' is {given!r}; a mixture needs its parts, for example: {example}")
    for part in given:
        if part not in PARTS:
            raise ValueError(f"parameter 'fractions' has '{part}'; {nearest(str(part), PARTS)}")
    fractions = {part: _number(given, part) for part in PARTS if part in given}
    if min(fractions.values()) < 0.0 or not math.isclose(sum(fractions.values()), 1.0, abs_tol=1e-6):
        raise ValueError(f"parameter 'fractions' is {given!r}; give numbers from 0 on that add to 1: {example}")
    return fractions


def _one_of(parameters: Mapping[str, Any], name: str, valid: Mapping[str, Any]) -> str:
    """Return a word, the first of the valid ones by default."""
    value = parameters.get(name, next(iter(valid)))
    if value not in valid:
        raise ValueError(f"parameter '{name}' is {value!r}; {nearest(str(value), valid)}")
    return str(value)


def _whole(parameters: Mapping[str, Any], name: str, default: int | None) -> int:
    value = parameters.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"parameter '{name}' is {value!r}; give an integer from 0 on, for example: {name}: 1")
    return value


def _number(parameters: Mapping[str, Any], name: str) -> float:
    value = parameters.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        found = "missing" if value is None else repr(value)
        raise ValueError(f"parameter '{name}' is {found}; give a number, for example: {name}: 1.0")
    return float(value)
