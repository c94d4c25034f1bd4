"""Widths, branching ratios and lifetime of a heavy neutral lepton N that mixes with the muon neutrino only.

Natural units (GeV) inside; proper decay lengths are in mm, which is what the ntuples use. ``coupling_squared`` is
|V_muN|^2 everywhere. Formulae: Bondarenko, Boyarsky, Gorbunov, Ruchayskiy, arXiv:1805.08567 (called [B] below).

Conventions, which must be printed wherever a coupling is printed (`CONVENTION`):

- muon mixing only; a Majorana N has twice the width of a Dirac N, because it decays to both charges;
- the total width is that of three neutrinos, of the charged-lepton modes, and of the larger of the sum over exclusive
  mesons and the quark-level width with QCD correction (from 1 GeV on);
- the same total width enters BR(N -> mu pi) and ctau, so that both refer to one coupling. Codes that use
  ctau^-1 = 10.95 G_F^2 m^5 |V|^2 / (96 pi^3) have 30% shorter lifetimes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from scipy.integrate import quad

CONVENTION: Final = (
    "|V|^2 = |V_muN|^2, muon mixing only, Majorana N (both charges); total width of arXiv:1805.08567 with exclusive "
    "mesons or QCD-corrected quarks, whichever is larger"
)

FERMI_CONSTANT: Final = 1.1663787e-5  # GeV^-2
HBAR_C: Final = 1.973269804e-13  # GeV mm
HBAR: Final = 6.582119569e-25  # GeV s
SIN2_WEINBERG: Final = 0.23121  # MS-bar at m_Z (PDG)

ELECTRON_MASS: Final = 0.51099895e-3  # GeV, as all masses below
MUON_MASS: Final = 0.1056583755
PION_MASS: Final = 0.13957039
DS_MASS: Final = 1.96835
DS_LIFETIME: Final = 501.2e-15  # s
DS_DECAY_CONSTANT: Final = 0.2499  # GeV
V_CS: Final = 0.975
V_UD: Final = 0.97373
V_US: Final = 0.2243

MINIMUM_MASS: Final = MUON_MASS + PION_MASS
MAXIMUM_MASS: Final = DS_MASS - MUON_MASS

# Frozen at its value at the tau mass (PDG): run down to 1 GeV the series below no longer converges.
STRONG_COUPLING: Final = 0.314
QUARK_LEVEL_FROM: Final = 1.0  # GeV
UP_MASS, DOWN_MASS, STRANGE_MASS = 0.00216, 0.00467, 0.0934  # current masses (PDG), GeV

# (decay constant in GeV, mass in GeV, CKM element), [B] table 8
CHARGED_PSEUDOSCALARS: Final = ((0.1302, PION_MASS, V_UD), (0.1556, 0.493677, V_US))
NEUTRAL_PSEUDOSCALARS: Final = ((0.1302, 0.1349768), (0.0817, 0.547862), (0.0947, 0.95778))
# (constant g in GeV^2, mass in GeV, CKM element or neutral-current factor), [B] table 9
CHARGED_VECTORS: Final = ((0.162, 0.77526, V_UD),)
NEUTRAL_VECTORS: Final = (
    (0.162, 0.77526, 1 - 2 * SIN2_WEINBERG),
    (0.153, 0.78266, 4 / 3 * SIN2_WEINBERG),
    (0.234, 1.019461, 4 / 3 * SIN2_WEINBERG - 1),
)


def kaellen(a: float, b: float, c: float) -> float:
    """Return the Kaellen function a^2 + b^2 + c^2 - 2(ab + bc + ca)."""
    return a * a + b * b + c * c - 2 * (a * b + b * c + c * a)


def ds_to_mu_n_branching_ratio(mass: float, coupling_squared: float = 1.0) -> float:
    """Branching ratio of Ds -> mu N.

    Gamma = G_F^2 f^2 |V_cs|^2 M^3 |V|^2 / (8 pi) [y_N^2 + y_l^2 - (y_N^2 - y_l^2)^2] sqrt(lambda(1, y_N^2, y_l^2))
    with y = m/M ([B] eq. 2.3), times the Ds lifetime. It does not depend on the nature of N.

    Parameters
    ----------
    mass : float
        Mass of N in GeV. At or above `MAXIMUM_MASS` the ratio is 0.
    coupling_squared : float
        |V|^2.

    Returns
    -------
    float
        The ratio; for ``coupling_squared=1`` the ratio per unit of coupling, which is not a probability.
    """
    _check_mass(mass)
    if mass >= MAXIMUM_MASS:
        return 0.0
    y_n, y_l = (mass / DS_MASS) ** 2, (MUON_MASS / DS_MASS) ** 2
    width = FERMI_CONSTANT**2 * DS_DECAY_CONSTANT**2 * V_CS**2 * DS_MASS**3 / (8 * math.pi)
    width *= (y_n + y_l - (y_n - y_l) ** 2) * math.sqrt(kaellen(1, y_n, y_l))
    return width * coupling_squared * DS_LIFETIME / HBAR


def n_to_mu_pi_width(mass: float, coupling_squared: float = 1.0, *, majorana: bool = True) -> float:
    """Width of N -> mu pi in GeV, both charges together when N is Majorana ([B] eq. 3.6).

    Parameters
    ----------
    mass : float
        Mass of N in GeV. At or below `MINIMUM_MASS` the width is 0.
    coupling_squared : float
        |V|^2.
    majorana : bool
        Whether N is its own antiparticle.
    """
    _check_mass(mass)
    decay_constant, pion_mass, ckm = CHARGED_PSEUDOSCALARS[0]
    one_charge = _charged_pseudoscalar(mass, decay_constant, pion_mass, ckm)
    return (2 if majorana else 1) * one_charge * coupling_squared


def total_width(mass: float, coupling_squared: float = 1.0, *, majorana: bool = True) -> float:
    """Total width of N in GeV.

    Parameters
    ----------
    mass : float
        Mass of N in GeV, above 0 and below m_tau + m_mu (above it mu tau nu would open).
    coupling_squared : float
        |V|^2.
    majorana : bool
        Whether N is its own antiparticle.

    Raises
    ------
    ValueError
        For a mass outside the range.
    """
    _check_mass(mass)
    return (2 if majorana else 1) * _unit_width(mass) * coupling_squared


def n_to_mu_pi_branching_ratio(mass: float) -> float:
    """Branching ratio of N -> mu pi (both charges of a Majorana N); the coupling cancels, and so does its nature."""
    return n_to_mu_pi_width(mass) / total_width(mass)


def proper_decay_length(mass: float, coupling_squared: float, *, majorana: bool = True) -> float:
    """Mean proper decay length c*tau of N in mm.

    Parameters
    ----------
    mass : float
        Mass of N in GeV.
    coupling_squared : float
        |V|^2, above 0.
    majorana : bool
        Whether N is its own antiparticle.
    """
    _check_positive("coupling_squared", coupling_squared)
    return HBAR_C / total_width(mass, coupling_squared, majorana=majorana)


def coupling_squared(mass: float, ctau: float, *, majorana: bool = True) -> float:
    """Coupling |V|^2 at which N has the mean proper decay length `ctau`: the inverse of `proper_decay_length`.

    Parameters
    ----------
    mass : float
        Mass of N in GeV.
    ctau : float
        Mean proper decay length in mm, above 0.
    majorana : bool
        Whether N is its own antiparticle.
    """
    _check_positive("ctau", ctau)
    return HBAR_C / (total_width(mass, majorana=majorana) * ctau)


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} = {value!r}; it must be finite and above 0")


def _check_mass(mass: float) -> None:
    limit = 1.77693 + MUON_MASS
    if not 0 < mass < limit:
        raise ValueError(f"mass of N = {mass!r} GeV; the widths here hold for 0 < m < {limit:.4f} GeV (m_tau + m_mu)")


@lru_cache(maxsize=1024)
def _unit_width(mass: float) -> float:
    """Width of a Dirac N at |V|^2 = 1."""
    hadrons = _meson_width(mass)
    if mass >= QUARK_LEVEL_FROM:
        hadrons = max(hadrons, _quark_width(mass))
    return _lepton_width(mass) + hadrons


def _muon_like_scale(mass: float) -> float:
    return FERMI_CONSTANT**2 * mass**5 / (192 * math.pi**3)


def _lepton_width(mass: float) -> float:
    """Three neutrinos, nu e e, nu mu mu, mu e nu ([B] eq. 3.1, 3.4, 3.5)."""
    s2 = SIN2_WEINBERG
    electrons = _neutral_current(ELECTRON_MASS / mass, (1 - 4 * s2 + 8 * s2**2) / 4, s2 * (2 * s2 - 1) / 2)
    muons = _neutral_current(MUON_MASS / mass, (1 + 4 * s2 + 8 * s2**2) / 4, s2 * (2 * s2 + 1) / 2)
    mixed = _charged_current(MUON_MASS / mass, 0.0, ELECTRON_MASS / mass)
    return _muon_like_scale(mass) * (1 + electrons + muons + mixed)


def _meson_width(mass: float) -> float:
    """Sum over the exclusive one-meson modes ([B] eq. 3.6 to 3.9)."""
    return (
        sum(_charged_pseudoscalar(mass, *meson) for meson in CHARGED_PSEUDOSCALARS)
        + sum(_neutral_pseudoscalar(mass, *meson) for meson in NEUTRAL_PSEUDOSCALARS)
        + sum(_charged_vector(mass, *meson) for meson in CHARGED_VECTORS)
        + sum(_neutral_vector(mass, *meson) for meson in NEUTRAL_VECTORS)
    )


def _quark_width(mass: float) -> float:
    """Quark-level width with the QCD correction known from tau decays ([B] eq. 3.10)."""
    s2 = SIN2_WEINBERG
    charged = V_UD**2 * _charged_current(MUON_MASS / mass, UP_MASS / mass, DOWN_MASS / mass)
    charged += V_US**2 * _charged_current(MUON_MASS / mass, UP_MASS / mass, STRANGE_MASS / mass)
    up = ((1 - 8 / 3 * s2 + 32 / 9 * s2**2) / 4, s2 * (4 / 3 * s2 - 1) / 3)
    down = ((1 - 4 / 3 * s2 + 8 / 9 * s2**2) / 4, s2 * (2 / 3 * s2 - 1) / 6)
    neutral = _neutral_current(UP_MASS / mass, *up)
    neutral += _neutral_current(DOWN_MASS / mass, *down) + _neutral_current(STRANGE_MASS / mass, *down)
    a = STRONG_COUPLING / math.pi
    correction = 1 + a + 5.2 * a**2 + 26.4 * a**3
    return 3 * _muon_like_scale(mass) * correction * (charged + neutral)


def _charged_current(x_1: float, x_2: float, x_3: float) -> float:
    """Phase-space integral I(x_1, x_2, x_3) of a charged-current three-body decay ([B] eq. 3.2); I(0, 0, 0) = 1."""
    if x_1 + x_2 + x_3 >= 1:
        return 0.0

    def integrand(s: float) -> float:
        phase_space = kaellen(s, x_3**2, x_2**2) * kaellen(1, s, x_1**2)
        return 12 / s * (s - x_3**2 - x_2**2) * (1 + x_1**2 - s) * math.sqrt(max(phase_space, 0.0))

    value, _ = quad(integrand, (x_2 + x_3) ** 2, (1 - x_1) ** 2)
    return float(value)


def _neutral_current(x: float, c_1: float, c_2: float) -> float:
    """Neutral-current width to a fermion pair of mass ratio `x`, in units of the muon-decay scale ([B] eq. 3.4)."""
    if x >= 0.5:
        return 0.0
    root = math.sqrt(1 - 4 * x**2)
    # 1 - 3x^2 - (1 - x^2) root cancels to 2x^6: for a light fermion its leading term is exact enough
    numerator = 2 * x**6 if x < 0.01 else 1 - 3 * x**2 - (1 - x**2) * root
    log = math.log(numerator / (x**2 * (1 + root)))
    first = (1 - 14 * x**2 - 2 * x**4 - 12 * x**6) * root + 12 * x**4 * (x**4 - 1) * log
    second = x**2 * (2 + 10 * x**2 - 12 * x**4) * root + 6 * x**4 * (1 - 2 * x**2 + 2 * x**4) * log
    return c_1 * first + 4 * c_2 * second


def _charged_pseudoscalar(mass: float, decay_constant: float, meson: float, ckm: float) -> float:
    x, x_l = (meson / mass) ** 2, (MUON_MASS / mass) ** 2
    if meson + MUON_MASS >= mass:
        return 0.0
    scale = FERMI_CONSTANT**2 * decay_constant**2 * ckm**2 * mass**3 / (16 * math.pi)
    return scale * ((1 - x_l) ** 2 - x * (1 + x_l)) * math.sqrt(kaellen(1, x, x_l))


def _charged_vector(mass: float, constant: float, meson: float, ckm: float) -> float:
    x, x_l = (meson / mass) ** 2, (MUON_MASS / mass) ** 2
    if meson + MUON_MASS >= mass:
        return 0.0
    scale = FERMI_CONSTANT**2 * constant**2 * ckm**2 * mass**3 / (16 * math.pi * meson**2)
    return scale * ((1 - x_l) ** 2 + x * (1 + x_l) - 2 * x**2) * math.sqrt(kaellen(1, x, x_l))


def _neutral_pseudoscalar(mass: float, decay_constant: float, meson: float) -> float:
    if meson >= mass:
        return 0.0
    return FERMI_CONSTANT**2 * decay_constant**2 * mass**3 / (32 * math.pi) * (1 - (meson / mass) ** 2) ** 2


def _neutral_vector(mass: float, constant: float, meson: float, factor: float) -> float:
    if meson >= mass:
        return 0.0
    x = (meson / mass) ** 2
    scale = FERMI_CONSTANT**2 * factor**2 * constant**2 * mass**3 / (32 * math.pi * meson**2)
    return scale * (1 + 2 * x) * (1 - x) ** 2
