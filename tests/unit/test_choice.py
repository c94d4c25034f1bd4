"""The C++ of the choice of candidates: the numbers that cuts compare with are not part of it."""

from __future__ import annotations

import pytest

from portico.analysis.dataset import Sample
from portico.config import parse
from portico.selection import Selection, resolve
from portico.selection.choice import choice

KINDS = {"run": "int", "lumi": "int", "event": "int", "n": "int", "C_a": "ROOT::VecOps::RVec<float>",
         "C_i": "ROOT::VecOps::RVec<int>"}  # fmt: skip


def chosen(cut: str) -> tuple[str, str, tuple[float, ...]]:
    declared = {
        "candidates": "C_", "event": {"some": "n > 0"}, "preselection": {"cut": cut},
        "rules": {"best": {"score": "C_a"}},
        "histograms": [{"column": "C_a", "bins": 2, "range": [0, 1]}],
    }  # fmt: skip
    resolved = resolve(parse(Selection, declared, "here"), KINDS, Sample(name="s", kind="data"))
    return choice(resolved, None, "n", list(KINDS))


@pytest.mark.parametrize(
    ("cut", "numbers"),
    [
        ("C_a > 1.5 && C_i == -1", (1.5, -1.0)), ("(C_a >= .5e1) || !(C_a<3.)", (5.0, 3.0)), ("C_i != 0", (0.0,)),
        ("C_a > 2.5 * C_a", ()), ("C_a > 2.5f", ()), ("C_i > 0x10", ()), ("C_i > 10u", ()), ("C_i > 010", ()),
        ("C_i << 2", ()), ("C_i > 9999999999", ()), ("std::array<int, 2>{}[0] < C_i", ()), ("C_i > 1'000", ()),
        ("C_a > 1.5 /* C_i (C_i > 2) */ && C_a < 3", ()), ("C_a - 3 < C_i", ()),
    ],
)  # fmt: skip
def test_which_numbers_are_no_code(cut: str, numbers: tuple[float, ...]) -> None:
    look, choose, found = chosen(cut)
    assert found == (*numbers, 0.0)  # that of the cut on the event comes last
    assert look.count("portico_number[") == choose.count("portico_number[") == 1 + len(numbers)


def test_other_numbers_are_the_same_code_and_other_types_are_not() -> None:
    first, second = chosen("C_a > 1.5 && C_i == -1"), chosen("C_a > 2.25 && C_i == 1")
    assert first[:2] == second[:2]
    assert first[2] != second[2]
    assert chosen("C_a > 2")[:2] != chosen("C_a > 2.0")[:2]
