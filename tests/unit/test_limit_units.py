"""Limits do not depend on units: of the strength, of the bins, of bounds; and names of what cannot be told apart."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from portico.cli.limit import limit
from portico.errors import FitError, InputError
from portico.stats.histfactory import check_workspace, choose_measurement
from portico.stats.infer import Inference, infer
from portico.stats.model_file import read_model
from portico.stats.workspace import Workspace

MU = {"name": "mu", "type": "normfactor", "data": None}
NORM = {"name": "norm", "type": "normsys", "data": {"lo": 0.9, "hi": 1.12}}


def spec(signal: list[float], background: list[float], data: list[float], **parameter: Any) -> dict[str, Any]:
    """One channel with a norm, a shape and statistical errors."""
    shape = {"lo_data": [0.93 * b for b in background], "hi_data": [1.02 * b for b in background]}
    modifiers = [NORM, {"name": "shape", "type": "histosys", "data": shape},
                 {"name": "stat", "type": "staterror", "data": [0.05 * b for b in background]}]  # fmt: skip
    samples = [
        {"name": "signal", "data": signal, "modifiers": [MU]},
        {"name": "background", "data": background, "modifiers": modifiers},
    ]
    parameters = [{"name": "mu", **parameter}] if parameter else []
    return {
        "channels": [{"name": "A", "samples": samples}], "observations": [{"name": "A", "data": data}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": parameters}}], "version": "1.0.0",
    }  # fmt: skip


def answer(content: dict[str, Any]) -> Inference:
    check_workspace(content, "test")
    name, poi, parameters = choose_measurement(content, "", "test")
    return infer(Workspace("test", content, name, poi, tuple(parameters)))


SIGNAL, BACKGROUND, DATA = [5.0, 9.0, 3.0], [60.0, 40.0, 55.0], [66.0, 52.0, 54.0]


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e6])
def test_limits_follow_the_unit_of_the_strength(unit: float) -> None:
    reference = answer(spec(SIGNAL, BACKGROUND, DATA))
    found = answer(spec([unit * s for s in SIGNAL], BACKGROUND, DATA))
    assert found.limit.observed == pytest.approx((reference.limit.observed or 0.0) / unit, rel=5e-4)
    assert found.limit.expected == pytest.approx([mu / unit for mu in reference.limit.expected], rel=5e-4)
    assert (found.best or 0.0) * unit == pytest.approx(reference.best, rel=1e-2)
    assert found.significance == pytest.approx(reference.significance, abs=1e-3)


def test_limits_do_not_depend_on_how_bins_are_cut() -> None:
    """Each bin cut in ten of a tenth of everything, without statistical errors, says the same."""
    def without(content: dict[str, Any]) -> dict[str, Any]:
        content["channels"][0]["samples"][1]["modifiers"].pop()
        return content

    reference = answer(without(spec(SIGNAL, BACKGROUND, DATA)))
    cut = [[x / 10 for x in values for _ in range(10)] for values in (SIGNAL, BACKGROUND, DATA)]
    found = answer(without(spec(*cut)))
    assert found.limit.observed == pytest.approx(reference.limit.observed, rel=5e-4)
    assert found.limit.expected == pytest.approx(reference.limit.expected, rel=5e-4)


@pytest.mark.parametrize("bounds", [[0.0, 0.01], [0.0, 0.0], [-5.0, 0.0], [0.0, 1e9], [0.5, 0.6]])
def test_bounds_and_start_of_the_strength_are_no_part_of_the_answer(bounds: list[float]) -> None:
    reference = answer(spec(SIGNAL, BACKGROUND, DATA))
    found = answer(spec(SIGNAL, BACKGROUND, DATA, bounds=[bounds]))
    assert found.limit.observed == pytest.approx(reference.limit.observed, rel=5e-4)
    assert found.limit.expected == pytest.approx(reference.limit.expected, rel=5e-4)
    moved = [note for note in found.notes if "the bound was moved" in note]
    assert bool(moved) == (bounds[1] < (reference.best or 0.0))


def test_bins_of_a_hundred_million_events() -> None:
    """Without uncertainties the limit is that of the formula of a Gaussian: 1.96 sqrt(b)/s, up to 1e-4."""
    samples = [
        {"name": "signal", "data": [1e3], "modifiers": [MU]}, {"name": "background", "data": [1e8], "modifiers": []}
    ]  # fmt: skip
    content = spec([1.0], [1.0], [1.0]) | {
        "channels": [{"name": "A", "samples": samples}], "observations": [{"name": "A", "data": [1e8]}]
    }  # fmt: skip
    found = answer(content)
    assert found.limit.median == pytest.approx(1.95996 * 1e4 / 1e3, rel=1e-3)
    assert found.limit.observed == pytest.approx(found.limit.median, rel=1e-3)
    systematic = answer(spec([1e6, 2e6], [1e8, 1.2e8], [1e8, 1.2e8]))
    assert systematic.limit.expected == tuple(sorted(systematic.limit.expected))


def test_free_factors_that_cannot_be_told_apart_are_named() -> None:
    content = spec(SIGNAL, BACKGROUND, DATA)
    content["channels"][0]["samples"][0]["modifiers"].append({**MU, "name": "k"})
    with pytest.raises(InputError, match="'mu' and 'k' are degenerate: both are free factors of the same samples"):
        answer(content)
    content["measurements"][0]["config"]["parameters"] = [{"name": "k", "fixed": True}]
    assert answer(content).limit.observed == pytest.approx(
        answer(spec(SIGNAL, BACKGROUND, DATA)).limit.observed, rel=5e-4
    )
    of_bins = spec(SIGNAL, BACKGROUND, DATA)
    of_bins["channels"][0]["samples"][1]["modifiers"] = [{"name": "free", "type": "shapefactor", "data": None}]
    try:
        text = " ".join(answer(of_bins).notes)
    except FitError as error:
        text = str(error)
    assert "mu" in text
    assert "free[0]" in text
    assert "are degenerate" in text


#: Of the validation of pyhf: validation/data/2bin_2channel_coupledhisto.json; a variation of 120 to 55 on both sides.
COUPLED: dict[str, Any] = {
    "channels": [
        {
            "name": "signal",
            "samples": [
                {"name": "signal", "data": [30.0, 35.0], "modifiers": [MU]},
                *(
                    {"name": name, "data": data, "modifiers": [
                        {"name": "coupled_histosys", "type": "histosys", "data": {"lo_data": low, "hi_data": high}}]}
                    for name, data, low, high in (
                        ("bkg1", [100.0, 100.0], [90.0, 90.0], [110.0, 110.0]),
                        ("bkg2", [50.0, 120.0], [45.0, 45.0], [55.0, 55.0]),
                    )
                ),
            ],
        },
        {
            "name": "control",
            "samples": [
                {"name": "background", "data": [105.0, 100.0], "modifiers": [
                    {"name": "coupled_histosys", "type": "histosys",
                     "data": {"lo_data": [95.0, 90.0], "hi_data": [110.0, 115.0]}}]}
            ],
        },
    ],
    "observations": [{"name": "signal", "data": [170.0, 220.0]}, {"name": "control", "data": [110.0, 105.0]}],
    "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}], "version": "1.0.0",
}  # fmt: skip


@pytest.mark.parametrize("backend", ["numpy", "minuit"])
def test_the_coupled_histosys_of_pyhf_runs(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "coupled.json"
    path.write_text(json.dumps(COUPLED))
    done = CliRunner().invoke(limit, [str(path), "--backend", backend, "--mu", "1"])
    assert done.exit_code == 0, done.output
    assert "try another backend" not in done.output
    assert "Optimization terminated" not in done.output


def test_observations_of_channels_that_a_patch_removed_are_noted(tmp_path: Path) -> None:
    content = copy.deepcopy(COUPLED)
    patch = tmp_path / "patch.json"
    (tmp_path / "workspace.json").write_text(json.dumps(content))
    patch.write_text(json.dumps([{"op": "remove", "path": "/channels/1"}]))
    found = read_model(tmp_path / "workspace.json", [patch])
    assert isinstance(found, Workspace)
    assert found.notes == (
        (
            "observations of channel 'control', which does not exist, are not used: a patch may have removed what they "
            "belong to"
        ),
    )
    answered = infer(found)
    assert found.notes[0] in answered.notes
    alone = copy.deepcopy(content)
    del alone["channels"][1], alone["observations"][1]
    assert answered.limit == answer(alone).limit


def test_keys_that_an_object_has_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "workspace.json"
    text = json.dumps(COUPLED)
    path.write_text(text.replace('"name": "bkg1", ', '"name": "bkg1", "data": [1.0, 2.0], '))
    with pytest.raises(InputError, match="key 'data' appears twice in an object; only one of them can be meant"):
        read_model(path)
