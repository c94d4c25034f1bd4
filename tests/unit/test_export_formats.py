"""`portico limit --export`: each format by its name, read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import uproot
import yaml

from portico.stats.exports.card import read_card
from portico.stats.exports.formats import FORMATS
from portico.stats.model_file import read_model
from portico.stats.workspace import Workspace
from tests.unit.test_limit_command import OWN, SPEC, run, write

PEAK: dict[str, Any] = {
    "channels": [
        {
            "name": "A", "edges": [*(0.9 + 0.01 * i for i in range(20)), 1.1],
            "counts": [10, 12, 9, 11, 8, 10, 9, 12, 11, 10, 9, 8, 10, 9, 11, 8, 9, 10, 8, 9],
            "components": [
                {"name": "signal", "events": 10, "strength": "mu",
                 "shapes": [{"kind": "double_crystal_ball", "low": 0.9, "high": 1.1, "mean": 1.0, "width": 0.03,
                             "alpha_left": 1.5, "n_left": 4, "alpha_right": 1.5, "n_right": 4}]},
                {"name": "background", "events": 1, "strength": "b", "floating": True,
                 "shapes": [{"kind": "exponentials", "low": 0.9, "high": 1.1}]},
            ],
        }
    ],
    "parameters": [{"name": "mu", "start": 0, "low": 0}, {"name": "b", "start": 190, "low": 0, "step": 10}],
}  # fmt: skip


PLACES = {"pyhf": "a.json", "hs3": "b.json", "roofit": "c.root", "combine": "d.txt", "hepdata": "e"}


@pytest.mark.parametrize(
    "names", [("pyhf", "combine", "hepdata"), pytest.param(("hs3", "roofit"), marks=pytest.mark.full)], ids="-".join
)  # ROOT starts once for each of the last three
def test_every_format_is_written_and_read(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert PLACES.keys() == FORMATS.keys()
    places = {name: PLACES[name] for name in names}
    options = [word for name, place in places.items() for word in ("--export", f"{name}={tmp_path / place}")]
    done = run(write(tmp_path / "model.json", PEAK), *options)
    assert done.exit_code == 0, done.output
    assert [line for line in done.stdout.splitlines() if line.startswith("written: ")] == [
        f"written: {tmp_path / place}, {FORMATS[name].partition(',')[0]}" for name, place in places.items()
    ]
    if "hs3" in names:
        assert json.loads((tmp_path / "b.json").read_text())["metadata"]["hs3_version"]
        with uproot.open(tmp_path / "c.root") as file:
            assert "RooWorkspace" in set(file.classnames().values())
        return
    assert isinstance(read_model(tmp_path / "a.json"), Workspace)
    assert list(read_card(tmp_path / "d.txt").bins) == ["A"]
    assert (tmp_path / "d.root").exists()  # shapes that float are in its workspace
    (table,) = [d for d in yaml.safe_load_all((tmp_path / "e" / "submission.yaml").read_text()) if "data_file" in d]
    values = yaml.safe_load((tmp_path / "e" / table["data_file"]).read_text())["dependent_variables"]
    shown = json.loads(run(tmp_path / "model.json", "--json").stdout)["limit"]
    assert values[0]["values"][0]["value"] == pytest.approx(shown["observed"], rel=1e-5)
    assert values[1]["values"][0]["value"] == pytest.approx(shown["expected"][2], rel=1e-5)


def test_histograms_become_a_card_with_histograms(tmp_path: Path) -> None:
    done = run(write(tmp_path / "own.json", OWN), "--export", f"combine={tmp_path / 'card.txt'}")
    assert done.exit_code == 0, done.output
    with uproot.open(tmp_path / "card.root") as file:
        assert file["A/data_obs"].values().tolist() == [51.0, 48.0]


def test_a_workspace_is_written_with_its_patches(tmp_path: Path) -> None:
    path = write(tmp_path / "workspace.json", SPEC)
    patch = write(tmp_path / "patch.json", [{"op": "replace", "path": "/observations/0/data/0", "value": 40.0}])
    done = run(path, "--patch", patch, "--export", f"pyhf={tmp_path / 'patched.json'}")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "patched.json").read_text())["observations"][0]["data"] == [40.0, 48.0]


@pytest.mark.parametrize("wrong", ["pyhff=a.json", "pyhf", "pyhf=", "=a.json"])
def test_a_format_that_is_not_there_is_told_before_any_fit(tmp_path: Path, wrong: str) -> None:
    done = run(write(tmp_path / "workspace.json", SPEC), "--export", wrong)
    assert done.exit_code == 2
    assert f"--export {wrong}: write FORMAT=PATH, with one of pyhf, hs3, roofit, combine, hepdata" in done.stderr


def test_a_workspace_becomes_a_card(tmp_path: Path) -> None:
    done = run(write(tmp_path / "workspace.json", SPEC), "--export", f"combine={tmp_path / 'card.txt'}")
    assert done.exit_code == 0, done.output
    assert read_card(tmp_path / "card.txt").bins == [channel["name"] for channel in SPEC["channels"]]


def test_a_model_without_asymptotic_limit_is_written_all_the_same(tmp_path: Path) -> None:
    """Without background there is none; what was written before is told."""
    model = json.loads(json.dumps(OWN))
    background = model["channels"][0]["components"][1]
    background["shapes"][0]["bins"], model["channels"][0]["counts"] = [1e-9, 1e-9], [0, 0]
    background["events"] = 2e-9
    place = tmp_path / "card.txt"
    done = run(write(tmp_path / "own.json", model), "--export", f"combine={place}")
    assert done.exit_code == 1
    assert "expects no background where signal is: asymptotic formulae have no meaning there" in done.stderr
    assert f"written: {place}, " in done.stdout
    assert read_card(place).observations == {"A": 0.0}
