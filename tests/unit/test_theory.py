"""hnl.theory against the reference table of the analysis and against exact limits of the formulae."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnl import theory

# mass (GeV), BR(Ds -> mu N)/|V|^2, Gamma(mu pi, both charges)/|V|^2 (GeV), ctau |V|^2 (mm), BR(N -> mu pi)
REFERENCE = [
    (1.00, 0.2694, 8.077e-14, 0.5762, 0.236),
    (1.25, 0.2706, 1.621e-13, 0.1830, 0.150),
    (1.50, 0.1902, 2.842e-13, 0.0732, 0.106),
]


@pytest.mark.parametrize(("mass", "production", "width", "length", "decay"), REFERENCE)
def test_reference_table(mass: float, production: float, width: float, length: float, decay: float) -> None:
    assert theory.ds_to_mu_n_branching_ratio(mass) == pytest.approx(production, rel=2e-3)
    assert theory.n_to_mu_pi_width(mass) == pytest.approx(width, rel=1e-3)
    assert theory.proper_decay_length(mass, 1.0) == pytest.approx(length, rel=1e-2)
    assert theory.n_to_mu_pi_branching_ratio(mass) == pytest.approx(decay, rel=1e-2)


@given(mass=st.floats(0.25, 1.86), log_ctau=st.floats(-3, 6), majorana=st.booleans())
def test_coupling_inverts_decay_length(mass: float, log_ctau: float, majorana: bool) -> None:
    ctau = 10**log_ctau
    coupling = theory.coupling_squared(mass, ctau, majorana=majorana)
    assert theory.proper_decay_length(mass, coupling, majorana=majorana) == pytest.approx(ctau, rel=1e-12)


def test_dirac_lives_twice_as_long_with_the_same_branching_ratio() -> None:
    assert theory.proper_decay_length(1.2, 1e-4, majorana=False) == pytest.approx(
        2 * theory.proper_decay_length(1.2, 1e-4), rel=1e-12
    )
    dirac = theory.n_to_mu_pi_width(1.2, majorana=False) / theory.total_width(1.2, majorana=False)
    assert dirac == pytest.approx(theory.n_to_mu_pi_branching_ratio(1.2), rel=1e-12)


def test_thresholds() -> None:
    assert theory.n_to_mu_pi_width(theory.MINIMUM_MASS) == 0
    assert theory.n_to_mu_pi_width(theory.MINIMUM_MASS + 1e-4) > 0
    assert theory.ds_to_mu_n_branching_ratio(theory.MAXIMUM_MASS) == 0
    assert theory.ds_to_mu_n_branching_ratio(theory.MAXIMUM_MASS - 1e-4) > 0


def test_light_n_decays_to_neutrinos_and_electrons_only() -> None:
    # Below every meson and muon threshold the width is G_F^2 m^5 / (192 pi^3) [1 + C_1(electron)], C_1 = 0.1265
    mass = 0.09
    scale = theory.FERMI_CONSTANT**2 * mass**5 / (192 * math.pi**3)
    assert theory.total_width(mass, majorana=False) / scale == pytest.approx(1.126, abs=2e-3)


def test_muon_decay_phase_space() -> None:
    # The same integral gives the muon's 1 - 8x + 8x^3 - x^4 - 12 x^2 ln x, x = (m_e/m_mu)^2
    x = (0.2) ** 2
    exact = 1 - 8 * x + 8 * x**3 - x**4 - 12 * x**2 * math.log(x)
    assert theory._charged_current(0.2, 0.0, 0.0) == pytest.approx(exact, rel=1e-6)
    assert theory._charged_current(0.0, 0.0, 0.2) == pytest.approx(exact, rel=1e-6)
    assert theory._charged_current(0.5, 0.3, 0.2) == 0


def test_neutral_current_is_continuous_where_its_logarithm_is_expanded() -> None:
    below, above = (theory._neutral_current(x, 0.2, 0.1) for x in (0.0099999, 0.0100001))
    assert below == pytest.approx(above, rel=1e-6)


@pytest.mark.parametrize("mass", [0.0, -1.0, 1.95, math.nan])
def test_mass_outside_the_formulae_is_refused(mass: float) -> None:
    with pytest.raises(ValueError, match="mass of N"):
        theory.total_width(mass)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_unphysical_coupling_and_length_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="coupling_squared"):
        theory.proper_decay_length(1.0, value)
    with pytest.raises(ValueError, match="ctau"):
        theory.coupling_squared(1.0, value)
