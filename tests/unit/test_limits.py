"""Step 3 of hnl on hypotheses made by hand: limits at a point, excluded intervals, what the summary says and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import optimize, stats

from hnl.exports.hepdata import region
from hnl.figures.limits import figures_of_nuisances
from hnl.fits.signal import cms_resolution
from hnl.hypotheses import Hypothesis, Point, WindowCounts, Yield, evaluate, read_hypotheses
from hnl.limits import crossings, limits
from hnl.scan import scan
from hnl.search import _method, _Options
from portico.analysis.analysis import load_analysis
from portico.errors import ConfigError
from portico.stats.exports.card import read_card
from portico.stats.limit import CLs, Limit
from portico.stats.model import Channel, Component, Model
from portico.stats.model_file import read_model
from portico.stats.shapes import DoubleCrystalBall, Exponentials, Parameter

LOW, HIGH = 0.9, 1.1
EDGES = tuple(np.linspace(LOW, HIGH, 101))
PEAK = DoubleCrystalBall(low=LOW, high=HIGH, mean=1.0, width=0.01, alpha_left=1.5, n_left=4, alpha_right=1.5, n_right=4)


def channel(name: str, background: float) -> Channel:
    slope = Exponentials(low=LOW, high=HIGH)
    counts = np.round(background * slope.contents(np.array(EDGES), np.array([-0.5])), 3)
    parts = (
        Component(name="signal", shapes=(PEAK,), events=1.0, strength="mu", effects={"trigger": (0.95, 1.05)}),
        Component(name="background", shapes=(slope,), events=1.0, strength=f"background_{name}", floating=True),
    )
    return Channel(name=name, edges=EDGES, counts=tuple(counts), components=parts)


def model(**backgrounds: float) -> Model:
    free = [Parameter(name=f"background_{name}", start=b, low=0.0, step=5.0) for name, b in backgrounds.items()]
    return Model(
        channels=tuple(channel(name, b) for name, b in backgrounds.items()),
        parameters=(Parameter(name="mu", start=0.0, low=0.0), *free),
    )


def point(coupling: float, *, statistical: float = 0.0, **events: float) -> Point:
    yields = {n: Yield(events=s, statistical=statistical, effective_events=50.0) for n, s in events.items()}
    return Point(coupling_squared=coupling, ctau=1 / coupling, yields=yields)


def hypothesis(*points: Point, method: Any = "counting", observed: int | None = 3, **more: Any) -> Hypothesis:
    counts = {
        "near": WindowCounts(background=1.5, uncertainty=0.0, observed=observed, signal_fraction=0.9, systematic=0.0),
        "far": WindowCounts(
            background=0.5, uncertainty=0.0, observed=observed and 0, signal_fraction=1.0, systematic=0.1
        ),
    }
    fields = {"mass": 1.0, "window": (0.97, 1.03), "method": method, "why": "few", "model": model(near=300, far=200)}
    return Hypothesis(**{**fields, "counts": counts, "points": points, **more})


def test_a_count_alone_gives_the_classical_limit() -> None:
    """CLs with known background: P(n <= 3 | s + 1.5) = 0.05 P(n <= 3 | 1.5)."""
    limit, cls = evaluate(hypothesis(), point(0.01, near=2.0, far=0.0), 0.95) or pytest.fail("no limit")
    s = optimize.brentq(lambda s: stats.poisson.cdf(3, s + 1.5) - 0.05 * stats.poisson.cdf(3, 1.5), 0, 50)
    assert limit.observed == pytest.approx(s / (2.0 * 0.9), rel=1e-5)
    assert cls.observed == pytest.approx(stats.poisson.cdf(3, 1.5 + 1.8) / stats.poisson.cdf(3, 1.5), rel=1e-9)
    assert limit.method == "counting"


def test_a_fit_uses_yields_and_statistics_of_the_point() -> None:
    fitted = hypothesis(method="asymptotic")
    at = fitted.model_at(point(0.01, statistical=0.2, near=7.0, far=3.0))
    signals = {c.name: c.components[0] for c in at.channels}
    assert {name: signal.events for name, signal in signals.items()} == {"near": 7.0, "far": 3.0}
    assert signals["near"].effects["signal_statistics_near"] == pytest.approx((1 / 1.2, 1.2))
    assert "signal_statistics_near" not in signals["far"].effects
    once, twice = (evaluate(fitted, point(0.01, near=n * 7.0, far=n * 3.0), 0.95) for n in (1, 2))
    assert once is not None
    assert twice is not None
    assert once[0].expected[2] == pytest.approx(2 * twice[0].expected[2], rel=2e-3)
    assert twice[1].expected[2] < once[1].expected[2]


def test_nothing_is_said_without_signal() -> None:
    assert evaluate(hypothesis(), point(0.01, near=0.0, far=0.0), 0.95) is None


@given(st.lists(st.floats(-3, 3).filter(lambda y: abs(y) > 1e-3), min_size=2, max_size=12))
def test_intervals_are_where_the_line_is_below_zero(y: list[float]) -> None:
    x = list(range(len(y)))
    found = crossings(x, y)
    for at in np.linspace(0, len(y) - 1, 173):
        value = np.interp(at, x, y)
        inside = any((low is None or low < at) and (high is None or at < high) for low, high in found)
        assert inside == (value < 0) or abs(value) < 1e-9


def test_an_interval_ends_open_where_nothing_is_known() -> None:
    assert crossings([1, 2, 3, 4], [None, -1.0, -1.0, 1.0]) == [(None, 3.5)]
    assert crossings([1, 2, 3], [1.0, -1.0, None]) == [(1.5, None)]
    assert crossings([1, 2], [1.0, 2.0]) == []


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Limits that are below 1 for |V|^2 between 1e-3 and 1e-1, of 9 points; one has failed and one has no signal."""
    couplings = np.geomspace(1e-4, 1.0, 9)
    points = [point(float(v), near=4.0, far=1.0) for v in couplings]
    other = hypothesis(points[0], mass=1.5, method="asymptotic", observed=None)
    path = tmp_path_factory.mktemp("limits") / "hypotheses.json"
    path.write_text(json.dumps([h.model_dump(mode="json") for h in (hypothesis(*points), other)]))
    values = [
        {
            "limit": Limit("counting", 1.5 * limit, tuple(limit * (0.6 + 0.2 * k) for k in range(5))).to_json(),
            "cls": CLs(1.0, None, (float(cls),) * 5).to_json(),
            "failed": False,
        }
        for limit, cls in zip(10.0 ** (np.log10(couplings / 1e-2) ** 2 - 1), np.linspace(0.9, 0.01, 9), strict=True)
    ]
    values.append({"limit": None, "cls": None, "failed": True})
    return limits({"points": {"values": values, "points": each(hypothesis(*points), other)}}, {},
                  hypotheses=str(path)), path  # fmt: skip


def test_both_edges_are_found(outcome: tuple[dict[str, Any], Path]) -> None:
    first, second = outcome[0]["limits"]["masses"]
    ((low, high),) = first["excluded"]["expected"]["median"]
    assert (low, high) == pytest.approx((1e-3, 1e-1), rel=1e-6)  # points of the scan lie on them
    ((low, high),) = first["excluded"]["observed"]
    assert 1e-3 < low < 2e-3
    assert low * high == pytest.approx(1e-4, rel=1e-6)
    ((wide, _),) = first["excluded"]["expected"]["m2"]
    assert wide < 1e-3
    assert first["edge"] == {"coupling_squared": pytest.approx(1e-3), "p_value": None}
    assert second["excluded"]["observed"] is None
    assert not any(second["excluded"]["expected"].values())


def test_what_failed_is_named(outcome: tuple[dict[str, Any], Path]) -> None:
    told = outcome[0]["limits"]
    assert told["failed"] == ["m_N = 1.5 GeV, |V|^2 = 0.0001"]
    assert told["observed"] is True
    assert "Majorana" in told["convention"]
    json.dumps(told, allow_nan=False)


def test_figures_and_files(outcome: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    found, _ = outcome
    assert {name for name, value in found.items() if isinstance(value, Figure)} == {
        "edges", "exclusion", "limits_m1", "limits_m1p5",
    }  # fmt: skip
    files = {name: value for name, value in found.items() if isinstance(value, str)}
    assert files.keys() == {"model_m1.json", "pyhf_m1.json", "card_m1.txt"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert isinstance(read_model(tmp_path / "model_m1.json"), Model)
    read_model(tmp_path / "pyhf_m1.json")
    card = read_card(tmp_path / "card_m1.txt")
    assert {b.strip() for b in card.bins} == {"near", "far"}


def test_nuisance_parameters_are_drawn_where_data_are_fitted() -> None:
    at = point(0.01, statistical=0.1, near=20.0, far=10.0)
    found = figures_of_nuisances(hypothesis(at, method="asymptotic"), at)
    assert list(found) == ["impacts_m1"]
    words = {text.get_text() for axes in found["impacts_m1"].axes for text in axes.get_yticklabels()}
    assert {"trigger", "signal_statistics_near", "signal_statistics_far"} <= words
    assert figures_of_nuisances(hypothesis(at), at) == {}


def test_no_point_may_be_missing(outcome: tuple[dict[str, Any], Path]) -> None:
    with pytest.raises(ConfigError, match=r"the scan has 0 of 10 points"):
        limits({"points": {"values": [], "points": []}}, {}, hypotheses=str(outcome[1]))


def each(*tested: Hypothesis) -> list[dict[str, Any]]:
    """Return the points of the scan."""
    return [one.model_dump(mode="json") for h in tested for one in h.each()]


def limits_of_scan(path: Path, tested: list[Hypothesis], scanned: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the limits of a scan, all of which are 0.5."""
    path.write_text(json.dumps([h.model_dump(mode="json") for h in tested]))
    value = {"limit": Limit("counting", None, (0.5,) * 5).to_json(), "cls": None, "failed": False}
    found = limits({"points": {"values": [value] * len(scanned), "points": scanned}}, {}, hypotheses=str(path))
    return dict(found)


def test_limits_go_to_the_points_that_were_tested(tmp_path: Path) -> None:
    """Other couplings, masses or signals in the same number, and orders in which intervals have no meaning."""
    low, high, other = (point(v, near=4.0, far=1.0) for v in (1e-3, 1e-2, 1e-4))
    more = point(1e-2, near=5.0, far=1.0)
    light, heavy = hypothesis(low, high), hypothesis(low, high, mass=1.5)
    again = "the scan tested another point, or another signal, than m_N = 1.* run the step 'scan' again"
    for tested, scanned, words in (
        ([light], each(hypothesis(other, high)), again),
        ([light], each(hypothesis(low, more)), again),
        ([light], each(heavy), again),
        ([light, heavy], each(heavy, light), again),
        ([hypothesis(high, low)], each(hypothesis(high, low)), "the couplings of m_N = 1 GeV do not rise"),
        ([hypothesis(low, low)], each(hypothesis(low, low)), "the couplings of m_N = 1 GeV do not rise"),
        ([light, light], each(light, light), "each mass occurs once, and at least one: found m1, m1"),
        ([], [], "each mass occurs once, and at least one: found none"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            limits_of_scan(tmp_path / "h.json", tested, scanned)


def test_a_mass_may_have_one_coupling_or_none(tmp_path: Path) -> None:
    low, high = (point(v, near=4.0, far=1.0) for v in (1e-3, 1e-2))
    one, none = hypothesis(low, mass=1.25), hypothesis(mass=1.5, why="no coupling can be tested")
    found = limits_of_scan(tmp_path / "h.json", [hypothesis(low, high), one, none], each(hypothesis(low, high), one))
    assert [len(mass["points"]) for mass in found["limits"]["masses"]] == [2, 1, 0]
    medians = [mass["excluded"]["expected"]["median"] for mass in found["limits"]["masses"]]
    assert medians == [[[None, None]], [[None, None]], []]
    assert {"exclusion", "limits_m1", "limits_m1p25"} <= found.keys()
    assert "limits_m1p5" not in found
    assert "exclusion" in limits_of_scan(tmp_path / "h.json", [one], each(one))
    found = limits_of_scan(tmp_path / "h.json", [none], [])
    assert "exclusion" not in found
    assert found["limits"]["masses"][0]["why"] == "no coupling can be tested"


def test_an_open_interval_differs_from_none_in_hepdata(tmp_path: Path) -> None:
    low, middle, high = (point(v, near=4.0, far=1.0) for v in (1e-3, 1e-2, 1e-1))
    masses = [hypothesis(low, middle, high), hypothesis(mass=1.5)]
    found = limits_of_scan(tmp_path / "h.json", masses, each(*masses))["limits"]
    found["masses"][0]["points"][1]["signal_strength"] = None  # two intervals beside a gap
    found["masses"][0]["excluded"]["expected"] = {"m1": [[None, None]] * 2, "median": [[2e-4, None], [None, None]],
                                                  "p1": [[None, None], [None, 0.4]]}  # fmt: skip
    columns = {column.name.partition(" edge")[0]: list(column.values) for column in region(found, {}).columns}
    assert columns["$m_N$"] == [1.0, 1.0, 1.5]
    assert columns["Expected lower"] == [2e-4, 1e-1, None]
    assert columns["Expected upper"] == [1e-3, 1e-1, None]
    assert columns["Expected +1 sigma upper"] == [1e-3, 0.4, None]
    assert columns["Expected -1 sigma lower"] == [1e-3, 1e-1, None]


def test_the_report_hides_what_the_fits_do_not_see() -> None:
    (hidden,) = load_analysis("hnl").blind.values()
    masses = (1.0, 1.25, 1.5, 1.8)
    for mass, interval in zip(masses, hidden, strict=True):
        half = 3 * cms_resolution(mass)
        assert interval == pytest.approx((mass - half, mass + half), abs=1e-4)


def test_a_point_is_a_hypothesis_with_one_coupling() -> None:
    whole = hypothesis(point(1e-3, near=4.0, far=1.0), point(1e-2, near=0.0, far=0.0))
    first, second = (scan(json.loads(json.dumps(one.model_dump(mode="json")))) for one in whole.each())
    expected = evaluate(whole, whole.points[0], 0.95)
    assert expected is not None
    assert (Limit.from_json(first["limit"]), CLs.from_json(first["cls"])) == expected
    assert second == {"limit": None, "cls": None, "failed": False}


def test_what_is_no_hypothesis_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hypotheses.json"
    path.write_text('{"channels": []}')
    with pytest.raises(ConfigError, match="no list of hypotheses"):
        read_hypotheses(str(path))
    path.write_text('[{"mass": 1.0}]')
    with pytest.raises(ConfigError, match="hypothesis 0: key 'window' is missing"):
        read_hypotheses(str(path))


def test_the_method_is_chosen_by_the_events_that_decide_the_limit() -> None:
    """Categories count by what they contribute to the sensitivity, not by their share of the signal."""
    def chosen(yields: list[float], backgrounds: list[float]) -> tuple[str, str]:
        counts = {
            f"c{i}": WindowCounts(
                background=1.5 * b, uncertainty=1.0, observed=None, signal_fraction=1.0, systematic=0.1
            )
            for i, b in enumerate(backgrounds)
        }
        found = {f"c{i}": Yield(events=s, statistical=0.1, effective_events=100.0) for i, s in enumerate(yields)}
        point = Point(coupling_squared=1e-4, ctau=1.0, yields=found)
        return _method([point], counts, _Options(3.0, 4.0, 20, False))

    assert chosen([5.0, 10.0], [0.3, 60.0])[0] == "counting"
    assert "mostly in c0" in chosen([5.0, 10.0], [0.3, 60.0])[1]
    assert chosen([0.01, 10.0], [0.3, 60.0])[0] == "asymptotic"  # 0.1% of the signal, and less of the sensitivity
    assert chosen([0.3, 10.0], [2.0, 60.0])[0] == "asymptotic"  # 3% of the signal
    assert chosen([1.0] * 6, [0.3] * 6)[0] == "counting"
    assert chosen([0.0, 0.0], [1.0, 1.0]) == ("counting", "no coupling can be tested")
