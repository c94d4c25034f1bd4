"""Datacards as input: what Combine tolerates is read, and the likelihood of each line is that of its formula."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from scipy.optimize import minimize

from portico import root
from portico.cli.limit import limit
from portico.errors import ConfigError, InputError
from portico.stats.exports.card import read_card
from portico.stats.exports.card_workspace import card_to_pyhf
from portico.stats.exports.formats import export
from portico.stats.model_file import list_models, read_model
from portico.stats.workspace import Workspace
from portico.stats.workspace_fits import WorkspaceFitter

COUNTING = """\
Combination of first.txt  second=other.txt
imax 1 number of bins
jmax * number of processes minus 1
kmax * number of nuisance parameters
--------------------------------
bin          ch
observation  30
--------------------------------
bin          ch   ch
process      sig  bkg
process      0    1
rate         10   25
--------------------------------
"""
R = {"name": "r", "type": "normfactor", "data": None}


def put(folder: Path, lines: str, head: str = COUNTING) -> Path:
    path = folder / "card.txt"
    path.write_text(head + lines)
    return path


def modifiers(workspace: Any, sample: str, channel: int = 0) -> dict[str, tuple[str, Any]]:
    found = next(s for s in workspace["channels"][channel]["samples"] if s["name"] == sample)
    return {m["name"]: (m["type"], m["data"]) for m in found["modifiers"]}


def translated(folder: Path, lines: str) -> dict[str, Any]:
    return card_to_pyhf(read_card(put(folder, lines)), folder)


def profile(model: Any, strengths: list[float]) -> list[float]:
    """-log L at some strengths, relative to the first."""
    assert isinstance(model, Workspace)
    fitter = WorkspaceFitter(model)
    data = np.concatenate([model.counts, model.model.config.auxdata])
    values = [fitter.fit(data, mu).objective / 2 for mu in strengths]
    return [value - values[0] for value in values]


def minimised(
    nll: Callable[[float, Any], float], start: list[float], strengths: list[float], bounds: Any = None
) -> Any:
    values = [minimize(lambda x, r=r: nll(r, x), start, bounds=bounds, method="L-BFGS-B", tol=1e-12).fun
              for r in strengths]  # fmt: skip
    return pytest.approx([value - values[0] for value in values], abs=2e-4)


def poisson(expected: Any, n: Any) -> float:
    expected = np.maximum(expected, 1e-12)
    return float(np.sum(expected - np.asarray(n) * np.log(expected)))


# What is tolerated


def test_titles_and_comments_are_not_lines(tmp_path: Path) -> None:
    text = COUNTING.replace("----\nbin          ch\n", "----\nDate: today\nbin ch # the only one\n")
    card = read_card(put(tmp_path, "2016lumi lnN 1.1 - # only signal\nalone\nbg lnN - 1.2 measured elsewhere\n", text))
    assert [s.name for s in card.systematics] == ["theta2016lumi", "bg"]  # as Combine names it
    unknown, alone = card.notes
    assert unknown.startswith("line 6: 'Date: today' begins with none of bin, imax, jmax, kmax, observation, process, ")
    assert alone == "line 16: 'alone' has nothing behind it, and was ignored"
    (tmp_path / "latin.txt").write_bytes(b"# d\xe9j\xe0 vu\n" + COUNTING.encode())
    assert read_card(tmp_path / "latin.txt").bins == ["ch"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bg constr a-b 0.1", "line 14: 'bg' is a constr, a constraint by a formula, which is not read here"),
        ("bg unif 0 1 - 0.2", "line 14: a parameter with a uniform prior is: name unif low high"),
        ("bg unif 1 0", "line 14: 'bg': 1 is not below 0"),
        ("bg shapeL - 1", "line 14: 'bg' is a shapeL, a linear interpolation of shapes"),
        ("bg extArg 1 [2,3]", "line 14: 'bg' = 1 is not between 2 and 3"),
        ("bg extArg 1 [1,1]", "line 14: the range of 'bg' is .1,1., and 1 is not below 1"),
        ("bg extArg", "line 14: the value of 'bg' is a number, not ''"),
        (
            "bg lnN - 1.2\nnuisance edit frieze bg",
            r"line 15: nuisance edit frieze bg: 'frieze' is not a directive; did you m",
        ),
        ("nuisance edit freeze bg", "line 14: nuisance edit freeze bg: finds no 'bg'"),
        ("nuisance edit drop * ch bg", "line 14: nuisance edit drop .*: finds no 'bg' there"),
        ("nuisance edit drop *", "line 14: nuisance edit drop .*: 'drop' takes 3 words or more"),
        ("nuisance edit drop ( ch bg", "'\\(' is not a regular expression"),
        (
            "bg lnN - 1.2\nnuisance edit add bkg ch bg lnN 1.3",
            "line 15: .*'bg' of 'bkg' in 'ch' has an entry; say addq",
        ),
        ("bg gmN 2 - 12.5\nnuisance edit rename bg b", "line 15: .*'bg' is a gmN, which cannot be renamed"),
        ("bg lnN - 1.2\nnuisance edit changepdf bg shape", "'bg' is a lnN, which cannot become a shape"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_card(put(tmp_path, line + "\n"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bg gmN 5 - 6.5", "line 14: 'bg': 5 times 6.5 is 32.5, the rate of 'bkg' in 'ch' is 25"),
        ("bg gmM 0.2 0.3", "line 14: 'bg' has different entries"),
        (
            "bg rateParam ch bkg (1+@0) a\na rateParam ch sig 1 [0,2]",
            "line 14: 'bg' is a formula, .* unless it is a product",
        ),
        ("bg rateParam ch bkg @1 a\na rateParam ch sig 1 [0,2]", "line 14: 'bg': @1 is beyond the parameters a"),
        ("bg rateParam ch bkg (@0*@0) a\na rateParam ch sig 1 [0,2]", "'a' multiplies 'bkg' in 'ch' twice"),
        ("bg rateParam ch bkg 1\nbg param 1 -0.1/+0.2", "line 15: 'bg' has two widths"),
        ("size shape - 1", "line 14: 'size' changes shapes, and 'bkg' has no histogram"),
    ],
)
def test_what_a_workspace_cannot_hold(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        translated(tmp_path, line + "\n")


# Lines and their likelihood


@pytest.mark.parametrize(
    ("lines", "signal", "background"),
    [
        ("lumi lnN 1.1 0.9/1.2", {"lumi": ("normsys", {"hi": 1.1, "lo": 1 / 1.1})},
         {"lumi": ("normsys", {"hi": 1.2, "lo": 0.9})}),
        ("bg gmN 4 - 6.2", {}, {"bg": ("shapesys", [12.4])}),  # 4 times 6.2: the rate follows
        ("a lnN 1.1 -\nb lnN - 1.4\nnuisance edit rename b a", {"a": ("normsys", {"hi": 1.1, "lo": 1 / 1.1})},
         {"a": ("normsys", {"hi": 1.4, "lo": 1 / 1.4})}),
        ("a lnN 1.1 1.1\nnuisance edit drop b.* ch a", {"a": ("normsys", {"hi": 1.1, "lo": 1 / 1.1})}, {}),
        ("a lnN 1.1 1.1\nnuisance edit drop * * nothing", {"a": ("normsys", {"hi": 1.1, "lo": 1 / 1.1})},
         {"a": ("normsys", {"hi": 1.1, "lo": 1 / 1.1})}),
        ("nuisance edit add sig * a lnN 0.8/1.1", {"a": ("normsys", {"hi": 1.1, "lo": 0.8})}, {}),
        ("a lnN - 1.2\na lnN - 1.1", {}, {"a": ("normsys", {"hi": 1.32, "lo": 1 / 1.32})}),
        ("a shape? 1.1 -", {"a": ("normsys", {"hi": 1.1, "lo": 1 / 1.1})}, {}),  # no histograms: as lnN
    ],
)  # fmt: skip
def test_lines_are_modifiers(tmp_path: Path, lines: str, signal: dict[str, Any], background: dict[str, Any]) -> None:
    workspace = translated(tmp_path, lines + "\n")
    for name, wanted in (("sig", {"r": ("normfactor", None), **signal}), ("bkg", background)):
        found = modifiers(workspace, name)
        assert found.keys() == wanted.keys()
        for key, (kind, data) in wanted.items():
            assert found[key][0] == kind
            assert found[key][1] == (pytest.approx(data) if data is not None else None)


def test_an_edit_adds_in_quadrature(tmp_path: Path) -> None:
    workspace = translated(tmp_path, "a lnN - 1.2\nnuisance edit add bkg ch a lnN 1.3 addq\n")
    both = math.exp(math.hypot(math.log(1.2), math.log(1.3)))
    assert modifiers(workspace, "bkg")["a"][1] == pytest.approx({"hi": both, "lo": 1 / both})


STRENGTHS = [0.0, 0.7, 2.0]


def gaussian(t: float) -> float:
    return 0.5 * t * t


@pytest.mark.parametrize(
    ("lines", "factors", "constraint", "start", "bounds"),
    [
        ("bg lnU 1.2 1.5", lambda t: (1.2**t, 1.5**t), lambda _: 0.0, 0.0, (-1, 1)),
        ("bg trG - 0.2", lambda t: (1, 1 + 0.2 * t), gaussian, 0.0, None),
        ("bg gmM - 0.3", lambda t: (1, t), lambda t: (t - 0.09 * (1 / 0.09 - 1) * math.log(t)) / 0.09, 1.0, (1e-3, 9)),
        ("bg gmN 5 - 5", lambda t: (1, t), lambda t: 5 * t - 5 * math.log(t), 1.0, (1e-3, 9)),
        ("bg rateParam ch bkg 1\nbg param 1.1 0.2", lambda t: (1, 1.1 + 0.2 * t), gaussian, 0.0, None),
        ("bg rateParam ch bkg 1.1 [0.9,1.2]", lambda t: (1, t), lambda _: 0.0, 1.0, (0.9, 1.2)),
        (
            "bg rateParam ch bkg (0.5*@0*@1) x,y\nx param 2 0.4\ny rateParam ch sig 1.0\nnuisance edit freeze y",
            lambda t: (1, 1 + 0.2 * t),
            gaussian,
            0.0,
            None,
        ),
        ("bg lnN - 1.4\nnuisance edit freeze b.", lambda _: (1, 1), lambda _: 0.0, 0.0, None),
        ("bg gmN 5 - 5\nnuisance edit freeze bg", lambda _: (1, 1), lambda _: 0.0, 0.0, None),
        ("bg rateParam ch bkg 1.2 [0,5]\nnuisance edit freeze bg", lambda _: (1, 1.2), lambda _: 0.0, 0.0, None),
        ("bg[nofloat] lnN - 1.4", lambda _: (1, 1), lambda _: 0.0, 0.0, None),
    ],
)
def test_likelihoods_by_formula(
    tmp_path: Path, lines: str, factors: Any, constraint: Any, start: float, bounds: Any
) -> None:
    def nll(r: float, x: Any) -> float:
        signal, background = factors(x[0])
        return poisson(10 * r * signal + 25 * background, 30) + constraint(x[0])

    found = profile(read_model(put(tmp_path, lines + "\n")), STRENGTHS)
    assert found == minimised(nll, [start], STRENGTHS, [bounds or (-8, 8)])


SHAPES = """\
imax 1
jmax *
kmax *
shapes * * s_$MASS.root $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC
shapes sig * s_$MASS.root $CHANNEL/$PROCESS$MASS $CHANNEL/$PROCESS$MASS_$SYSTEMATIC
bin ch
observation 60
bin ch ch ch
process sig bkg empty
process 0 1 2
rate 10 51.4 0
---
"""
DATA, SIGNAL, BACKGROUND = np.array([30.0, 18, 12]), np.array([1.0, 3, 6]), np.array([30.0, 15, 6])
SIGNAL_ERRORS, ERRORS = np.array([0.3, 0.5, 0.8]), np.sqrt([3.0, 30, 12])
UP, DOWN = np.array([33.0, 15, 5]), np.array([27.0, 15.2, 7])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    contents = {
        "data_obs": (DATA, DATA), "sig125": (SIGNAL, SIGNAL_ERRORS**2), "bkg": (BACKGROUND, ERRORS**2),
        "bkg_tiltUp": (UP, UP), "bkg_tiltDown": (DOWN, DOWN), "empty": (0 * DATA, 0 * DATA),
    }  # fmt: skip
    with uproot.recreate(tmp_path / "s_125.root") as file:
        for name, (values, variances) in contents.items():
            storage = hist.Hist(hist.axis.Regular(3, 0, 3), storage=hist.storage.Weight())
            storage.view().value, storage.view().variance = values, variances
            file[f"ch/{name}"] = storage
    return tmp_path


def test_a_histogram_whose_fills_are_in_no_bin_is_refused(folder: Path) -> None:
    ROOT = root.load()
    with ROOT.TFile(str(folder / "s_125.root"), "UPDATE") as file:
        h = ROOT.TH1D("bkg", "", 3, 0, 0)
        h.Fill(1.5, 51.4)
        file.Get("ch").WriteObject(h, "bkg")
    with pytest.raises(InputError, match="'ch/bkg' cannot be read: 1 of its fills is in no bin"):
        read_model(put(folder, "tilt shape - 1 -\n", SHAPES), mass=125.0)


SCALE = 51.4 / 51  # rates are taken where histograms are within 1%


def morphed(t: float, size: float = 1.0) -> Any:
    """Combine's shape: fractions and integral separately, with a smooth transition between -1 and +1."""
    u = t * t
    even = (3 * u**3 - 10 * u**2 + 15 * u) / 8 if u < 1 else abs(t)
    f0, up, down = (x / x.sum() for x in (BACKGROUND, UP, DOWN))
    fractions = f0 + size * 0.5 * (t * (up - down) + even * (up + down - 2 * f0))
    high, low = (size * math.log(x.sum() / BACKGROUND.sum()) for x in (UP, DOWN))
    return 51.4 * fractions * math.exp(0.5 * (t * (high - low) + even * (high + low)))


@pytest.mark.parametrize(
    ("lines", "size", "bounds"),
    [("tilt shape - 1 -", 1, None), ("tilt shape* - 0.5 -", 0.5, None), ("tilt shape? 1.0 1 -", 1, None),
     ("tilt shapeU - 1 -", 1, (-1, 1))],
)  # fmt: skip
def test_shapes_by_formula(folder: Path, lines: str, size: float, bounds: Any) -> None:
    def nll(r: float, x: Any) -> float:
        return poisson(r * SIGNAL + morphed(x[0], size), DATA) + (gaussian(x[0]) if bounds is None else 0)

    model = read_model(put(folder, lines + "\n", SHAPES), mass=125.0)
    assert profile(model, STRENGTHS) == minimised(nll, [0.0], STRENGTHS, [bounds or (-8, 8)])


def test_statistics_by_formula(folder: Path) -> None:
    """Above the threshold a bin moves by the sum of squares; below it each process has a parameter."""
    background, errors = BACKGROUND * SCALE, ERRORS * SCALE

    def one(r: float, x: Any) -> float:
        total = np.hypot(r * SIGNAL_ERRORS, errors)
        return poisson(r * SIGNAL + background + x * total, DATA) + 0.5 * float(x @ x)

    found = profile(read_model(put(folder, "* autoMCStats 0\n", SHAPES), mass=125.0), STRENGTHS)
    assert found == minimised(one, [0.0] * 3, STRENGTHS)

    def split(r: float, x: Any) -> float:
        # 300, 7.5 and 3 effective events of background, of signal 11, 36 and 56: Poisson below or at 12
        total = np.hypot(r * SIGNAL_ERRORS, errors)
        moved = r * SIGNAL + background + x[:3] * total
        moved[1:] = r * SIGNAL[1:] * (1 + x[3:] * (SIGNAL_ERRORS / SIGNAL)[1:]) + background[1:] * x[1:3]
        n = np.array([8.0, 3.0])
        return poisson(moved, DATA) + 0.5 * x[0] ** 2 + 0.5 * float(x[3:] @ x[3:]) + poisson(n * x[1:3], n)

    found = profile(read_model(put(folder, "* autoMCStats 12\n", SHAPES), mass=125.0), STRENGTHS)
    assert found == minimised(split, [0.0, 1, 1, 0, 0], STRENGTHS, [(-8, 8), (1e-3, 9), (1e-3, 9), (-3, 8), (-3, 8)])


def test_faults_of_histograms(folder: Path) -> None:
    path = put(folder, "", SHAPES)
    with pytest.raises(InputError, match=r"line 4: s_120\.root: cannot be read"):
        read_model(path)
    path.write_text(SHAPES.replace("51.4", "52.2"))
    with pytest.raises(
        InputError, match=r"line 4: the rate of process 'bkg' in channel 'ch' is 52\.2, the integral .* 51"
    ):
        read_model(path, mass=125.0)
    path.write_text(SHAPES.replace("$CHANNEL/$PROCESS ", "$CHANEL/$PROCESS "))
    with pytest.raises(InputError, match=r"line 4: '\$CHANEL/\$PROCESS' has a word that nothing replaces"):
        read_model(path, mass=125.0)
    with pytest.raises(ConfigError, match="a datacard takes no patches; leave out --patch x"):
        read_model(path, ["x"])


def test_one_command_reads_a_card(tmp_path: Path) -> None:
    path = put(tmp_path, "x flatParam\ng group = x\n")
    done = CliRunner().invoke(limit, [str(path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["poi"] == "r"
    assert found["best"] == pytest.approx(0.5, abs=1e-3)  # (30 - 25)/10
    assert "line 14: nothing depends on the flatParam 'x'" in found["notes"]
    q0 = 2 * (30 * math.log(30 / 25) - 5)
    assert found["significance"] == pytest.approx(math.sqrt(q0), rel=1e-4)
    (listed,) = list_models(path).models
    assert (listed.format, listed.channels, listed.measurements) == ("Combine", ("ch",), (("datacard", "r"),))


def test_a_card_without_signal_is_refused_in_words_of_cards(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"all rates of signal, with indices of 0 and below, are 0: there is nothing"):
        read_model(put(tmp_path, "", COUNTING.replace("rate         10 ", "rate         0 ")))


def test_what_is_read_in_another_way_is_noted(tmp_path: Path) -> None:
    lines = "bg rateParam ch bkg 1 [-1,3]\nx extArg 1 [0,2]\ny extArg 1.1\nz rateParam ch sig @0 y\n"
    lines += "nuisance edit freeze y\n"
    model = read_model(put(tmp_path, lines))
    assert isinstance(model, Workspace)
    assert model.notes[-2:] == (
        "line 14: 'bg' multiplies a process, and is kept at 0 or above", "line 15: nothing depends on 'x'"
    )  # fmt: skip


def test_a_channel_whose_name_begins_with_a_digit(tmp_path: Path) -> None:
    head = COUNTING.replace("bin          ch   ch", "bin 1 1").replace("bin          ch\n", "bin 1\n")
    head = head.replace("-\nbin 1\n", "-\nshapes * 1 FAKE\nbin 1\n", 1)
    model = read_model(put(tmp_path, "1 lnN 1.02 -\n", head))
    assert isinstance(model, Workspace)
    assert [channel["name"] for channel in model.spec["channels"]] == ["bin1"]
    assert model.notes == ("line 7: channel '1' is called 'bin1', as older versions of Combine do",)


def test_a_channel_that_expects_nothing(tmp_path: Path) -> None:
    """Without events it changes no likelihood; with events it makes every likelihood 0."""
    head = (
        "imax 2\njmax *\nkmax *\nbin ch none\nobservation 30 0\nbin ch ch none none\nprocess sig bkg sig bkg\n"
        "process 0 1 0 1\nrate 10 25 0 0\n"
    )
    model = read_model(put(tmp_path, "lumi lnN 1.02 - 1.02 -\n", head))
    assert isinstance(model, Workspace)
    assert [channel["name"] for channel in model.spec["channels"]] == ["ch"]
    what = "expects nothing from any process and has no events: it says nothing, and was left out"
    assert model.notes == (f"line 9: channel 'none' {what}",)
    with pytest.raises(InputError, match="line 9: channel 'none' expects nothing from any process, and has 2 events"):
        read_model(put(tmp_path, "", head.replace("observation 30 0", "observation 30 2")))


def test_what_pyhf_does_not_foresee_is_not_exported(tmp_path: Path) -> None:
    model = read_model(put(tmp_path, "bg trG - 0.2\n"))
    with pytest.raises(InputError, match=r"'bg' .* pyhf"):
        export(model, "pyhf", tmp_path / "out.json")
    export(read_model(put(tmp_path, "bg lnN - 1.2\n")), "pyhf", tmp_path / "out.json")
    assert isinstance(read_model(tmp_path / "out.json"), Workspace)
