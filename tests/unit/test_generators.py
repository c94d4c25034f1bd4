"""The global generators of random numbers, and those in variables of the user's modules."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from portico import root as root_of_portico
from portico.worker.globals import Generators, _Look


@pytest.fixture
def generators(root: Any) -> Generators:
    root_of_portico.use("collect.h")
    return Generators()


@pytest.mark.parametrize(
    ("name", "draw"),
    [("random", random.random), ("numpy.random", np.random.random), ("numpy.random", np.random.normal)],
)
@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.PCG64])
def test_every_chunk_draws_the_same(
    generators: Generators, name: str, draw: Callable[[], float], bits: Callable[[], Any]
) -> None:
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(bits())
    try:
        taken = Generators()
        drawn = []
        for _ in range(2):
            drawn.append(draw())
            assert taken.restore() == [name]
            assert taken.restore() == []
        assert drawn[0] == drawn[1]
    finally:
        np.random.set_bit_generator(before)
    generators.restore()


def test_the_generator_of_root_is_restored(root: Any, generators: Generators) -> None:
    first = root.gRandom.Rndm()
    assert generators.restore() == ["ROOT.gRandom"]
    assert root.gRandom.Rndm() == first
    assert generators.restore() == ["ROOT.gRandom"]


@pytest.mark.parametrize(
    "made",
    [random.Random(3), np.random.RandomState(3), np.random.RandomState(np.random.PCG64(3)), np.random.default_rng(3),
     np.random.Generator(np.random.MT19937(3))],
)  # fmt: skip
def test_a_generator_in_a_variable_changes_when_it_is_used(made: Any) -> None:
    def look() -> Any:
        return _Look("steps", "/nowhere").at(made)

    taken = look()
    assert look() == taken
    with np.printoptions(threshold=3, edgeitems=1):  # as a user may have set
        made.random()
        assert look() != taken
