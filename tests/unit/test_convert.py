"""Correction files made of histograms and of tag and probe, and the commands that do it."""

from __future__ import annotations

import json
import math
from itertools import product
from typing import TYPE_CHECKING, Any

import correctionlib
import hist
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from portico import root
from portico.cli.corrections import corrections
from portico.corrections.convert import Grid, from_histogram, to_correction, write_corrections
from portico.corrections.tagandprobe import from_tag_and_probe
from portico.errors import ConfigError
from portico.files import objects

if TYPE_CHECKING:
    from pathlib import Path

AXES = ("pt", "abseta", "phi")


@st.composite
def histograms(draw: st.DrawFn) -> hist.Hist[Any]:
    """Histograms of one to three axes with errors; no bin is empty."""
    axes = []
    for _ in range(draw(st.integers(1, 3))):
        steps = draw(st.lists(st.integers(1, 50), min_size=1, max_size=4))
        start = draw(st.integers(-20, 20))
        axes.append(hist.axis.Variable([start / 4, *(start / 4 + np.cumsum(steps) / 4)]))
    made = hist.Hist(*axes, storage=hist.storage.Weight())
    shape = tuple(len(axis) for axis in axes)
    numbers = st.floats(0.01, 2.0)
    made.view(flow=True).value[...] = 99  # must not show up anywhere
    made.view().value[...] = draw(arrays.arrays(float, shape, elements=numbers))
    made.view().variance[...] = draw(arrays.arrays(float, shape, elements=numbers)) ** 2
    return made


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=histograms())
def test_histograms_come_back(tmp_path: Path, made: hist.Hist[Any]) -> None:
    with uproot.recreate(tmp_path / "h.root") as file:
        file["sf"] = made
    names = AXES[: made.ndim]
    (tmp_path / "c.json").unlink(missing_ok=True)
    grid = from_histogram(tmp_path / "h.root", None, names)
    write_corrections(tmp_path / "c.json", [to_correction(grid, "sf", "a test")])
    evaluated = correctionlib.CorrectionSet.from_file(str(tmp_path / "c.json"))["sf"]
    assert [put.name for put in evaluated.inputs] == [*names, "variation"]
    for index in product(*(range(len(axis)) for axis in made.axes)):
        center = [float(axis.centers[i]) for axis, i in zip(made.axes, index, strict=True)]
        value, error = made.values()[index], math.sqrt(made.variances()[index])
        for word, expected in (("nominal", value), ("up", value + error), ("down", value - error)):
            assert evaluated.evaluate(*center, word) == pytest.approx(expected, rel=1e-14, abs=1e-15)
    with pytest.raises(RuntimeError, match="above bounds"):
        evaluated.evaluate(*(float(axis.edges[-1]) for axis in made.axes), "nominal")


@pytest.fixture
def sf(tmp_path: Path) -> Path:
    """A file with a nominal and two varied histograms, one of other bins, one with an empty bin."""
    edges = [0.0, 1.0, 2.4]
    with uproot.recreate(tmp_path / "sf.root") as file:
        for name, values in {"h": [1.0, 2.0], "h_up": [1.1, 2.5], "h_down": [0.8, 1.9], "holes": [1.0, 0.0]}.items():
            file[name] = (np.array(values), np.array(edges))
        file["other"] = (np.array([1.0, 2.0]), np.array([0.0, 1.0, 2.5]))
    return tmp_path / "sf.root"


def test_variations_may_be_histograms(sf: Path) -> None:
    grid = from_histogram(sf, "h", ["abseta"], up="h_up", down="h_down")
    assert [grid.nominal.tolist(), grid.up.tolist(), grid.down.tolist()] == [[1, 2], [1.1, 2.5], [0.8, 1.9]]
    assert grid.edges == ((0.0, 1.0, 2.4),)
    filled = from_histogram(sf, "holes", ["abseta"], empty=1.0)
    assert [filled.nominal[1], filled.up[1], filled.down[1]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"histogram": None}, "name the histogram; valid: h, h_up, h_down, holes, other"),
        ({"histogram": "hh"}, "no histogram 'hh'; did you mean 'h'?"),
        ({"histogram": "h", "up": "h_up"}, "both variations, up and down, or for neither"),
        ({"histogram": "h", "up": "other", "down": "other"}, "'other' and 'other' must have the same bins"),
        ({"histogram": "h", "inputs": ["pt", "abseta"]}, "'h' has 1 axes; give as many inputs, not 2"),
        ({"histogram": "holes"}, "1 bins are empty, the first at abseta 1 to 2.4; remove them"),
    ],
)
def test_histograms_that_do_not_fit(sf: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_histogram(sf, **{"inputs": ["abseta"], **options})
    assert message in str(caught.value)


def test_files_that_are_no_histograms(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        from_histogram(tmp_path / "none.root", "h", ["x"])
    (tmp_path / "bad.root").write_bytes(b"not ROOT" + bytes(100))
    with pytest.raises(ConfigError, match="cannot be read"):
        from_histogram(tmp_path / "bad.root", "h", ["x"])


def cells(**changed: Any) -> dict[str, Any]:
    """The layout of the muon group, with bins in no order and keys that are none."""
    inner = {"pt:[2.50,10]": {"value": 0.91, "error": 0.02}}
    inner["pt:[2.00,2.50]"] = {"value": 0.9, "stat": 0.03, "syst": 0.04}
    outer = {"pt:[2.00,2.50]": {"value": 0.92, "error": 0.05, "stat": 0.03, "syst": 0.04}}
    outer["pt:[2.50,10]"] = {"value": 0.93, "error": 1e-3}
    binning = [{"variable": "pt", "binning": [2, 3]}]
    return {"binning": binning, "abseta:[0.90,2.40]": outer, "abseta:[0.00,0.90]": inner, **changed}


def test_tag_and_probe_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "tnp.json"
    path.write_text(json.dumps({"NUM_a_DEN_b": {"abseta_pt": cells()}}))
    grid = from_tag_and_probe(path)
    assert grid.inputs == ("abseta", "pt")
    assert grid.edges == ((0.0, 0.9, 2.4), (2.0, 2.5, 10.0))
    np.testing.assert_allclose(grid.nominal, [[0.9, 0.91], [0.92, 0.93]])
    np.testing.assert_allclose(grid.up - grid.nominal, [[0.05, 0.02], [0.05, 1e-3]])
    np.testing.assert_allclose(grid.nominal - grid.down, grid.up - grid.nominal)
    evaluated = to_correction(from_tag_and_probe(path, inputs=["pt", "abseta"]), "id", "").to_evaluator()
    assert evaluated.evaluate(3.0, 1.0, "up") == pytest.approx(0.931)
    assert evaluated.evaluate(2.1, 0.5, "down") == pytest.approx(0.85)


@pytest.mark.parametrize(
    ("content", "entry", "inputs", "message"),
    [
        ({"a": 1}, None, (), "no tag-and-probe results; their layout is"),
        ({"A": {"abseta_pt": cells()}, "B": {"abseta_pt": cells()}}, None, (), "several entries, choose one; valid"),
        ({"NUM_A": {"abseta_pt": cells()}}, "NUM_B", (), "no single entry 'NUM_B'; valid: NUM_A/abseta_pt"),
        ({"A": {"abseta_pt": cells()}}, None, ("pt", "eta"), "the inputs are abseta, pt, not pt, eta"),
        ({"A": {"x": cells(**{"abseta:[2.40,2.5]": {"pt:[2,2.5]": {"value": 1, "error": 1}}})}}, None, (),
         "has no bin abseta 2.4 to 2.5, pt 2.5 to 10; the file must have all combinations"),
        ({"A": {"x": cells(**{"abseta:[2.50,2.6]": {"pt:[2,2.5]": {"value": 1, "error": 1}}})}}, None, (),
         "bins of abseta overlap or leave a gap between 2.4 and 2.5"),
        ({"A": {"x": cells(**{"eta:[2.4,2.6]": {"pt:[2,2.5]": {"value": 1, "error": 1}}})}}, None, (),
         "different variables: abseta, pt; eta, pt"),
        ({"A": {"x": {"pt:[1,2]": {"value": 1}}}}, None, (), "pt 1 to 2: has no 'error', and neither"),
        ({"A": {"x": {"pt:[1,2]": {"value": 1, "error": 0.1, "syst": 0.2}}}}, None, (), "it is not the total error"),
        ({"A": {"x": {"pt:[1,2]": {"value": 0, "error": 0}}}}, None, (), "1 bins are empty"),
    ],
)  # fmt: skip
def test_tag_and_probe_that_does_not_fit(
    tmp_path: Path, content: object, entry: str | None, inputs: tuple[str, ...], message: str
) -> None:
    (tmp_path / "tnp.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        from_tag_and_probe(tmp_path / "tnp.json", entry, inputs)
    assert message in str(caught.value)


def test_infinite_edges_and_corrections_without_variations() -> None:
    values = np.array([[1.0, 2.0]])
    grid = Grid(("x", "y"), ((-math.inf, math.inf), (0.0, 1.0, math.inf)), values, values, values)
    evaluated = to_correction(grid, "a", "", varied=False).to_evaluator()
    assert [evaluated.evaluate(-1e9, 0.5), evaluated.evaluate(1e9, 1e9)] == [1, 2]


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(corrections, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_commands_make_add_and_show(sf: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json.gz"
    (tmp_path / "tnp.json").write_text(json.dumps({"NUM_a_DEN_b": {"abseta_pt": cells()}}))
    make = ("convert", sf, out, "--name", "muon_id", "--from", "h", "--inputs", "abseta")
    assert run(*make) == (0, f"{out}: muon_id(abseta, variation), 2 bins\n", "")
    first = out.read_bytes()
    code, _, told = run(*make)
    assert code == 2
    assert "exists; add to it with --add" in told
    assert run("convert", tmp_path / "tnp.json", out, "--name", "reco", "--inputs", "pt,abseta", "--add")[0] == 0
    assert run(*make, "--add", "--up", "h_up", "--down", "h_down", "--description", "ours")[0] == 0
    made = correctionlib.CorrectionSet.from_file(str(out))
    assert sorted(made) == ["muon_id", "reco"]
    assert made["muon_id"].evaluate(1.5, "up") == 2.5
    assert made["reco"].evaluate(3.0, 1.0, "nominal") == 0.93
    out.unlink()
    assert run(*make)[0] == 0
    assert out.read_bytes() == first  # the same bit for bit at any time
    code, shown, _ = run("show", out)
    assert code == 0
    for words in ("muon_id", "made from sf.root, h", "0 to 2.4", "down, nominal, up", "outside of bins: error"):
        assert words in shown
    listed = json.loads(run("show", out, "--json")[1])
    assert [put["name"] for put in listed[0]["inputs"]] == ["abseta", "variation"]
    assert listed[0]["inputs"][0]["high"] == 2.4


def test_commands_refuse_what_is_wrong(sf: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("show", tmp_path / "none.json"), "none.json: no such file"),
        (("show", sf), "not a valid correctionlib file"),
        (("convert", sf, tmp_path / "a.txt", "--name", "a", "--from", "h", "--inputs", "x"), "end in .json or"),
        (("convert", tmp_path / "a.csv", tmp_path / "a.json", "--name", "a"), "must end in .root"),
        (("convert", tmp_path / "a.json", tmp_path / "b.json", "--name", "a", "--up", "h"), "are for histograms"),
        (("convert", sf, tmp_path / "a.json"), "Missing option '--name'"),
        (("shov", sf), "did you mean 'show'?"),
    ):
        code, _, told = run(*arguments)
        assert code == 2
        assert message in told
    assert not list(tmp_path.glob("*.json"))


def test_infinite_ranges_are_shown_as_the_schema_writes_them(tmp_path: Path) -> None:
    values = np.array([1.0])
    grid = Grid(("x",), ((0.0, math.inf),), values, values, values)
    write_corrections(tmp_path / "a.json", [to_correction(grid, "a", "")])
    code, shown, _ = run("show", tmp_path / "a.json", "--json")
    assert code == 0
    assert json.loads(shown)[0]["inputs"][0]["high"] == "inf"


def test_fills_that_are_in_no_bin_are_refused(tmp_path: Path) -> None:
    """ROOT keeps fills in a buffer until it chooses the axis, and writes the bins as they are."""
    ROOT = root.load()
    path = tmp_path / "sf.root"
    with ROOT.TFile(str(path), "RECREATE") as file:
        for name, high in (("chosen", 0.0), ("fixed", 4.0)):
            h = ROOT.TH1D(name, "", 4, 0, high)
            for x in (1.5, 2.5, 2.5):
                h.Fill(x)
            file.WriteObject(h, name)
    assert [(o.name, o.entries) for o in objects(str(path))] == [("chosen", 3), ("fixed", 3)]
    with pytest.raises(ConfigError, match=r"3 of its fills are in no bin.*BufferEmpty"):
        from_histogram(path, "chosen", ["x"])
    assert from_histogram(path, "fixed", ["x"], empty=7).nominal.tolist() == [7, 1, 2, 7]
