"""Made HistFactory models of any number of parameters, with the modifiers of a published search."""

from __future__ import annotations

from typing import Any

import numpy as np

Spec = dict[str, Any]
_SHARES = (0.6, 0.3, 0.1)  # of three backgrounds


def large_model(parameters: int, seed: int = 1) -> Spec:
    """Return a workspace with a strength, normsys and histosys that channels share, staterror, and shapesys.

    Two fifths of the parameters are uncertainties of the simulation's statistics by bin, a fifth such of a background
    from data, the others half normsys, half histosys of some per cent, each in half of all samples.

    Parameters
    ----------
    parameters : int
        20 or more.
    seed : int
    """
    rng = np.random.default_rng(seed)
    channels = max(2, round(0.04 * parameters))
    bins = max(2, round(0.4 * parameters / channels))
    names = [f"syst{i}" for i in range(parameters - 1 - (channels + channels // 2) * bins)]
    pulls = rng.normal(0, 0.7, len(names))
    x = (np.arange(bins) + 0.5) / bins
    made, observations = [], []
    for c in range(channels):
        samples, total = [_signal(x, names, rng)], np.zeros(bins)
        for number, share in enumerate(_SHARES):
            nominal = 400 * share * np.exp(-2 * x) * rng.uniform(0.8, 1.2)
            modifiers, truth = _systematics(nominal, x, names, pulls, rng)
            if number == 1 and c < channels // 2:
                modifiers.append({"name": f"data{c}", "type": "shapesys", "data": (0.1 * nominal).tolist()})
            else:
                errors = np.sqrt(0.2 * nominal)
                modifiers.append({"name": f"statistics{c}", "type": "staterror", "data": errors.tolist()})
            samples.append({"name": f"background{number}", "data": nominal.tolist(), "modifiers": modifiers})
            total += truth
        made.append({"name": f"channel{c}", "samples": samples})
        data = rng.poisson(np.maximum(total, 1.0)).astype(float)
        observations.append({"name": f"channel{c}", "data": data.tolist()})
    measurement = {"name": "made", "config": {"poi": "mu", "parameters": []}}
    return {"channels": made, "observations": observations, "measurements": [measurement], "version": "1.0.0"}


def _signal(x: np.ndarray, names: list[str], rng: np.random.Generator) -> Spec:
    peak = np.exp(-0.5 * ((x - 0.6) / 0.15) ** 2)
    data = 20 * peak / peak.sum() * rng.uniform(0.3, 1)
    modifiers: list[Spec] = [{"name": "mu", "type": "normfactor", "data": None}]
    for name in names[1::2]:
        size = rng.normal(0, 0.03)
        if rng.random() < 0.5:
            modifiers.append({"name": name, "type": "normsys", "data": {"hi": 1 + size, "lo": 1 / (1 + size)}})
    return {"name": "signal", "data": data.tolist(), "modifiers": modifiers}


def _systematics(
    nominal: np.ndarray, x: np.ndarray, names: list[str], pulls: np.ndarray, rng: np.random.Generator
) -> tuple[list[Spec], np.ndarray]:
    """Return modifiers of a background, and its events with the parameters pulled."""
    modifiers: list[Spec] = []
    truth = nominal.copy()
    for i, name in enumerate(names):
        if rng.random() > 0.5:
            continue
        size, other = rng.normal(0, 0.04), rng.uniform(0.7, 1.3)  # up, and down as compared with it
        if i % 2:
            modifiers.append({"name": name, "type": "normsys", "data": {"hi": 1 + size, "lo": 1 / (1 + size * other)}})
            truth *= 1 + size * pulls[i]
        else:
            tilt = size * (2 * x - 1) + rng.normal(0, 0.01, len(x))
            sides = {"hi_data": (nominal * (1 + tilt)).tolist(), "lo_data": (nominal * (1 - tilt * other)).tolist()}
            modifiers.append({"name": name, "type": "histosys", "data": sides})
            truth += nominal * tilt * pulls[i]
    return modifiers, truth
