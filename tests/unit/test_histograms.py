"""hnl.histograms against numpy on random chosen candidates."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnl import histograms as step_module
from hnl.histograms import VARIABLES, Variable, event_weight, histograms
from hnl.select import SELECTIONS

ROOT = pytest.importorskip("ROOT")
HEADER = Path(step_module.__file__).parent / "include" / "selection.h"


@dataclass(frozen=True)
class StandIn:
    """What a step reads from a sample."""

    name: str = "simulation"
    kind: str = "background"
    cross_section: float | None = 2.5
    filter_efficiency: float = 0.3
    processed_events: int | None = 70_000
    luminosity: float | None = 41.6
    parameters: dict[str, Any] = field(default_factory=dict)


WEIGHT = 2.5 * 41.6 * 1000 * 0.3 / 70_000


def write(path: Path, n_events: int, variables: tuple[Variable, ...] = VARIABLES) -> dict[str, list[Any]]:
    """Write a tree of the layout of hnl.select and give its content."""
    rng = np.random.default_rng(5)
    content: dict[str, list[Any]] = {"selection": []}
    for _ in range(n_events):
        made = np.flatnonzero(rng.random(len(SELECTIONS)) < 0.3)
        content["selection"].append(made if len(made) else np.array([0]))
    buffers: dict[str, Any] = {"selection": ROOT.std.vector["int"]()}
    for variable in variables:
        name, width = variable.column, variable.high - variable.low
        if variable.of_candidate:
            # beyond both ends and on bin edges
            content[name] = [
                rng.choice(np.float32([variable.low, variable.high, *rng.normal(variable.low + width / 2, width, 3)]),
                           len(made)) for made in content["selection"]]  # fmt: skip
            buffers[name] = ROOT.std.vector["float"]()
        else:
            content[name] = rng.integers(-2, 110, n_events).tolist()
            buffers[name] = np.zeros(1, dtype=np.int32)
    with ROOT.TFile(str(path), "RECREATE"):
        tree = ROOT.TTree("candidates", "")
        for name, buffer in buffers.items():
            tree.Branch(name, buffer, f"{name}/I") if isinstance(buffer, np.ndarray) else tree.Branch(name, buffer)
        for n in range(n_events):
            for name, buffer in buffers.items():
                if isinstance(buffer, np.ndarray):
                    buffer[0] = content[name][n]
                else:
                    buffer.clear()
                    for value in content[name][n]:
                        buffer.push_back(value.item())
            tree.Fill()
        tree.Write()
    return content


def book(path: Path, sample: StandIn) -> dict[str, Any]:
    ROOT.gInterpreter.Declare(f'#include "{HEADER}"')
    ROOT.TH1.AddDirectory(False)
    return histograms(ROOT.RDataFrame("candidates", str(path)), sample)


@pytest.mark.parametrize(("kind", "weight"), [("background", WEIGHT), ("data", 1.0)])
def test_contents_and_squared_weights(tmp_path: Path, kind: str, weight: float) -> None:
    content = write(tmp_path / "candidates.root", 300)
    products = book(tmp_path / "candidates.root", replace(StandIn(), kind=kind))
    assert len(products) == len(VARIABLES) * len(SELECTIONS)
    for number, selection in enumerate(SELECTIONS):
        for variable in VARIABLES:
            values = np.array([
                content[variable.column][n][list(made).index(number)] if variable.of_candidate
                else content[variable.column][n]
                for n, made in enumerate(content["selection"]) if number in made
            ], dtype=np.float64)  # fmt: skip
            scaled = variable.bins * (values - variable.low) / (variable.high - variable.low)
            bins = np.clip(np.floor(scaled).astype(int) + 1, 0, variable.bins + 1)
            expected = np.bincount(bins, minlength=variable.bins + 2)
            histogram = products[f"{selection}_{variable.name}"].GetValue()
            shape = variable.bins + 2
            found = np.array([histogram.GetBinContent(i) for i in range(shape)])
            squared = np.array([histogram.GetBinError(i) ** 2 for i in range(shape)])
            np.testing.assert_allclose(found, weight * expected, rtol=1e-12, err_msg=variable.name)
            np.testing.assert_allclose(squared, weight**2 * expected, rtol=1e-12, err_msg=variable.name)
            assert histogram.GetXaxis().GetXmin() == variable.low
            assert histogram.GetXaxis().GetXmax() == variable.high
            assert histogram.GetXaxis().GetTitle() == variable.title


def test_one_event_loop(tmp_path: Path) -> None:
    write(tmp_path / "candidates.root", 5)
    ROOT.gInterpreter.Declare(f'#include "{HEADER}"')
    frame = ROOT.RDataFrame("candidates", str(tmp_path / "candidates.root"))
    for histogram in histograms(frame, StandIn()).values():
        histogram.GetValue()
    assert frame.GetNRuns() == 1


def test_data_may_lack_the_true_number_of_interactions(tmp_path: Path) -> None:
    variables = tuple(variable for variable in VARIABLES if variable.column != "nPU_trueInt")
    write(tmp_path / "candidates.root", 5, variables)
    products = book(tmp_path / "candidates.root", replace(StandIn(), kind="data"))
    assert len(products) == len(variables) * len(SELECTIONS)
    assert "inclusive_npu_trueint" not in products


def test_table_of_variables() -> None:
    names = [variable.name for variable in VARIABLES]
    assert len(set(names)) == len(names)
    by_name = {variable.name: variable for variable in VARIABLES}
    # the original's binning, in words of FACTS section 4
    for name, binning in {
        "ds_mass": (40, 0, 3), "hnl_mass": (40, 0, 2), "hnl_pt": (40, 0, 40), "hnl_vertex_3ddist_pv": (20, 0, 20),
        "hnl_vertex_2derr_bs": (20, 0, 0.5), "hnl_vertex_prob": (50, 0, 1), "hnl_vertex_cos2d": (50, -1, 1),
        "hnl_vertex_2dsig_bs": (50, 0, 100), "mu_ds_pt": (60, 0, 30), "mu_hnl_eta": (20, -2.5, 2.5),
        "mu_hnl_bs_ip": (20, 0, 5), "mu_ds_bs_ip_xy": (20, 0, 0.5), "mu_ds_pv_ip_z": (20, 0, 0.1),
        "mu_hnl_bs_ips": (20, 0, 20), "mu_hnl_bs_ips_xy": (20, 0, 100), "mu_ds_pv_ips_z": (20, 0, 100),
        "mu_ds_pv_ips": (20, 0, 20), "pi_pt": (40, 0, 20), "pi_bs_ip_z": (20, 0, 5), "pi_bs_ips_xy": (20, 0, 100),
        "npv": (60, 0, 60), "npu_trueint": (100, 0, 100), "mu1mu2_mass": (30, 0, 3),
    }.items():  # fmt: skip
        variable = by_name[name]
        assert (variable.bins, variable.low, variable.high) == binning, name
    lengths = re.compile("dist|err|_ip(_|$)")
    for variable in VARIABLES:
        unit = "(cm)" if lengths.search(variable.name) else "(GeV)" if re.search("mass|_pt", variable.name) else None
        assert variable.title.endswith(")") == (unit is not None or "cos" in variable.name), variable
        assert unit is None or variable.title.endswith(unit), variable


def test_weight_of_simulation_and_data() -> None:
    assert event_weight(StandIn()) == pytest.approx(WEIGHT, rel=1e-15)
    assert event_weight(StandIn(kind="data", cross_section=None)) == 1


@pytest.mark.parametrize("name", ["cross_section", "luminosity", "processed_events"])
@pytest.mark.parametrize("value", [None, 0, -1.0])
def test_simulation_that_cannot_be_normalised(name: str, value: float | None) -> None:
    with pytest.raises(ValueError, match=rf"'simulation' \(background\) cannot be normalised: {name} = "):
        event_weight(replace(StandIn(), **{name: value}))
