"""Toys of models of RooFit: they depend on their seeds alone, and are distributed as what they are thrown from."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from portico.errors import InputError
from portico.stats.infer import infer
from portico.stats.model_file import read_model
from portico.stats.results import fit_to_data
from portico.stats.roofit.model import RooFitModel
from portico.stats.roofit.toys import RooFitToys, received, shipped
from portico.stats.toys import throw_toy
from tests import functions

#: Events of a function, counts in bins of one, and a count whose background is a formula; a parameter has two widths.
CARD = functions.CARD + """\
scale param 0 1
k rateParam c bkg (@0*@0+0.2)/1.2 kk
kk extArg 1 [0,3]
kk param 1 -0.1/+0.2
elsewhere gmN 4 - - - - 0.75 -
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RooFitModel:
    folder = tmp_path_factory.mktemp("toys")
    subprocess.run([sys.executable, str(Path(functions.__file__)), str(folder)], check=True, capture_output=True)
    (folder / "card.txt").write_text(CARD)
    found = read_model(folder / "card.txt", mass=125.0)
    assert isinstance(found, RooFitModel)
    return found


def toys(source: RooFitToys, numbers: range, mu: float = 1.5) -> dict[tuple[bool, int], float]:
    return {(s, n): throw_toy(source, mu, n, signal=s, seed=5, index=1) for n in numbers for s in (True, False)}


@pytest.mark.full
def test_a_toy_depends_on_its_seeds_alone(model: RooFitModel, tmp_path: Path) -> None:
    """The same bits in another process, from a copy of the files, in another order, after other fits."""
    here = toys(RooFitToys(model), range(3))
    assert all(math.isfinite(q) and q >= 0 for q in here.values())
    content, files = shipped(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files) == ["model_0.root", "model_1.root"]
    copied = received(json.loads(content), tmp_path)
    assert copied is not None
    infer(copied)
    other = RooFitToys(copied)
    throw_toy(other, 0.7, 0, signal=True, seed=1)
    there = {key: q for n in (2, 1, 0) for key, q in toys(other, range(n, n + 1)).items()}
    assert {key: np.float64(q).tobytes() for key, q in there.items()} == {
        key: np.float64(q).tobytes() for key, q in here.items()
    }
    assert RooFitToys(model).observed_statistic(1.5) == other.observed_statistic(1.5)


def test_toys_are_distributed_as_what_they_are_thrown_from(model: RooFitModel) -> None:
    """Counts, and how often a parameter is pulled by its auxiliary measurement alone."""
    session, number = model.session, 300
    start = {**model.start, "r": 2.0, "lumi": 0.5}
    expected = [np.sum(list(of.values()), axis=0) for of in session.ask("events", values=start)]
    counts = [session.ask("throw", values=start, seeds=[7, n]) for n in range(number)]
    for at, mean in enumerate(expected):
        seen = np.array([of[at] for of in counts])
        total, width = float(np.sum(mean)), math.sqrt(float(np.sum(mean)) / number)
        assert seen.sum(axis=1).mean() == pytest.approx(total, abs=4 * width)
        assert seen.sum(axis=1).std() == pytest.approx(math.sqrt(total), rel=0.2)
        chi2 = float(np.sum((seen.mean(axis=0) - mean) ** 2 / (mean / number)))
        assert stats.chi2.sf(chi2, len(mean)) > 1e-4
    assert all(of[2] == [int(of[2][0])] for of in counts)


def test_the_fit_to_toys_says_how_good_the_fit_is(model: RooFitModel) -> None:
    found, again = (fit_to_data(model, toys=20, seed=3) for _ in range(2))
    assert found.toys == 20
    assert 1 / 21 <= found.p_toys <= 1
    assert found.p_toys == again.p_toys
    assert found.p_toys == pytest.approx(found.p_value, abs=0.45)
    assert math.isnan(fit_to_data(model).p_toys)


def count(folder: Path, observed: int, background: float, formula: str = "(@0*@0+0.2)/1.2") -> RooFitModel:
    """A count that RooFit holds, since its background is a formula."""
    path = folder / "count.txt"
    path.write_text(
        f"imax 1\njmax 1\nkmax *\nbin c\nobservation {observed}\nbin c c\nprocess sig bkg\nprocess 0 1\n"
        f"rate 1 {background}\nk rateParam c bkg {formula} kk\nkk extArg 1 [0,3]\nnuisance edit freeze kk\n"
    )
    found = read_model(path)
    assert isinstance(found, RooFitModel)
    return found


@pytest.mark.full
def test_a_parameter_of_a_formula_is_not_called_useless(tmp_path: Path) -> None:
    """Its param line is a constraint of the formula, though no histogram depends on it."""
    model = count(tmp_path, 3, 3.2)
    text = Path(model.where).read_text().replace("nuisance edit freeze kk", "kk param 1 0.1\nloose param 0 1")
    (tmp_path / "card.txt").write_text(text)
    assert [note for note in read_model(tmp_path / "card.txt").notes if "nothing depends" in note] == [
        "line 13: nothing depends on the param 'loose'"
    ]


def test_statistics_of_a_count_by_formula(tmp_path: Path) -> None:
    source, b, mu = RooFitToys(count(tmp_path, 3, 3.2)), 3.2, 4.0

    def q(n: int) -> float:
        best = max(n - b, 0.0)
        return 2 * (mu - best - n * math.log((mu + b) / (best + b))) if best < mu else 0.0

    levels = np.array([q(n) for n in range(40)])
    assert source.observed_statistic(mu) == pytest.approx(levels[3], abs=1e-3)
    found = np.array([throw_toy(source, mu, n, signal=False, seed=2) for n in range(60)])
    assert np.abs(found[:, None] - levels).min(axis=1).max() < 1e-3
    few = float(np.mean(found >= levels[3] - 1e-3))
    assert few == pytest.approx(float(stats.poisson.cdf(3, b)), abs=4 * math.sqrt(0.25 / 60))


def test_degenerate_factors_are_named(model: RooFitModel, tmp_path: Path) -> None:
    free = count(tmp_path, 30, 25.0)
    card = tmp_path / "free.txt"
    card.write_text(Path(free.where).read_text().replace("nuisance edit freeze kk\n", ""))
    (note,) = (note for note in infer(read_model(card)).notes if "degenerate" in note)
    assert note.startswith("kk and r are degenerate: a change of one is undone by the others")
    assert not [note for note in (*infer(free).notes, *infer(model).notes) if "degenerate" in note]


def test_few_events_are_said_and_toys_named(tmp_path: Path) -> None:
    notes = infer(count(tmp_path, 1, 1.5)).notes
    assert any("below 5 asymptotic limits are too low; use toys (--toys 1000)" in note for note in notes)
    with pytest.raises(InputError, match=r"expects no background where signal is.*; use toys \(--toys 1000\)"):
        infer(count(tmp_path, 0, 1e-9))
