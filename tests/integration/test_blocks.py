"""Selections that read a TTree without RDataFrame, and those whose columns need it."""

from __future__ import annotations

import itertools
import random
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
import yaml

import portico
from portico.analysis.analysis import Analysis
from portico.analysis.dataset import Sample
from portico.errors import InputError, StepError, WorkerError
from portico.executors.local import LocalExecutor
from portico.selection import book, load_selection
from portico.selection.loop import Loop
from tests.integration.test_column_cache import Place, numbers

EVENTS = 400
SELECTION = {
    "candidates": "c_",
    "preselection": {"positive": "c_x > 0"},
    "categories": {"low": {"low": "y < 20"}, "high": {"high": "y >= 20"}},
    "rules": {"largest": {"score": "c_x"}},
    "histograms": [{"column": "c_x", "bins": 20, "range": [0, 10]}, {"column": "y", "bins": 10, "range": [0, 40]}],
}
STEP = """
from pathlib import Path
import portico
from portico.selection import book, load_selection

HERE = Path(__file__).parent

@portico.step(files=["selection.yaml"])
def select(frame, sample):
    return book(load_selection(HERE / "selection.yaml"), frame, sample, folder=HERE)
"""


def write(path: Path, scalar: str = "y/F", vector: str = "float", sizes: int = 4) -> Path:
    """Write a vector c_x and a number y, in clusters of 50 entries and baskets of fewer."""
    import ROOT

    draw = random.Random(5)
    with ROOT.TFile(str(path), "RECREATE"):
        tree, x, y = ROOT.TTree("Events", ""), ROOT.std.vector[vector](), array("f", [0])
        tree.SetAutoFlush(50)
        tree.Branch("c_x", x, 2000)
        tree.Branch("y", y, scalar, 500)
        key = {name: array("i", [1]) for name in ("run", "lumi", "event")}
        for name, number in key.items():
            tree.Branch(name, number, f"{name}/I")
        for event in range(EVENTS):
            key["event"][0] = event
            x.clear()
            for _ in range(draw.randrange(sizes)):
                x.push_back(draw.randrange(-9, 10) / 2)  # compressible, so that a damage is seen
            y[0] = draw.randrange(40)
            tree.Fill()
        tree.Write()
    return path


@pytest.fixture(scope="module")
def selection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("selection") / "selection.yaml"
    path.write_text(yaml.safe_dump(SELECTION))
    return path


@pytest.fixture
def select(root: Any, selection: Path) -> Callable[..., Mapping[str, Any]]:
    def step(frame: Any, sample: Sample) -> Mapping[str, Any]:
        return book(load_selection(selection), frame, Sample(name="s", kind="data"), folder=selection.parent)

    return step


@pytest.mark.parametrize(
    ("scalar", "vector", "in_blocks"),
    [
        pytest.param("y/F", "float", True, marks=pytest.mark.full),
        ("y/F", "double", True),
        ("y/f[0,40,16]", "float", False),
        ("y/F", "Double32_t", False),
    ],
)
def test_types_that_are_others_on_disk_are_read_by_rdataframe(
    root: Any, select: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    scalar: str, vector: str, in_blocks: bool,
) -> None:  # fmt: skip
    place = Place(tmp_path, write(tmp_path / "f.root", scalar, vector))
    found = numbers(place.run(select, cached=False, first=7, last=391))
    assert ("read by RDataFrame" in caplog.text) == (not in_blocks)
    monkeypatch.setattr(Loop, "over", lambda *_: None)
    assert numbers(place.run(select, cached=False, first=7, last=391)) == found
    frame = root.RDataFrame("Events", str(tmp_path / "f.root")).Range(7, 391)
    low = frame.Filter("Any(c_x > 0) && y < 20").Count().GetValue()
    assert np.frombuffer(found["low_x"][1]["values"]).sum() == low > 50


def test_entries_whose_places_are_not_stored(
    root: Any, select: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ROOT computes them from the branch of lengths, and from the entry that was read last: it reads wrong numbers."""
    monkeypatch.setenv("PORTICO_COLUMNS", str(tmp_path / "columns"))
    with root.TFile(str(tmp_path / "f.root"), "RECREATE"):
        tree, features = root.TTree("Events", ""), root.ROOT.TIOFeatures()
        features.Set(root.ROOT.Experimental.EIOFeatures.kGenerateOffsetMap)
        tree.SetIOFeatures(features)
        tree.SetAutoFlush(50)
        key = {name: array("i", [1]) for name in ("run", "lumi", "event", "n")}
        x, y = array("f", [0] * 4), array("f", [0])
        for name, number in key.items():
            tree.Branch(name, number, f"{name}/I")
        tree.Branch("c_x", x, "c_x[n]/F")
        tree.Branch("y", y, "y/F")
        for event in range(EVENTS):
            key["event"][0], key["n"][0], y[0] = event, (event * event) % 5 % 4, event % 40
            for k in range(4):
                x[k] = (event * 7 + k * 3) % 10 - 2
            tree.Fill()
        tree.Write()

    def lists(frame: Any, sample: Sample) -> Mapping[str, Any]:
        return {"columns": frame.Filter("y > 3").AsNumpy(["c_x"])}

    def others(frame: Any, sample: Sample) -> Mapping[str, Any]:
        return {"columns": frame.AsNumpy(["n", "y"])}

    place = Place(tmp_path, tmp_path / "f.root")
    for cached, step in itertools.product((False, True), (select, lists)):
        with pytest.raises(InputError, match="the column 'c_x' does not store where its entries begin"):
            place.run(step, cached=cached, first=50, last=391)
    read = numbers(place.run(others, cached=True, first=50))["columns"][1]
    assert np.frombuffer(read["n"], np.int32).tolist() == [event * event % 5 % 4 for event in range(50, EVENTS)]


@pytest.mark.full
def test_a_damaged_basket_is_told_as_rdataframe_tells_it(
    make_analysis: Callable[..., Analysis], single: LocalExecutor, selection: Path, tmp_path: Path, root: Any
) -> None:
    good = write(tmp_path / "good.root", sizes=40)
    with uproot.open(good) as file:
        seek = int(file["Events"]["c_x"].member("fBasketSeek")[2])
    content = bytearray(good.read_bytes())
    content[seek + 100 : seek + 300] = random.Random(3).randbytes(200)
    bad = tmp_path / "damaged.root"
    bad.write_bytes(content)
    analysis = make_analysis(
        STEP, '  - {name: select, function: "mysteps:select"}', f'    a: {{kind: data, files: ["{good}", "{bad}"]}}'
    )
    (Path(analysis.folder) / "selection.yaml").write_text(selection.read_text())
    with pytest.raises((InputError, WorkerError), match=r"damaged\.root"):
        portico.run(analysis, folder=tmp_path / "run", executor=single)


@pytest.mark.full
def test_lists_of_different_lengths_are_the_users_error(
    make_analysis: Callable[..., Analysis], single: LocalExecutor, tmp_path: Path, root: Any
) -> None:
    file = write(tmp_path / "f.root")
    frame = root.RDataFrame("Events", str(file)).Define("c_z", "ROOT::RVec<float>{1.f}")
    frame.Snapshot("Events", str(tmp_path / "z.root"))
    other = {**SELECTION, "preselection": {"both": "c_x > c_z"}}
    analysis = make_analysis(
        STEP, '  - {name: select, function: "mysteps:select"}', f'    a: {{kind: data, files: ["{tmp_path}/z.root"]}}'
    )
    (Path(analysis.folder) / "selection.yaml").write_text(yaml.safe_dump(other))
    with pytest.raises(StepError, match=r"z\.root entries .*column c_z has 1 elements"):
        portico.run(analysis, folder=tmp_path / "run", executor=single)
