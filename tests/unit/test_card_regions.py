"""Counting cards that RooFit fits because a rate is a formula of others: a background from three control regions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portico.stats.model_file import read_model
from portico.stats.roofit.model import RooFitModel
from portico.stats.roofit.profiles import RooFitProfiles
from tests.unit.test_datacards import minimised, poisson

REGIONS = """\
imax *
jmax *
kmax *
bin A B C D
observation 12 40 30 110
bin A A B B C C D D
process sig bkg sig bkg sig bkg sig bkg
process 0 1 0 1 0 1 0 1
rate 8 1 1 1 1 1 0.5 1
lumi lnN 1.02 - 1.02 - 1.02 - 1.02 -
alpha rateParam A bkg (@0*@1/@2) beta,gamma,delta
beta rateParam B bkg 40 [0,200]
gamma rateParam C bkg 30 [0,200]
delta rateParam D bkg 110 [0,500]
"""
#: Another background of A and B, of which four events were counted elsewhere.
COUNTED = (
    REGIONS.replace("bin A A B B", "bin A A A B B B")
    .replace("process sig bkg sig bkg sig", "process sig bkg fake sig bkg fake sig")
    .replace("process 0 1 0 1 0", "process 0 1 2 0 1 2 0")
    .replace("rate 8 1 1 1 1", "rate 8 1 2 1 1 4 1")
    .replace("lumi lnN 1.02 - 1.02 - 1.02", "fake gmN 4 - - 0.5 - - 1.0 - - - -\nlumi lnN 1.02 - - 1.02 - - 1.02")
)
#: A fifth region in which nothing is expected and nothing was seen.
EMPTY = (
    REGIONS.replace("bin A B C D", "bin A B C D E")
    .replace("30 110", "30 110 0")
    .replace("C C D D", "C C D D E E")
    .replace("process sig bkg", "process sig bkg sig bkg")
    .replace("process 0 1", "process 0 1 0 1")
    .replace("0.5 1\n", "0.5 1 0 0\n")
    .replace("1.02 -\nalpha", "1.02 - - -\nalpha")
)
N = np.array([12.0, 40, 30, 110])
STRENGTHS = [0.5, 1.0, 2.0]


def regions(r: float, x: Any) -> float:
    b, c, d, lumi = x[:4]
    signal = r * 1.02**lumi * np.array([8, 1, 1, 0.5])
    return poisson(signal + np.array([b * c / d, b, c, d]), N) + 0.5 * lumi**2


def with_counts(r: float, x: Any) -> float:
    b, c, d, lumi, fake = x
    signal = r * 1.02**lumi * np.array([8, 1, 1, 0.5])
    expected = signal + np.array([b * c / d + 2 * fake, b + 4 * fake, c, d])
    return poisson(expected, N) + 0.5 * lumi**2 + poisson(4 * fake, 4)


@pytest.mark.parametrize(
    ("card", "nll", "more", "channels"),
    [
        (REGIONS, regions, [], ["A", "B", "C", "D"]),
        (COUNTED, with_counts, [1.0], ["A", "B", "C", "D", "control_fake"]),
        (EMPTY, regions, [], ["A", "B", "C", "D"]),
    ],
    ids=["regions", "counted", "empty"],
)
def test_a_background_from_three_regions_by_formula(
    tmp_path: Path, card: str, nll: Callable[[float, Any], float], more: list[float], channels: list[str]
) -> None:
    path = tmp_path / "card.txt"
    path.write_text(card)
    model = read_model(path)
    assert isinstance(model, RooFitModel)
    assert [of["name"] for of in model.session.about["channels"]] == channels
    assert len(model.notes) == (card == EMPTY)
    profiles = RooFitProfiles(model)
    found = np.array([profiles.conditional("obs", r).objective for r in STRENGTHS])
    limits = [(1, 200), (1, 200), (1, 500), (-6, 6), *((1e-3, 20) for _ in more)]
    right = minimised(nll, [40.0, 30.0, 110.0, 0.0, *more], STRENGTHS, limits)
    assert ((found - found[0]) / 2).tolist() == right
