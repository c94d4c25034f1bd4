"""Published limits: the numbers of the package's files, in the right units and order."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hnl.figures import published
from hnl.figures.published import published_limits
from portico.errors import InputError, MissingExtra
from portico.plot.plane import Curve

needs_files = pytest.mark.skipif(find_spec("HNLimits") is None, reason="the extra 'published' is not installed")


@pytest.fixture(scope="module")
def curves() -> dict[str, Curve]:
    return {curve.label.partition(",")[0]: curve for curve in published_limits()}


# Read by eye from the data files, which are named, and compared with the figures of the papers where they are beside
# them in the package: (mass in GeV, coupling) as a line of the file has them.
GOLDEN = [
    ("CMS B parking", "CMS_24_3/Umu4_majorana.dat", 1.95, 2.0255e-5),  # abstract of arXiv:2403.04584: 2.0e-5 at 1.95
    ("CMS B parking", "CMS_24_3/Umu4_majorana.dat", 1.0, 5.8736e-5),
    ("CMS displaced", "CMS_22/CMS_majorana_mu4.dat", 2.0968523, 1.37898419e-5),
    ("CMS muon system", "CMS_24_1/Umu4_majorana.dat", 2.99971350, 5.04953139e-6),
    ("CMS prompt", "CMS_18/CMS18_Umu42_trilepton.dat", 1.090191241016651, 0.011201617266587601),
    ("ATLAS displaced", "ATLAS_2022/umu4_majorana_bottom.dat", 4.0, 4.260776199e-6),
    ("Belle", "belle_2013/Belle_Umu42_bottom.dat", 1.0023129881230326, 0.00008070973091232211),
    ("DELPHI long-lived", "umu4/DELPHI_long_95CL.dat", 1.509, 1.58e-4),
    ("DELPHI prompt", "umu4/DELPHI_short_95CL.dat", 1.9642697709703858, 0.006370218113886642),
    ("NuTeV", "umu4/NuTeV_bottom.dat", 1.00746723999999999, 1.27073352e-7),
    ("NuTeV", "umu4/NuTeV_top.dat", 1.02744129, 2.87200475e-5),
    ("BEBC", "umu4/BEBC.dat", 1.01143074, 3.09906148e-7),
    ("FMMF", "umu4/FMMF_bottom.dat", 1.52152320, 2.55219620e-6),
    ("PS191", "umu4/PS191_bottom.dat", 0.3303, 2.55e-9),
    ("NA62", "umu4/NA62_2021.dat", 0.380760234, 1.82038229e-8),
    ("T2K", "T2K_2019/T2K_2019_profiled_Umu4.dat", 0.380, 8.13962586503e-10),  # 380 MeV in the file
    ("E949", "bnl_e949/E949_Um42_90.dat", 0.178043208085578, 8.778763435746785e-8),
    ("MicroBooNE", "MicroBooNE_2022/umu4_majorana.dat", 0.371307829, 8.19856830e-9),
]


@needs_files
@pytest.mark.parametrize(("experiment", "file", "mass", "coupling"), GOLDEN)
def test_numbers_are_those_of_the_files(
    curves: dict[str, Curve], experiment: str, file: str, mass: float, coupling: float
) -> None:
    curve = curves[experiment]
    source = next(source for source in published._SOURCES if source.experiment == experiment)
    assert file in dict(source.parts)
    near = np.isclose(curve.x, mass, rtol=5e-4) & np.isclose(curve.y, coupling, rtol=5e-3)
    assert near.any()


@needs_files
def test_every_curve_is_checked_and_says_where_it_is_from(curves: dict[str, Curve]) -> None:
    assert {row[0] for row in GOLDEN} == set(curves)
    for curve in curves.values():
        assert re.fullmatch(r"[\w -]+, (arXiv:|Phys\. |Z\. Phys\. ).+ \((90|95)%(, Majorana)?\)", curve.label)
        good = np.isfinite(curve.x)
        assert (curve.x[good] > 0.1).all()
        assert (curve.x[good] < 1300).all()
        assert (curve.y[good] > 1e-10).all()
        assert (curve.y[good] < 1.1).all()


def inside(curve: Curve, mass: float, coupling: float) -> bool:
    """Whether a point is in the region of a closed curve: crossings of a ray along the mass, by hand."""
    x, y = curve.x, np.log(curve.y)
    x2, y2, at = np.roll(x, -1), np.roll(y, -1), np.log(coupling)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = ((y > at) != (y2 > at)) & (mass < x + (at - y) * (x2 - x) / (y2 - y))
    return bool(crossing.sum() % 2)


@needs_files
@pytest.mark.parametrize(
    ("experiment", "excluded", "allowed"),
    [
        ("NuTeV", [(1.0, 1e-6), (1.5, 1e-7), (0.35, 1e-3)], [(1.0, 1e-7), (1.0, 1e-4), (1.85, 1e-6)]),
        ("BEBC", [(1.0, 1e-5), (1.7, 3e-7)], [(1.0, 2e-7), (1.8, 1e-5)]),
        ("FMMF", [(1.0, 2e-5), (1.4, 5e-6)], [(1.0, 2e-4), (1.0, 2e-6), (1.65, 4e-6)]),
        ("Belle", [(1.0, 1e-3), (3.0, 1e-3)], [(1.0, 5e-5), (3.0, 1e-2), (3.5, 1e-3)]),
        ("CMS muon system", [(1.5, 1e-4), (2.5, 5e-5), (3.0, 1e-5)], [(1.5, 1e-5), (2.7, 1e-4), (3.3, 1e-5)]),
        ("CMS displaced", [(2.0, 1e-4), (3.0, 1e-5)], [(2.0, 1e-5), (10.0, 1e-3)]),
        ("ATLAS displaced", [(3.0, 1e-4), (5.0, 1e-5)], [(2.3, 1e-4), (3.0, 1e-5), (4.0, 1e-3)]),
        ("PS191", [(0.3, 1e-6), (0.355, 1e-8)], [(0.37, 1e-6), (0.3, 1e-9), (0.3, 1e-2)]),
    ],
)
def test_regions_hold_what_is_excluded(
    curves: dict[str, Curve],
    experiment: str,
    excluded: list[tuple[float, float]],
    allowed: list[tuple[float, float]],
) -> None:
    curve = curves[experiment]
    assert curve.closed
    assert [point for point in excluded if not inside(curve, *point)] == []
    assert [point for point in allowed if inside(curve, *point)] == []


@needs_files
def test_every_closed_curve_is_one_of_the_regions_tested(curves: dict[str, Curve]) -> None:
    closed = {name for name, curve in curves.items() if curve.closed}
    assert closed == {
        "NuTeV", "BEBC", "FMMF", "Belle", "CMS muon system", "CMS displaced", "ATLAS displaced", "PS191"
    }  # fmt: skip
    for name in curves.keys() - closed:  # the others rise in mass, so that all that is above is excluded
        x = curves[name].x
        assert (np.diff(x[np.isfinite(x)]) >= 0).all(), name


@needs_files
def test_the_vetoed_range_is_a_gap(curves: dict[str, Curve]) -> None:
    curve = curves["CMS B parking"]
    (at,) = np.flatnonzero(np.isnan(curve.x))
    assert (curve.x[at - 1], curve.x[at + 1]) == (1.74, 1.80)
    assert np.nanmin(curve.y) == 2.0255e-5


@needs_files
def test_range_of_masses_chooses() -> None:
    names = {curve.label.partition(",")[0] for curve in published_limits((1.0, 2.0))}
    assert {"NuTeV", "BEBC", "Belle", "CMS B parking", "CMS displaced", "DELPHI long-lived"} <= names
    assert not names & {"T2K", "NA62", "E949", "PS191", "MicroBooNE", "ATLAS displaced"}
    assert published_limits((2000.0, 3000.0)) == []


@needs_files
def test_the_package_is_not_imported() -> None:
    before = set(sys.modules)
    published_limits()
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] in {"HNLimits", "pylatex", "pandas"}}


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"published limits need.* 'published'.*portico-hep\[published\]"):
        published_limits()


@pytest.mark.parametrize("text", [None, "0.5 1e-3\n0.6 zero\n", "0.5 1e-3 7\n", "0.5 -3\n", "0.5 nan\n", ""])
@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
def test_files_of_another_version_are_refused(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "umu4").mkdir()
    if text is not None:
        (tmp_path / "umu4" / "PS191_bottom.dat").write_text(text)
    monkeypatch.setattr(published, "_folder", lambda: tmp_path)
    with pytest.raises(InputError, match=r"umu4/PS191_bottom.dat.*HNLimits(==| )1\.2\.0"):
        published_limits()
