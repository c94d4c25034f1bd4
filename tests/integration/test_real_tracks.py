"""Real collisions through the vertex fit: K0S -> pi pi."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "plot_k0s.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("plot_k0s", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pairs(tool, real_data):
    path = real_data / tool.FILE
    if not path.is_file():
        pytest.skip(f"no {path}")
    return tool.fitted_pairs(path)


def test_k0s_peak(tool, pairs):
    """A plain crossing of circles in the same tracks gives 49 +- 8 at 497.9 +- 0.9 MeV, width 4.7 +- 0.8 MeV."""
    peak = tool.measure(pairs)
    assert peak.significance > 8.0
    assert peak.mean == pytest.approx(tool.MASS, abs=0.002)
    assert peak.width == pytest.approx(0.0047, abs=0.0015)
    assert peak.same_charge < 8
    # Golden numbers: of this fit with the covariances of the simulation's model.
    assert peak.pairs == pytest.approx(49, abs=3), peak
    assert peak.signal == pytest.approx(42.3, abs=3.0), peak
    assert 1e3 * peak.mean == pytest.approx(498.3, abs=0.4), peak


def test_error_of_the_mass_describes_the_peak(tool, pairs):
    """The assigned covariances are those of another detector model: the pull is of order one, not exactly one."""
    inside = tool.select(pairs) & (pairs["charge"] < 0) & (abs(pairs["mass"] - tool.MASS) < 0.015)
    pull = (pairs["mass"] - tool.MASS)[inside] / pairs["mass_error"][inside]
    low, high = np.percentile(pull, [16, 84])
    assert 0.5 < 0.5 * (high - low) < 1.6


def test_nothing_peaks_where_nothing_points(tool, pairs):
    away = {name: values[(pairs["cosine"] < 0.99) & (pairs["lxy"] > 0.5)] for name, values in pairs.items()}
    mass = away["mass"][away["charge"] < 0]
    inside = np.sum((mass > tool.WINDOW[0]) & (mass < tool.WINDOW[1]))
    beside = sum(np.sum((mass > low) & (mass < high)) for low, high in tool.SIDEBANDS) / 1.5
    assert inside > 8
    assert abs(inside - beside) < 4.0 * math.sqrt(inside + beside)
