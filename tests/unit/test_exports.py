"""Exports to bins, to pyhf and to HEPData: contents by independent formulae, limits that other tools reproduce."""

from __future__ import annotations

import itertools
import json
import sys
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
import yaml
from scipy import stats

from portico.errors import InputError, MissingExtra
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit
from portico.stats.counting import Count, asymptotic_counts
from portico.stats.exports.binned import binned
from portico.stats.exports.hepdata import (
    Column,
    Table,
    Uncertainty,
    exclusion_columns,
    hepdata_submission,
    limits_columns,
)
from portico.stats.exports.pyhf import pyhf_counting, pyhf_workspace, write_json
from portico.stats.likelihood import Likelihood
from portico.stats.limit import Limit
from portico.stats.model import Channel, Component, Model, observation
from portico.stats.model_file import read_model
from portico.stats.shapes import Bernstein, DoubleCrystalBall, Exponentials, Parameter, PowerLaws, Template
from portico.stats.workspace import INTERPOLATION, Workspace
from portico.stats.workspace_profiles import PyhfProfiles

EDGES = tuple(np.linspace(1.0, 2.0, 13))
PEAK = DoubleCrystalBall(low=1, high=2, mean=1.5, width=0.08, alpha_left=9, n_left=3, alpha_right=9, n_right=3)
SLOPE = -1.2
TEMPLATE = tuple(float(n) for n in np.linspace(30, 8, 12))
TILT = 1 + 0.15 * np.linspace(-1, 1, 12)


def fluctuated(expected: Any, seed: int) -> tuple[float, ...]:
    return tuple(float(n) for n in np.random.default_rng(seed).poisson(expected))


def signal(**changes: Any) -> Component:
    known: dict[str, Any] = {
        "name": "signal",
        "shapes": (PEAK,),
        "events": 12.0,
        "strength": "mu",
        "effects": {"lumi": (1 / 1.03, 1.03)},
        "shifts": {"scale": {"mean": 0.02}},
    }
    return Component(**{**known, **changes})


def templates() -> Model:
    """A histogram model: nothing floats but strengths and nuisance parameters."""
    changes = {"tilt": (tuple(np.array(TEMPLATE) / TILT), tuple(np.array(TEMPLATE) * TILT))}
    fakes = Component(name="fakes", shapes=(Template(low=1, high=2, bins=TEMPLATE, changes=changes),), events=228.0,
                      strength="fakes", effects={"lumi": (1 / 1.03, 1.03)})  # fmt: skip
    channel = Channel(name="c", edges=EDGES, counts=fluctuated(np.array(TEMPLATE), 1), components=(signal(), fakes))
    strength = Parameter(name="fakes", start=1, low=0)
    return Model(channels=(channel,), parameters=(Parameter(name="mu", start=1, low=0, high=30), strength))


def floating(shapes: tuple[Any, ...] = (Exponentials(low=1, high=2),), **data: Any) -> Model:
    """A peak over a background whose shape floats."""
    expected = Exponentials(low=1, high=2).contents(np.array(EDGES), np.array([SLOPE])) * 300
    background = Component(name="background", shapes=shapes, events=1, strength="n", floating=True)
    data = data or {"counts": fluctuated(expected, 2)}
    channel = Channel(name="c", edges=EDGES, components=(signal(), background), **data)
    strength = Parameter(name="n", start=250, low=0, high=1e5, step=10)
    return Model(channels=(channel,), parameters=(Parameter(name="mu", start=1, low=0, high=30), strength))


def profiles(workspace: dict[str, Any]) -> PyhfProfiles:
    measurement = workspace["measurements"][0]
    config = measurement["config"]
    made = Workspace("export", workspace, measurement["name"], config["poi"], tuple(config["parameters"]))
    return PyhfProfiles(made)


def assert_limits_agree(found: Limit, own: Limit, rel: float) -> None:
    assert found.observed == pytest.approx(own.observed, rel=rel)
    assert found.expected == pytest.approx(own.expected, rel=rel)


def validate(workspace: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's resolver of schemas is deprecated
        pyhf.schema.validate(workspace, "workspace.json", version="1.0.0")


@pytest.fixture(scope="module")
def histograms() -> Model:
    return templates()


@pytest.fixture(scope="module")
def peak() -> Model:
    return floating()


def test_contents_and_shifts_are_integrals_of_the_peak(histograms: Model) -> None:
    (channel,) = binned(histograms).channels
    process = channel.processes[0]

    def gaussian(mean: float) -> Any:
        cumulative = stats.norm.cdf(np.array(EDGES), mean, 0.08)
        return 12 * np.diff(cumulative) / (cumulative[-1] - cumulative[0])

    assert process.nominal == pytest.approx(gaussian(1.5), rel=1e-9)
    assert process.effects == {"lumi": (1 / 1.03, 1.03)}
    down, up = process.changes["scale"]
    assert down == pytest.approx(gaussian(1.48), rel=1e-9)
    assert up == pytest.approx(gaussian(1.52), rel=1e-9)


def test_strengths_are_relative_to_the_fit(histograms: Model) -> None:
    picture = binned(histograms)
    fitted = picture.units["fakes"]
    assert 0.8 < fitted < 1.2
    assert fitted != 1
    assert picture.strengths["fakes"].start == pytest.approx(1)
    assert picture.channels[0].processes[1].nominal == pytest.approx(np.array(TEMPLATE) * fitted * 228 / sum(TEMPLATE))
    assert picture.units["mu"] == 1
    assert (picture.strengths["mu"].low, picture.strengths["mu"].high) == (0, 30)


def test_slope_is_the_derivative_of_an_exponential(peak: Model) -> None:
    picture = binned(peak)
    ((name, slope),) = picture.slopes.items()
    assert name == "c_background_exponentials1_slope1"
    u, s, n = np.array(EDGES) - 1, slope.value, picture.units["n"]
    # contents n (e^{s b} - e^{s a}) / (e^s - 1), derived by s with the quotient rule
    top, bottom = np.diff(np.exp(s * u)), np.expm1(s)
    derivative = n * (np.diff(u * np.exp(s * u)) * bottom - top * np.exp(s)) / bottom**2
    process = picture.channels[0].processes[1]
    assert process.nominal == pytest.approx(n * top / bottom, rel=1e-9)
    assert process.slopes[name] == pytest.approx(derivative * slope.unit, rel=1e-5, abs=1e-6)
    assert 0 < slope.bound <= 10
    assert np.all(process.nominal - slope.bound * np.abs(process.slopes[name]) > 0)


def test_pyhf_expects_what_the_model_expects(histograms: Model) -> None:
    workspace = pyhf_workspace(histograms)
    model = pyhf.Model(
        {"channels": workspace["channels"], "parameters": workspace["measurements"][0]["config"]["parameters"]},
        validate=False, modifier_settings=INTERPOLATION,
    )  # fmt: skip
    likelihood = Likelihood(histograms, observation(histograms))
    unit = binned(histograms).units["fakes"]
    for theta in (-1.7, -1.0, -0.4, 0.0, 0.6, 1.0, 2.2):
        values = {"mu": 2.0, "fakes": 1.1, "lumi": -theta, "scale": round(theta / 3), "tilt": theta}
        own = np.sum(list(likelihood.expected({**values, "fakes": 1.1 * unit})[0].values()), axis=0)
        found = model.expected_data([values[name] for name in model.config.par_names], include_auxdata=False)
        assert found == pytest.approx(own, rel=2e-3 if theta == 2.2 else 3e-4)  # log-normals of codes 4 and 5 are near


def test_limit_of_the_workspace_is_our_own(histograms: Model) -> None:
    workspace = pyhf_workspace(histograms)
    validate(workspace)
    assert workspace["measurements"][0]["name"] == "observed data; nominal: fit without signal"
    assert_limits_agree(asymptotic_limit(profiles(workspace)), asymptotic_limit(ModelProfiles(histograms)), 0.005)


def test_limit_with_a_linearised_background_is_our_own(peak: Model, tmp_path: Path) -> None:
    workspace = pyhf_workspace(peak)
    validate(workspace)
    samples = {sample["name"]: sample for sample in workspace["channels"][0]["samples"]}
    linear = samples["background_c_background_exponentials1_slope1"]
    assert [modifier["type"] for modifier in linear["modifiers"]] == ["normfactor", "normfactor"]
    assert min(linear["data"]) < 0 < max(linear["data"])
    assert_limits_agree(asymptotic_limit(profiles(workspace)), asymptotic_limit(ModelProfiles(peak)), 0.02)
    write_json(workspace, tmp_path / "floating.json")
    assert isinstance(read_model(tmp_path / "floating.json"), Workspace)


def test_linearised_parameters_matter(peak: Model) -> None:
    """Without them the background would be known too well, and the limit too low."""
    workspace = pyhf_workspace(peak)
    channel = workspace["channels"][0]
    channel["samples"] = [sample for sample in channel["samples"] if sample["name"] in {"signal", "background"}]
    workspace["measurements"][0]["config"]["parameters"] = workspace["measurements"][0]["config"]["parameters"][:2]
    assert profiles(workspace).statistics(2.0)[1] > 1.005 * profiles(pyhf_workspace(peak)).statistics(2.0)[1]


def test_a_floating_signal_shape_is_linearised_with_the_signal() -> None:
    model = floating()
    components = (signal(floating=True, shifts={}), model.channels[0].components[1])
    channel = model.channels[0].model_copy(update={"components": components})
    workspace = pyhf_workspace(model.model_copy(update={"channels": (channel,)}))
    validate(workspace)
    sample = next(s for s in workspace["channels"][0]["samples"] if s["name"].endswith("_mean"))
    assert {"name": "mu", "type": "normfactor", "data": None} in sample["modifiers"]


def test_competing_shapes_are_exported_as_the_fit_chose() -> None:
    model = floating((Bernstein(low=1, high=2, order=4), Exponentials(low=1, high=2), PowerLaws(low=1, high=2)))
    chosen = ModelProfiles(model).background.choice[0]
    kind = model.channels[0].components[1].shapes[chosen].kind
    workspace = pyhf_workspace(model)
    assert f"c background {kind}" in workspace["measurements"][0]["name"]
    names = [p["name"] for p in workspace["measurements"][0]["config"]["parameters"]]
    assert all(kind in name for name in names if name.startswith("c_"))


def test_parameters_at_a_bound_are_held() -> None:
    """One exponential describes the data: of the sum of two, the fraction ends at a bound or its slopes are one."""
    expected = Exponentials(low=1, high=2).contents(np.array(EDGES), np.array([SLOPE])) * 3000
    model = floating((Exponentials(low=1, high=2, order=2),), counts=tuple(map(float, np.round(expected))))
    picture = binned(model)
    assert set(picture.slopes) | set(picture.held) == {
        f"c_background_exponentials2_{name}" for name in ("slope1", "slope2", "fraction1")
    }
    assert all(np.isfinite(slope.bound) for slope in picture.slopes.values())


def test_a_channel_without_events(peak: Model) -> None:
    """Its strength is 0 in the fit, which then has no errors: units are what the bins would measure."""
    full, none = peak.channels[0], floating(counts=(0.0,) * 12).channels[0]
    components = (none.components[0], none.components[1].model_copy(update={"strength": "m"}))
    empty = none.model_copy(update={"name": "empty", "components": components})
    parameters = (*peak.parameters, peak.parameters[1].model_copy(update={"name": "m"}))
    picture = binned(Model(channels=(full, empty), parameters=parameters))
    assert (picture.units["m"], picture.strengths["m"].start) == (1, pytest.approx(0, abs=1e-3))
    assert picture.channels[1].processes[1].nominal.sum() == pytest.approx(1)
    # the slope s of exp(s u) alone has an information of n Var(u), u in (0, 1)
    slope = picture.slopes["c_background_exponentials1_slope1"]
    u = np.linspace(0, 1, 10001)
    weights = np.exp(slope.value * u) / np.sum(np.exp(slope.value * u))
    variance = np.sum(weights * u**2) - np.sum(weights * u) ** 2
    assert slope.unit == pytest.approx(1 / np.sqrt(picture.units["n"] * variance), rel=0.02)


def test_unbinned_data_are_binned() -> None:
    values = tuple(np.random.default_rng(4).uniform(1, 2, 200))
    workspace = pyhf_workspace(floating(values=values))
    counts = [sum(low <= x < high for x in values) for low, high in itertools.pairwise(EDGES)]
    assert workspace["observations"][0]["data"] == counts


@pytest.mark.parametrize("data", [{"counts": None}, {"blind": ((1.4, 1.6),), "counts": (30.0,) * 12}])
def test_without_data_they_are_asimov_data(data: dict[str, Any]) -> None:
    workspace = pyhf_workspace(floating(**data))
    assert workspace["measurements"][0]["name"].startswith("Asimov data of the ")
    background = next(s for s in workspace["channels"][0]["samples"] if s["name"] == "background")["data"]
    assert workspace["observations"][0]["data"] == pytest.approx(background)
    assert sum(background) == pytest.approx(250 if data["counts"] is None else 360, rel=1e-3)


def test_events_where_none_are_expected_are_refused() -> None:
    bins = (0.0, *TEMPLATE[1:])
    background = Component(name="background", shapes=(Template(low=1, high=2, bins=bins),), events=200)
    channel = Channel(name="c", edges=EDGES, counts=(3.0,) * 12, components=(signal(), background))
    with pytest.raises(InputError, match=r"channel 'c', bin 1 to 1.08333: 3 events and none expected"):
        pyhf_workspace(Model(channels=(channel,), parameters=(Parameter(name="mu", start=1, low=0),)))


COUNTS = [Count("a", 10.0, 2.0, 3.0, 0.3, 12, 0.2), Count("b", 7.0, 1.5, 2.0, 0.0, 6, 0.1)]


def test_counts_as_workspace() -> None:
    workspace = pyhf_counting(COUNTS)
    validate(workspace)
    assert_limits_agree(asymptotic_limit(profiles(workspace)), asymptotic_counts(COUNTS), 0.005)


def test_blinded_counts_have_the_background_as_data() -> None:
    workspace = pyhf_counting([Count("a", 10.5, 2.0, 3.0, 0.3, None)])
    assert workspace["observations"] == [{"name": "a", "data": [10.5]}]
    assert workspace["measurements"][0]["name"] == "Asimov data of the background"


@pytest.mark.parametrize(("counts", "message"), [([], "no counts"), ([COUNTS[0]] * 2, "two counts have the same name")])
def test_impossible_counts(counts: list[Count], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pyhf_counting(counts)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    again = Model.model_validate_json(templates().model_dump_json())  # one of its bounds is infinite
    for name, model in (("a", templates()), ("b", again)):
        write_json(pyhf_workspace(model), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text())["version"] == "1.0.0"
    assert isinstance(read_model(tmp_path / "a"), Workspace)  # our own door takes it


# HEPData

LIMITS = [
    Limit("asymptotic", 1.2345678901234567, (0.5, 0.7, 1.0, 1.5, 2.1)),
    Limit("toys", 3.0, (0.6, 0.8, 1.1, 1.6, 2.2)),
]
MASS = Column("m(N)", [1.0, 1.5], "GeV", independent=True)


def limits_table(**changes: Any) -> Table:
    known: dict[str, Any] = {
        "name": "Upper limits",
        "description": "Limits at 95% CL",
        "location": "Figure 1",
        "columns": (MASS, *limits_columns(LIMITS, "signal strength", qualifiers={"SQRT(S)": "13000 GeV"})),
        "keywords": {"reactions": ["P P --> N X"], "cmenergies": ["13000"]},
    }
    return Table(**{**known, **changes})


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def valid(folder: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from hepdata_validator.full_submission_validator import FullSubmissionValidator

        return bool(FullSubmissionValidator(autoload_remote_schemas=False).validate(directory=str(folder)))


def test_submission_holds_the_numbers(tmp_path: Path) -> None:
    spectrum = (
        Column("m", list(itertools.pairwise(EDGES)), "GeV", independent=True),
        Column("Data", [*TEMPLATE[:-1], None]),
        Column("Background", TEMPLATE),
    )
    excluded = exclusion_columns(
        MASS, {"Observed": [[(1e-5, 1e-3)], [(2e-5, 3e-5), (1e-4, 1.0)]], "Expected": [[], [(1e-5, 1e-4)]]}, "|V|^2"
    )
    others = [Table("Spectrum", "fit", "Figure 2", spectrum), Table("Excluded", "area", "Figure 3", excluded)]
    archive = hepdata_submission(tmp_path / "out", [limits_table(), *others], abstract="A search.", digits=17)
    assert valid(tmp_path / "out")
    head, *documents = yaml.safe_load_all((tmp_path / "out/submission.yaml").read_text())
    assert head["comment"] == "A search."
    assert [document["name"] for document in documents] == ["Upper limits", "Spectrum", "Excluded"]
    assert {"name": "reactions", "values": ["P P --> N X"]} in documents[0]["keywords"]

    content = read(tmp_path / "out/upper_limits.yaml")
    assert [v["value"] for v in content["independent_variables"][0]["values"]] == [1.0, 1.5]
    assert content["independent_variables"][0]["header"] == {"name": "m(N)", "units": "GeV"}
    observed, expected = content["dependent_variables"]
    assert [v["value"] for v in observed["values"]] == [limit.observed for limit in LIMITS]
    for value, limit in zip(expected["values"], LIMITS, strict=True):
        bands = {error["label"]: error["asymerror"] for error in value["errors"]}
        median = value["value"]
        (low1, high1), (low2, high2) = ([bands[f"{n} sigma"][side] for side in ("minus", "plus")] for n in (1, 2))
        assert [median + shift for shift in (low2, low1, 0, high1, high2)] == pytest.approx(limit.expected, rel=1e-12)
    assert observed["qualifiers"] == [{"name": "SQRT(S)", "value": "13000 GeV"}]

    content = read(tmp_path / "out/spectrum.yaml")
    bins = [(b["low"], b["high"]) for b in content["independent_variables"][0]["values"]]
    assert bins == list(itertools.pairwise(EDGES))
    data, background = ([v["value"] for v in column["values"]] for column in content["dependent_variables"])
    assert data == [*TEMPLATE[:-1], "-"]
    assert background == list(TEMPLATE)

    content = read(tmp_path / "out/excluded.yaml")
    assert [v["value"] for v in content["independent_variables"][0]["values"]] == [1.0, 1.5, 1.5]
    edges = [[v["value"] for v in column["values"]] for column in content["dependent_variables"]]
    assert edges == [[1e-5, 2e-5, 1e-4], [1e-3, 3e-5, 1.0], ["-", 1e-5, "-"], ["-", 1e-4, "-"]]
    with tarfile.open(archive) as tar:
        assert sorted(tar.getnames()) == sorted(file.name for file in (tmp_path / "out").iterdir())


def test_submission_is_the_same_each_time_and_replaces_itself(tmp_path: Path) -> None:
    first = hepdata_submission(tmp_path / "out", [limits_table(), limits_table(name="More")]).read_bytes()
    second = hepdata_submission(tmp_path / "out", [limits_table()])
    assert not (tmp_path / "out/more.yaml").exists()
    assert hepdata_submission(tmp_path / "again", [limits_table()]).read_bytes() == second.read_bytes() != first
    assert read(tmp_path / "out/upper_limits.yaml")["dependent_variables"][0]["values"][0] == {"value": 1.23457}


def test_a_plane_has_two_independent_columns(tmp_path: Path) -> None:
    coupling = Column("|V|^2", [1e-4, 1e-3], independent=True)
    table = limits_table(columns=(MASS, coupling, *limits_columns(LIMITS, "mu")))
    hepdata_submission(tmp_path / "out", [table])
    assert len(read(tmp_path / "out/upper_limits.yaml")["independent_variables"]) == 2


def test_blinded_limits_have_no_observed_column() -> None:
    (expected,) = limits_columns([Limit("asymptotic", None, (0.5, 0.7, 1.0, 1.5, 2.1))], "mu")
    assert expected.name == "Expected mu"


def test_figures_are_attached(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    Figure((5, 4)).savefig(tmp_path / "plot.png")
    hepdata_submission(tmp_path / "out", [limits_table(figure=tmp_path / "plot.png")])
    assert (tmp_path / "out/upper_limits.png").read_bytes() == (tmp_path / "plot.png").read_bytes()
    assert (tmp_path / "out/thumb_upper_limits.png").exists()
    document = list(yaml.safe_load_all((tmp_path / "out/submission.yaml").read_text()))[1]
    assert [r["location"] for r in document["additional_resources"]] == ["upper_limits.png", "thumb_upper_limits.png"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a/b"}, "at most 64 letters"),
        ({"name": "x" * 65}, "at most 64 letters"),
        ({"keywords": {"reaction": ["x"]}}, "did you mean 'reactions'"),
        ({"columns": (MASS,)}, "one independent column and one that is not"),
        ({"columns": (MASS, Column("y", [1.0]))}, "'y' has 1 values, the first column 2"),
        ({"columns": (MASS, Column("y", [1.0, float("nan")]))}, "'y': nan is not a number"),
        ({"columns": (MASS, Column("y", [1.0, (0.0, 1.0)]))}, "has numbers and bins"),
        ({"columns": (MASS, Column("y", [1.0, 2.0], uncertainties=(Uncertainty("u", [1.0]),)))}, "1 uncertainties for"),
        ({"columns": (MASS, Column("y", [1.0, 2.0], uncertainties=(Uncertainty("u", [(-1, 1), None]),)))}, "or none"),
        ({"columns": (MASS, Column("y", [1.0, 2.0], uncertainties=(Uncertainty("u", [(-1, 1), 1.0]),)))}, "or none"),
        ({"columns": (Column("x", [1.0], independent=True, qualifiers={"a": "b"}), MASS)}, "one that is not"),
        ({"columns": (Column("x", [1.0], independent=True, qualifiers={"a": "b"}), Column("y", [1.0]))}, "must not"),
        ({"figure": Path("plot.pdf")}, "HEPData takes PNG"),
    ],
)
def test_impossible_tables(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        limits_table(**changes)


def test_impossible_submissions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="different names"):
        hepdata_submission(tmp_path / "out", [limits_table(), limits_table()])
    with pytest.raises(InputError, match="3 entries for 2"):
        exclusion_columns(MASS, {"Observed": [[], [], []]}, "|V|^2")
    with pytest.raises(InputError, match="without edges"):
        exclusion_columns(MASS, {"Observed": [[(None, None)], []]}, "|V|^2")
    for name in ("thesis.tex", "analysis.yaml", "plot.png"):
        (tmp_path / name / "home").mkdir(parents=True)
        (tmp_path / name / "home" / name).touch()
        with pytest.raises(InputError, match="not part of a submission"):
            hepdata_submission(tmp_path / name / "home", [limits_table()])
        assert (tmp_path / name / "home" / name).exists()


def test_hepdata_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hepdata_lib", None)
    with pytest.raises(MissingExtra, match=r"portico-hep\[hepdata\]"):
        hepdata_submission(tmp_path / "out", [limits_table()])
