"""hnl.limits on histograms made by hand; its counting is tested in test_counting."""

from __future__ import annotations

import json
import math
from typing import Any

import hist
import numpy as np
import pytest
from matplotlib.figure import Figure

from hnl import physics
from hnl.limits import limits, mass_resolution, mass_window
from portico import Sample
from portico.errors import ConfigError

NAMES = [f"{sign}lxy{lengths}" for sign in ("SS", "OS") for lengths in ("0to1", "1to5", "5toInf")]
EDGES = np.linspace(0, 2, 1001)
SIGNAL = Sample(name="hnl_1p0", kind="signal", files=("s.root",), parameters={"mass": 1.0, "ctau": 10.0})
DATA = Sample(name="data", kind="data", files=("d.root",))
BACKGROUND = Sample(name="qcd", kind="background", files=("b.root",))


def test_window_and_sidebands() -> None:
    window = mass_window(EDGES, 1.0, half_width=3, inner=4, outer=10)
    sigma = mass_resolution(1.0)
    assert sigma == pytest.approx(8.478e-3)
    assert window.low <= 1 - 3 * sigma < window.low + 0.002
    assert window.high - 0.002 < 1 + 3 * sigma <= window.high
    assert EDGES[window.lower.stop] <= 1 - 4 * sigma
    assert EDGES[window.upper.start] >= 1 + 4 * sigma
    assert EDGES[window.lower.start] <= 1 - 10 * sigma
    assert EDGES[window.upper.stop] >= 1 + 10 * sigma
    assert window.scale == pytest.approx(0.5, rel=0.1)
    with pytest.raises(ValueError, match="leave the histogram"):
        mass_window(EDGES, 1.95, half_width=3, inner=4, outer=10)
    with pytest.raises(ValueError, match="no whole bin"):
        mass_window(np.linspace(0, 2, 11), 1.0, half_width=3, inner=4, outer=10)
    with pytest.raises(ValueError, match="0 < window <= sideband_inner"):
        mass_window(EDGES, 1.0, half_width=5, inner=4, outer=10)


def products(masses: dict[str, list[float]], weight: float = 1.0) -> dict[str, Any]:
    """Histograms of the N mass of one sample, by category."""
    result = {}
    for name in NAMES:
        for product, bins in (("Hnl_mass", 40), ("Hnl_mass_fine", 1000)):
            filled = hist.Hist(hist.axis.Regular(bins, 0, 2), storage=hist.storage.Weight())
            values = masses.get(name, [])
            result[f"{name}_{product}"] = filled.fill(values, weight=weight) if values else filled
    return result


def flat(number: int) -> list[float]:
    """Masses spread evenly over window and sidebands at 1 GeV, `number` of them per 0.1 GeV."""
    return [*np.linspace(0.9, 1.1, 2 * number, endpoint=False) + 0.05 / number]


@pytest.fixture(scope="module")
def outcome() -> dict[str, Any]:
    results = {
        "hnl_1p0": products({"SSlxy0to1": [1.0] * 40, "SSlxy1to5": [0.99, 1.01] * 10, "OSlxy0to1": [1.0] * 25}, 0.2),
        "data": products({"SSlxy0to1": flat(200), "SSlxy1to5": flat(6), "OSlxy5toInf": flat(100)}),
    }
    return dict(limits(results, {"hnl_1p0": SIGNAL, "data": DATA}, compare=True))


def test_yields_of_categories(outcome: dict[str, Any]) -> None:
    channels = outcome["limits"]["samples"]["hnl_1p0"]["channels"]
    assert list(channels) == [*NAMES, "combined"]
    low, high = outcome["limits"]["samples"]["hnl_1p0"]["window"]
    first = channels["SSlxy0to1"]
    assert first["observed"] == pytest.approx(2000 * (high - low), abs=1)
    assert first["background"] == pytest.approx(first["observed"], rel=0.05)
    assert first["background_uncertainty"] == pytest.approx(first["background"] / math.sqrt(2000 * 0.104), rel=0.05)
    assert first["signal"] == pytest.approx(8.0)
    assert first["signal_uncertainty"] == pytest.approx(0.2 * math.sqrt(40))
    assert channels["combined"]["signal"] == pytest.approx(8 + 4 + 5)


def test_methods_and_notes(outcome: dict[str, Any]) -> None:
    channels = outcome["limits"]["samples"]["hnl_1p0"]["channels"]
    assert channels["SSlxy0to1"]["method"] == "asymptotic"
    assert channels["SSlxy0to1"]["notes"] == []
    assert 0 < channels["SSlxy1to5"]["background"] < 5
    assert channels["SSlxy1to5"]["method"] == "counting"
    assert channels["combined"]["asymptotic_signal_strength"]["observed"] > 0
    assert "fewer than 5 background events in SSlxy1to5, OSlxy0to1" in channels["combined"]["notes"][1]
    assert channels["combined"]["method"] == "counting"


def test_limits_are_one_limit_in_three_units(outcome: dict[str, Any]) -> None:
    sample = outcome["limits"]["samples"]["hnl_1p0"]
    reference = physics.coupling_squared(1.0, 10.0)
    assert sample["reference_coupling_squared"] == pytest.approx(reference)
    for name in ("SSlxy0to1", "OSlxy0to1", "combined"):
        channel = sample["channels"][name]
        strength, events, coupling = (
            channel["limit"][unit] for unit in ("signal_strength", "events", "coupling_squared")
        )
        assert events["observed"] == pytest.approx(strength["observed"] * channel["signal"])
        assert coupling["expected"] == pytest.approx([reference * value for value in strength["expected"]])
    assert "lifetime is that of the sample and held fixed" in outcome["limits"]["convention"]


def test_empty_sidebands_are_not_taken_as_no_background(outcome: dict[str, Any]) -> None:
    channel = outcome["limits"]["samples"]["hnl_1p0"]["channels"]["OSlxy0to1"]
    # no event in sidebands twice as wide as the window: (0 + 1) / 2 +- sqrt(0 + 1) / 2
    assert (channel["observed"], channel["background"], channel["background_uncertainty"]) == (0, 0.5, 0.5)
    # exact: n = 0 and a signal of relative uncertainty 20%, negative binomial with 25 events; the background cancels
    mean = 25 * (0.05 ** (-1 / 25) - 1)
    assert channel["limit"]["events"]["observed"] == pytest.approx(mean, rel=1e-4)
    assert channel["limit"]["events"]["expected"][0] == pytest.approx(mean, rel=1e-4)
    assert channel["limit"]["events"]["expected"][4] > 1.5 * mean
    assert channel["method"] == "counting"


def test_category_without_signal_limits_events_only(outcome: dict[str, Any]) -> None:
    channels = outcome["limits"]["samples"]["hnl_1p0"]["channels"]
    with_data, empty = channels["OSlxy5toInf"], channels["OSlxy1to5"]
    for channel in (with_data, empty):
        assert channel["limit"]["signal_strength"] is None
        assert channel["limit"]["coupling_squared"] is None
        assert "no simulated signal" in channel["notes"][0]
    assert empty["limit"]["events"]["observed"] == pytest.approx(-math.log(0.05), rel=1e-5)
    assert with_data["limit"]["events"]["observed"] > 5


def test_outcome_is_json_and_figures(outcome: dict[str, Any]) -> None:
    text = json.dumps(outcome["limits"], allow_nan=False)
    assert json.loads(text) == outcome["limits"]
    figures = {name: value for name, value in outcome.items() if name != "limits"}
    assert set(figures) == {"brazil", "limit_hnl_1p0", *(f"mass_{name}" for name in NAMES)}
    assert all(isinstance(figure, Figure) for figure in figures.values())
    columns = figures["limit_hnl_1p0"].axes[0]
    drawn = [line.get_ydata()[0] for line in columns.lines if line.get_marker() == "o"]
    channels = outcome["limits"]["samples"]["hnl_1p0"]["channels"].values()
    assert drawn == [c["limit"]["signal_strength"]["observed"] for c in channels if c["limit"]["signal_strength"]]
    assert [text.get_text() for text in columns.texts] == ["no signal"] * 3


def test_background_from_simulation_when_there_is_no_data() -> None:
    results = {"hnl_1p0": products({"SSlxy0to1": [1.0] * 40}, 0.2), "qcd": products({"SSlxy0to1": [1.0] * 30}, 0.5)}
    outcome = limits(results, {"hnl_1p0": SIGNAL, "qcd": BACKGROUND})
    channel = outcome["limits"]["samples"]["hnl_1p0"]["channels"]["SSlxy0to1"]
    assert (channel["observed"], channel["background"]) == (None, 15.0)
    assert channel["background_uncertainty"] == pytest.approx(0.5 * math.sqrt(30))
    assert channel["limit"]["signal_strength"]["observed"] is None
    assert outcome["limits"]["observed"] is None
    assert len(channel["limit"]["signal_strength"]["expected"]) == 5


@pytest.mark.parametrize(("reference", "notes"), [(50.0, 1), (1.0, 0)])
def test_limit_on_coupling_above_one_is_noted(reference: float, notes: int) -> None:
    # the signal strength is limited to 0.4: 3 events of 8
    results = {"hnl_1p0": products({"SSlxy0to1": [1.0] * 40}, 0.2), "qcd": products({})}
    sample = SIGNAL.model_copy(update={"parameters": {"mass": 1.0, "coupling_squared": reference}})
    entry = limits(results, {"hnl_1p0": sample, "qcd": BACKGROUND})["limits"]["samples"]["hnl_1p0"]
    assert entry["reference_coupling_squared"] == reference
    assert entry["channels"]["combined"]["notes"].count("limits on |V|^2 above 1 exclude nothing") == notes


def test_samples_that_do_not_fit() -> None:
    results = {"hnl_1p0": products({}), "data": products({"SSlxy0to1": [1.0]}, 0.5), "qcd": products({})}
    with pytest.raises(ValueError, match="no sample is of kind signal"):
        limits(results, {"data": DATA})
    with pytest.raises(ValueError, match="no sample is of kind data or background"):
        limits(results, {"hnl_1p0": SIGNAL})
    with pytest.raises(ValueError, match="data must have weight 1"):
        limits(results, {"hnl_1p0": SIGNAL, "data": DATA})
    with pytest.raises(ConfigError, match="the parameter 'mass' is missing"):
        limits(results, {"hnl_1p0": SIGNAL.model_copy(update={"parameters": {}}), "qcd": BACKGROUND})
    control = DATA.model_copy(update={"parameters": {"process": "control"}})
    with pytest.raises(ValueError, match="no sample is of kind data or background"):
        limits(results, {"hnl_1p0": SIGNAL, "data": control})


def test_no_signal_anywhere() -> None:
    results = {"hnl_1p0": products({}), "qcd": products({"SSlxy0to1": [1.0] * 10})}
    outcome = limits(results, {"hnl_1p0": SIGNAL, "qcd": BACKGROUND})
    combined = outcome["limits"]["samples"]["hnl_1p0"]["channels"]["combined"]
    assert combined["method"] is None
    assert set(combined["limit"].values()) == {None}
    assert "no simulated signal" in combined["notes"][0]
