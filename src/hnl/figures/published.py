"""Published limits on |V_muN|^2 for N of 0.2 to 5 GeV that mixes with muons only.

The numbers are those that come with the package `HNLimits` (E. Fernandez-Martinez et al., arXiv:2304.06772), read from
its data files as they are: the package itself is not imported. Its own table of confidence levels and of the nature of
N is an online sheet, on which no run should depend. So both are stated here, the nature only where a file or its figure
says it; and nothing is scaled from one confidence level to another, or from a Dirac to a Majorana N: such a factor is
exact for some of the analyses only. Straight edges of a region, such as the upper one of BEBC, of CMS displaced and of
CMS in the muon system, are where the figure ends that was digitised, not where the exclusion does.

Not here: projections (the package's NA62 beam dump curve is one), recasts, files whose flavour is not stated, and
searches above 5 GeV.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from portico.errors import InputError, MissingExtra
from portico.plot.bins import Array
from portico.plot.plane import Curve

__all__ = ["published_limits"]

MASS_RANGE: Final = (0.2, 5.0)
#: Of the package whose files were checked.
_VERSION: Final = "1.2.0"
_ALL: Final = slice(None)
_REVERSED: Final = slice(None, None, -1)
_GEV, _MEV = 1.0, 1e-3

_Rows = slice | list[int]


@dataclass(frozen=True, slots=True)
class _Source:
    """A published limit, and where it is.

    Attributes
    ----------
    experiment : str
    reference : str
        arXiv number, or journal.
    cl : int
        Confidence level in percent.
    parts : tuple of (str, slice or list of int)
        Files of the package below its folder ``include/data``, and their rows, one after the other, in the order in
        which they go round an excluded region.
    nature : str
        Of N: ``Majorana``, ``Dirac``, or nothing where neither file nor title says it.
    """

    experiment: str
    reference: str
    cl: int
    parts: tuple[tuple[str, _Rows], ...]
    nature: str = ""
    closed: bool = False
    unit: float = _GEV
    gap: float | None = None  # mass after which the curve is interrupted, in GeV


# Which limit comes last is drawn last; within an experiment the newer one comes after the older one.
_SOURCES: Final = (
    _Source(
        "PS191", "Phys. Lett. B 203 (1988) 332", 90,
        # The file gives the wall at 0.36 GeV from above.
        (
            ("umu4/PS191_bottom.dat", slice(0, 48)), ("umu4/PS191_bottom.dat", slice(None, 47, -1)),
            ("umu4/PS191_top.dat", _REVERSED),
        ),
        closed=True,
    ),
    _Source("E949", "arXiv:1411.3963", 90, (("bnl_e949/E949_Um42_90.dat", _ALL),), unit=_MEV),
    _Source("T2K", "arXiv:1902.07598", 90, (("T2K_2019/T2K_2019_profiled_Umu4.dat", _ALL),), unit=_MEV),
    _Source("NA62", "arXiv:2101.12304", 90, (("umu4/NA62_2021.dat", _ALL),)),
    _Source(
        "MicroBooNE", "arXiv:2207.03840", 90, (("MicroBooNE_2022/umu4_majorana.dat", _ALL),), "Majorana", unit=_MEV
    ),
    _Source(
        "NuTeV", "arXiv:hep-ex/9908011", 90, (("umu4/NuTeV_bottom.dat", _ALL), ("umu4/NuTeV_top.dat", _ALL)),
        closed=True,
    ),
    _Source(
        "BEBC", "Phys. Lett. B 160 (1985) 207", 90, (("umu4/BEBC.dat", _ALL), ("umu4/BEBC_top.dat", _ALL)), closed=True
    ),
    _Source(
        "FMMF", "Phys. Rev. D 52 (1995) 6", 90,
        (("umu4/FMMF_bottom.dat", _ALL), ("umu4/FMMF_top.dat", _REVERSED)), closed=True,
    ),
    _Source("DELPHI long-lived", "Z. Phys. C 74 (1997) 57", 95, (("umu4/DELPHI_long_95CL.dat", _ALL),)),
    _Source("DELPHI prompt", "Z. Phys. C 74 (1997) 57", 95, (("umu4/DELPHI_short_95CL.dat", _ALL),)),
    _Source(
        "Belle", "arXiv:1301.1105", 90,
        # The second file begins with the corner at which the first does.
        (("belle_2013/Belle_Umu42_bottom.dat", _ALL), ("belle_2013/Belle_Umu42_top.dat", slice(1, None))), closed=True,
    ),
    _Source(
        "ATLAS displaced", "arXiv:2204.11988", 95,
        (("ATLAS_2022/umu4_majorana_bottom.dat", _ALL), ("ATLAS_2022/umu4_majorana_top.dat", _ALL)), "Majorana", True,
    ),
    _Source("CMS prompt", "arXiv:1802.02965", 95, (("CMS_18/CMS18_Umu42_trilepton.dat", _ALL),)),
    _Source("CMS displaced", "arXiv:2201.05578", 95, (("CMS_22/CMS_majorana_mu4.dat", _ALL),), "Majorana", True),
    _Source(
        "CMS muon system", "arXiv:2402.18658", 95,
        # The file has both edges of the region sorted by mass.
        (("CMS_24_1/Umu4_majorana.dat", [1, 2, 3, 4, 5, 7, 9, 10, 12, 15, 17, 18, 19, 16, 14, 13, 11, 8, 6, 0]),),
        "Majorana", True,
    ),
    # The range 1.74 to 1.80 GeV is vetoed.
    _Source("CMS B parking", "arXiv:2403.04584", 95, (("CMS_24_3/Umu4_majorana.dat", _ALL),), "Majorana", gap=1.74),
)  # fmt: skip


def published_limits(mass_range: tuple[float, float] = MASS_RANGE) -> list[Curve]:
    """Return the published limits with points in a range of masses: |V_muN|^2 against the mass of N in GeV.

    The label has experiment, reference, confidence level and nature of N; NaN is where a curve is interrupted.

    Parameters
    ----------
    mass_range : (float, float)
        In GeV. Of a curve that comes into the range all points are kept.

    Raises
    ------
    MissingExtra
        If the package HNLimits is not installed.
    InputError
        If the installed one has other files.
    """
    folder = _folder()
    curves = [_curve(folder, source) for source in _SOURCES]
    low, high = mass_range
    return [curve for curve in curves if np.nanmin(curve.x) <= high and np.nanmax(curve.x) >= low]


def _folder() -> Path:
    spec = find_spec("HNLimits")  # finds it without running it
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("published", "the published limits")
    return Path(next(iter(spec.submodule_search_locations))) / "include" / "data"


def _curve(folder: Path, source: _Source) -> Curve:
    points = np.concatenate([_points(folder / name)[rows] for name, rows in source.parts])
    if source.gap is not None:
        points = np.insert(points, np.searchsorted(points[:, 0], source.gap, side="right"), np.nan, axis=0)
    kind = f"{source.cl}%" + (f", {source.nature}" if source.nature else "")
    label = f"{source.experiment}, {source.reference} ({kind})"
    return Curve(label, points[:, 0] * source.unit, points[:, 1], source.closed)


def _points(file: Path) -> Array:
    """Read masses and couplings, of shape (n, 2); what follows a # is a comment."""
    try:
        points = np.loadtxt(file, comments="#", ndmin=2, dtype=np.float64)
    except (OSError, ValueError) as error:
        name = file.relative_to(file.parents[1])
        raise InputError(
            f"HNLimits has no table of mass and coupling in {name} ({error}); install the version that was checked: "
            f"pip install 'HNLimits=={_VERSION}'"
        ) from error
    if points.shape[1] != 2 or not (np.isfinite(points).all() and (points > 0).all()):
        raise InputError(f"{file}: masses and couplings above 0 were expected; install HNLimits {_VERSION}")
    return points
