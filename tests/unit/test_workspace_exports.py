"""Exports of workspaces and cards for other programs: what is written is read again, with the same likelihood."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from portico.errors import ConfigError, InputError
from portico.stats.exports.formats import export
from portico.stats.infer import infer
from portico.stats.model_file import read_model
from portico.stats.workspace import Workspace
from tests.unit.test_datacards import profile, put

STRENGTHS = [0.0, 1.0, 2.5]
FREE = {"name": "k", "type": "normfactor", "data": None}
SHARED = {"name": "sf", "type": "shapefactor", "data": None}
SPEC: dict[str, Any] = {
    "channels": [
        {"name": "A", "samples": [
            {"name": "signal", "data": [12.0, 11.0], "modifiers": [
                {"name": "mu", "type": "normfactor", "data": None}, {"name": "lumi", "type": "lumi", "data": None},
                {"name": "norm", "type": "normsys", "data": {"lo": 0.97, "hi": 1.05}},
            ]},
            {"name": "background", "data": [50.0, 52.0], "modifiers": [
                {"name": "norm", "type": "normsys", "data": {"lo": 0.9, "hi": 1.1}},
                {"name": "shape", "type": "histosys", "data": {"hi_data": [53.0, 49.0], "lo_data": [47.0, 55.0]}},
                {"name": "stat", "type": "staterror", "data": [3.0, 4.0]},
            ]},
            {"name": "other", "data": [20.0, 10.0], "modifiers": [
                FREE, {"name": "stat", "type": "staterror", "data": [1.0, 1.0]}]},
        ]},
        {"name": "1B", "samples": [{"name": "other", "data": [30.0], "modifiers": [
            FREE, {"name": "held", "type": "normfactor", "data": None}, {"name": "u", "type": "shapesys", "data": [6.0]}
        ]}]},
    ],
    "observations": [{"name": "A", "data": [85.0, 77.0]}, {"name": "1B", "data": [63.0]}],
    "measurements": [{"name": "meas", "config": {"poi": "mu", "parameters": [
        {"name": "lumi", "auxdata": [1.0], "sigmas": [0.03], "inits": [1.0], "bounds": [[0.5, 1.5]]},
        {"name": "held", "inits": [2.0], "bounds": [[0.0, 10.0]], "fixed": True},
    ]}}],
    "version": "1.0.0",
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Workspace:
    (tmp_path / "workspace.json").write_text(json.dumps(SPEC))
    found = read_model(tmp_path / "workspace.json")
    assert isinstance(found, Workspace)
    return found


def test_hs3_is_read_again(model: Workspace, tmp_path: Path) -> None:
    export(model, "hs3", tmp_path / "model.hs3.json")
    again = read_model(tmp_path / "model.hs3.json")
    assert profile(again, STRENGTHS) == pytest.approx(profile(model, STRENGTHS), abs=1e-5)


def test_a_card_is_read_again(model: Workspace, tmp_path: Path) -> None:
    export(model, "combine", tmp_path / "card.txt")
    words = [line.split() for line in (tmp_path / "card.txt").read_text().splitlines()]
    assert ["process", "signal", "background", "other", "other"] in words
    assert ["rate", "23", "102", "30", "60"] in words  # the fixed factor of 2 is in the rate
    assert ["norm", "lnN", "0.97/1.05", "0.9/1.1", "-", "-"] in words
    assert ["shape", "shape", "-", "1", "-", "-"] in words
    assert ["lumi", "param", "1", "0.03"] in words
    assert ["k", "rateParam", "c_1B", "other", "1", "[0,10]"] in words
    assert ["A", "autoMCStats", "0", "1"] in words
    again = read_model(tmp_path / "card.txt")
    assert profile(again, STRENGTHS) == pytest.approx(profile(model, STRENGTHS), abs=6e-3)  # Combine moves fractions


def test_what_a_card_cannot_hold(model: Workspace, tmp_path: Path) -> None:
    spec = copy.deepcopy(SPEC)
    spec["channels"][1]["samples"][0]["modifiers"].append(SHARED)
    (tmp_path / "free.json").write_text(json.dumps(spec))
    with pytest.raises(InputError, match="'sf' in '1B' is a shapefactor, a free factor for each bin, which a datacard"):
        export(read_model(tmp_path / "free.json"), "combine", tmp_path / "card.txt")
    assert not (tmp_path / "card.txt").exists()
    with pytest.raises(ConfigError, match="hepdata holds limits and no model"):
        export(model, "hepdata", tmp_path / "x")


def test_a_process_that_is_signal_in_one_channel(tmp_path: Path) -> None:
    spec = copy.deepcopy(SPEC)
    spec["channels"][1]["samples"][0]["name"] = "signal"
    (tmp_path / "workspace.json").write_text(json.dumps(spec))
    model = read_model(tmp_path / "workspace.json")
    export(model, "combine", tmp_path / "card.txt")
    assert "process signal background other signal_background\n" in (tmp_path / "card.txt").read_text()
    assert profile(read_model(tmp_path / "card.txt"), STRENGTHS) == pytest.approx(profile(model, STRENGTHS), abs=6e-3)


def test_a_card_becomes_hs3(tmp_path: Path) -> None:
    lines = "a lnU 1.2 1.5\nb trG - 0.1\nc gmM - 0.2\nd rateParam ch sig 1\nd param 1 0.1\n"
    model = read_model(put(tmp_path, lines))
    export(model, "hs3", tmp_path / "model.hs3.json")
    again = read_model(tmp_path / "model.hs3.json")
    assert profile(again, STRENGTHS) == pytest.approx(profile(model, STRENGTHS), abs=1e-5)


@pytest.mark.full
def test_roostats_finds_the_limit_of_the_workspace(model: Workspace, tmp_path: Path) -> None:
    export(model, "roofit", tmp_path / "model.root")
    ours = infer(model).limit
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parents[1] / "roostats.py"), "limit", str(tmp_path / "model.root")],
        input=json.dumps({"starts": [ours.observed, *ours.expected]}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found == pytest.approx([ours.observed, *ours.expected], rel=0.01)
