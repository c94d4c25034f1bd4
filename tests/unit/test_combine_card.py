"""Datacards of CMS Combine: what is written is read again by the documented grammar, and its limits are ours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
import uproot

from portico.errors import InputError
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit
from portico.stats.counting import Count, asymptotic_counts
from portico.stats.exports.binned import binned
from portico.stats.exports.card import read_card
from portico.stats.exports.card_content import Card, Column
from portico.stats.exports.card_workspace import card_to_pyhf
from portico.stats.exports.combine import counting_card, shape_card, write_shape_card
from portico.stats.exports.pyhf import pyhf_counting
from portico.stats.limit import Limit
from portico.stats.model import Channel, Component, Model
from portico.stats.shapes import Bernstein, DoubleCrystalBall, Exponentials, Parameter, Template
from portico.stats.workspace import Workspace
from portico.stats.workspace_profiles import PyhfProfiles

# The example of the documentation of Combine, "A simple counting experiment", with its comments.
REALISTIC = """\
# Simple counting experiment, with one signal and a few background processes
imax 1  number of channels
jmax 3  number of backgrounds
kmax 5  number of nuisance parameters (sources of systematic uncertainties)
------------
# we have just one channel, in which we observe 0 events
bin bin1
observation 0
------------
bin          bin1     bin1     bin1     bin1
process         ggH  qqWW  ggWW  others
process          0     1     2     3
rate           1.47  0.64  0.06  0.22
------------
lumi    lnN    1.11    -   1.11    -    lumi affects both signal and gg->WW (mc-driven). lnN = lognormal
xs_ggH  lnN    1.16    -     -     -    gg->H cross section + signal efficiency + other minor ones.
WW_norm gmN 4    -   0.16    -     -    WW estimate of 0.64 comes from sidebands: 4 events in sideband times 0.16
xs_ggWW lnN      -     -   1.50    -    50% uncertainty on gg->WW cross section
bg_others lnN    -     -     -   1.30   30% uncertainty on the rest of the backgrounds
"""

EDGES = tuple(np.linspace(0.0, 10.0, 11))
MIDDLES = np.array(EDGES[:-1]) + 0.5
FALLING = 60 * np.exp(-0.2 * MIDDLES)
COUNTS = [Count("a", 10.0, 2.0, 3.0, 0.3, 12, 0.2), Count("b", 8.0, 1.6, 2.0, 0.0, 6, 0.1)]


def model(**changes: Any) -> Model:
    """Two channels with every kind of nuisance parameter, and a free strength."""
    rng = np.random.default_rng(1)
    peak = DoubleCrystalBall(low=0, high=10, mean=5, width=1, alpha_left=1.5, n_left=3, alpha_right=1.5, n_right=3)
    tilt = 1 + 0.02 * (MIDDLES - 5)
    template = Template(
        low=0, high=10, bins=tuple(FALLING), changes={"tilt": (tuple(FALLING / tilt), tuple(FALLING * tilt))}
    )
    channels = []
    for name, scale in (("low", 1.0), ("high", 0.3)):
        signal = Component(
            name="signal", shapes=(peak,), events=10 * scale, strength="mu", shifts={"scale": {"mean": 0.2}},
            effects={"lumi": (1 / 1.03, 1.03), "efficiency": (0.9, 1.05)},
        )  # fmt: skip
        fakes = Component(
            name="fakes", shapes=(template,), events=FALLING.sum() * scale, strength="fakes",
            effects={"tilt": (0.97, 1.02)} if name == "low" else {},
        )  # fmt: skip
        flat = Component(
            name="flat", shapes=(Bernstein(low=0, high=10, order=0),), events=20 * scale,
            effects={"lumi": (1 / 1.03, 1.03), "xs": (0.8, 1.3)},
        )  # fmt: skip
        counts = tuple(float(n) for n in rng.poisson((FALLING + 2) * scale))
        known: dict[str, Any] = {"counts": counts, "components": (signal, fakes, flat)}
        channels.append(Channel(name=name, edges=EDGES, **{**known, **changes}))
    parameters = (Parameter(name="mu", start=1, low=0, high=20), Parameter(name="fakes", start=1, low=0, high=10))
    return Model(channels=tuple(channels), parameters=parameters)


def with_components(*components: Component) -> Model:
    channel = Channel(name="c", edges=EDGES, counts=(5.0,) * 10, components=components)
    strengths = dict.fromkeys(component.strength for component in components if component.strength)
    return Model(channels=(channel,), parameters=tuple(Parameter(name=s, start=1, low=0, high=9) for s in strengths))


def flat(name: str, **more: Any) -> Component:
    return Component(**{"name": name, "shapes": (Bernstein(low=0, high=10, order=0),), "events": 50, **more})


def parse(text: str, folder: Path) -> Card:
    (folder / "card.txt").write_text(text)
    return read_card(folder / "card.txt")


def limit(workspace: dict[str, Any]) -> Limit:
    config = workspace["measurements"][0]["config"]
    made = Workspace("card", workspace, "datacard", config["poi"], tuple(config["parameters"]))
    return asymptotic_limit(PyhfProfiles(made))


def assert_limits_agree(found: Limit, own: Limit, rel: float = 0.01) -> None:
    assert found.observed == pytest.approx(own.observed, rel=rel)
    assert found.expected == pytest.approx(own.expected, rel=rel)


def modifiers(workspace: dict[str, Any], channel: str, sample: str) -> dict[tuple[str, str], Any]:
    samples = next(c["samples"] for c in workspace["channels"] if c["name"] == channel)
    found = next(s["modifiers"] for s in samples if s["name"] == sample)
    return {(modifier["type"], modifier["name"]): modifier["data"] for modifier in found}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shape_card(tmp_path_factory.mktemp("card"), model())


# what is written


def test_card_of_counts() -> None:
    assert counting_card(COUNTS).splitlines() == [
        "# counts of portico, each a channel",
        "imax 2 channels",
        "jmax 1 backgrounds",
        "kmax 4 nuisance parameters",
        "-" * 80,
        "bin          a   b",
        "observation  12  6",
        "-" * 80,
        "bin                     a       a           b       b",
        "process                 signal  background  signal  background",
        "process                 0       1           0       1",
        "rate                    3       10          2       8",
        "-" * 80,
        "common_signal  lnN      1.2     -           1.1     -",
        "signal_a       lnN      1.1     -           -       -",
        "background_a   gmN  25  -       0.4         -       -",
        "background_b   gmN  25  -       -           -       0.32",
    ]


def test_counts_are_read_again_and_have_our_limit(tmp_path: Path) -> None:
    card = parse(counting_card(COUNTS), tmp_path)
    assert card.observations == {"a": 12, "b": 6}
    assert card.columns[1] == Column("a", "background", 1, 10.0)
    assert [(s.name, s.kind, s.events) for s in card.systematics] == [
        ("common_signal", "lnN", 0), ("signal_a", "lnN", 0), ("background_a", "gmN", 25), ("background_b", "gmN", 25)
    ]  # fmt: skip
    workspace = card_to_pyhf(card, tmp_path, poi="mu")
    # N events elsewhere with b = N alpha: the shapesys of the counts themselves
    assert modifiers(workspace, "a", "background") == {("shapesys", "background_a"): [2.0]}
    assert modifiers(pyhf_counting(COUNTS), "a", "background") == {("shapesys", "background_a"): [2.0]}
    assert_limits_agree(limit(workspace), asymptotic_counts(COUNTS))


def test_counts_elsewhere_that_are_not_whole_are_said(tmp_path: Path) -> None:
    card = counting_card([Count("a", 7.0, 1.5, 2.0, 0.0, 6)])
    assert "# background_a: lnN, for 21.7778 events counted elsewhere are not an integer" in card
    (systematic,) = parse(card, tmp_path).systematics
    assert (systematic.kind, systematic.entries[1]) == ("lnN", pytest.approx((1 / (1 + 1.5 / 7), 1 + 1.5 / 7)))


def test_blinded_and_empty_counts_are_said(tmp_path: Path) -> None:
    text = counting_card([Count("a", 0.0, 0.0, 2.0, 0.0, None), Count("b", 2.5, 0.5, 2.0, 0.1, None)])
    assert "# blinded: the observations are the expected background" in text
    assert "# channel a has no background: text2workspace.py wants --X-allow-no-background" in text
    assert parse(text, tmp_path).observations == {"a": 0.0, "b": 2.5}


def test_card_of_histograms(written: Path) -> None:
    lines = written.read_text().splitlines()
    unit = binned(model()).units["fakes"]
    assert lines[:2] == [
        "# model of portico around its fit without signal; data_obs: observed",
        f"# 1 of fakes is {unit:.6g} in the model",
    ]
    assert "shapes * * card.root $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC" in lines
    words = [line.split() for line in lines]
    assert ["process", "0", "1", "2", "0", "1", "2"] in words
    assert ["lumi", "lnN", "1.03", "-", "1.03", "1.03", "-", "1.03"] in words
    assert ["efficiency", "lnN", "0.9/1.05", "-", "-", "0.9/1.05", "-", "-"] in words
    assert ["scale", "shape", "1", "-", "-", "1", "-", "-"] in words
    assert ["tilt", "shape", "-", "1", "-", "-", "1", "-"] in words
    assert words[-2][:5] == ["fakes", "rateParam", "low", "fakes", "1"]


def test_histograms_hold_the_contents(written: Path) -> None:
    unit = binned(model()).units["fakes"]
    with uproot.open(written.with_suffix(".root")) as file:
        contents = {name: file[name].to_numpy()[0] for name in file.keys(cycle=False, recursive=True) if "/" in name}
        assert file["low/signal"].to_numpy()[1] == pytest.approx(EDGES)
        assert file["low/signal"].classname == "TH1D"
    assert contents["low/data_obs"] == pytest.approx(np.array(model().channels[0].counts))
    assert contents["high/fakes"] == pytest.approx(0.3 * unit * FALLING)
    assert contents["low/fakes_tiltUp"] == pytest.approx(1.02 * unit * FALLING * (1 + 0.02 * (MIDDLES - 5)))
    assert contents["high/fakes_tiltDown"] == pytest.approx(0.3 * unit * FALLING / (1 + 0.02 * (MIDDLES - 5)))
    peak = model().channels[0].components[0].shapes[0]
    assert contents["low/signal_scaleUp"] == pytest.approx(10 * peak.contents(np.array(EDGES), np.array([5.2, 1.0])))
    assert sum(contents["low/signal_scaleUp"]) == pytest.approx(10)


def test_histograms_are_read_again_and_have_our_limit(written: Path) -> None:
    workspace = card_to_pyhf(read_card(written), written.parent)
    own = asymptotic_limit(ModelProfiles(model()))
    assert_limits_agree(limit(workspace), own)


def test_the_same_model_gives_the_same_card() -> None:
    assert shape_card(model())[0] == shape_card(model())[0]


@pytest.mark.parametrize("changes", [{"counts": None}, {"blind": ((4.0, 6.0),)}])
def test_blinded_data_are_not_written(changes: dict[str, Any]) -> None:
    card, histograms = shape_card(model(**changes))
    assert "data_obs: the expectation without signal, for data are blinded or missing" in card
    contents = histograms["low/data_obs"].values()
    assert not np.all(contents == np.round(contents))
    assert contents.sum() == pytest.approx(FALLING.sum() + 20, rel=0.1)


def test_statistics_of_simulation(tmp_path: Path) -> None:
    uncertainties = {channel: {"fakes": [0.4] * 10} for channel in ("low", "high")}
    path = write_shape_card(tmp_path, model(), mc_stats=0, uncertainties=uncertainties)
    assert path.read_text().endswith("* autoMCStats 0\n")
    with uproot.open(tmp_path / "card.root") as file:
        assert file["low/fakes"].variances() == pytest.approx([0.16] * 10)
        assert file["low/signal"].variances() == pytest.approx([0.0] * 10)
    card = read_card(path)
    assert {name: flags.threshold for name, flags in card.statistics.items()} == {"low": 0.0, "high": 0.0}
    workspace = card_to_pyhf(card, tmp_path)
    assert modifiers(workspace, "high", "fakes")["staterror", "statistics_high"] == pytest.approx([0.4] * 10)
    with pytest.raises(InputError, match="needs statistical uncertainties"):
        shape_card(model(), mc_stats=0)
    for wrong, words in (
        ({"low": {"fakes": [1.0]}}, "1 statistical uncertainties for 10 bins"),
        ({"lwo": {"fakes": [1.0] * 10}}, "uncertainties of channel 'lwo': did you mean 'low'"),
        ({"low": {"fake": [1.0] * 10}}, "component 'fake': has statistical uncertainties; did you mean 'fakes'"),
        ({"low": {"fakes": [1.0] * 9 + [-1.0]}}, "are numbers of at least 0"),
        ({"low": {"fakes": [1.0] * 9 + [math.nan]}}, "are numbers of at least 0"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            shape_card(model(), mc_stats=0, uncertainties=wrong)


def test_floating_shapes_are_for_the_parametric_export() -> None:
    background = flat("background", shapes=(Exponentials(low=0, high=10),), floating=True, strength="n")
    with pytest.raises(InputError, match=r"exponentials shape floats.*portico\.stats\.exports\.parametric"):
        shape_card(with_components(flat("signal", strength="mu"), background))


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ([flat("signal", strength="mu"), flat("b-jets")], r"process 'b-jets': names in a datacard have letters"),
        ([flat("signal", strength="mu", effects={"2016": (0.9, 1.1)}), flat("b")], r"parameter '2016'"),
        ([flat("signal", strength="mu"), flat("rate")], r"process 'rate': .*none of bin, imax"),
        ([flat("signal", strength="mu", events=0), flat("b")], "nothing is expected that 'mu' multiplies"),
    ],
)
def test_what_combine_does_not_take(components: list[Component], message: str) -> None:
    with pytest.raises(InputError, match=message):
        shape_card(with_components(*components))


def test_a_process_is_signal_everywhere_or_nowhere() -> None:
    channels = [
        Channel(name=name, edges=EDGES, counts=(10.0,) * 10, components=(flat("x", strength=s), flat("y")))
        for name, s in (("a", "mu"), ("b", ""))
    ]
    with pytest.raises(InputError, match="process 'x' is signal in one channel and not in another"):
        shape_card(Model(channels=tuple(channels), parameters=(Parameter(name="mu", start=1, low=0),)))


# what is read


def test_the_documented_example(tmp_path: Path) -> None:
    card = parse(REALISTIC, tmp_path)
    assert (card.bins, card.processes) == (["bin1"], ["ggH", "qqWW", "ggWW", "others"])
    assert card.observations == {"bin1": 0.0}
    gamma = card.systematics[2]
    assert (gamma.kind, gamma.events, gamma.entries) == ("gmN", 4, (None, (0.16, 0.16), None, None))
    workspace = card_to_pyhf(card, tmp_path)
    assert modifiers(workspace, "bin1", "qqWW") == {("shapesys", "WW_norm"): [pytest.approx(0.64 / 2)]}
    assert modifiers(workspace, "bin1", "ggH") == {
        ("normfactor", "r"): None,
        ("normsys", "lumi"): {"hi": 1.11, "lo": pytest.approx(1 / 1.11)},
        ("normsys", "xs_ggH"): {"hi": 1.16, "lo": pytest.approx(1 / 1.16)},
    }


SHARED = """\
imax *
jmax *
kmax *
shapes * * FAKE
bin a b
observation 3 2
bin a a b b
process s bkg s bkg
process 0 1 0 1
rate 1 {0} 1 {1}
---
sideband gmN {2} - 0.5 - 0.25
"""


@pytest.mark.parametrize(("events", "rates"), [(4, (2.0, 1.0)), (0, (0.5, 0.25))])
def test_shared_counts_elsewhere_are_a_channel(events: int, rates: tuple[float, float], tmp_path: Path) -> None:
    workspace = card_to_pyhf(parse(SHARED.format(0.5 * events, 0.25 * events, events), tmp_path), tmp_path)
    control = workspace["channels"][-1]
    assert control["name"] == "control_sideband"
    assert workspace["observations"][-1]["data"] == [float(events)]
    samples = [channel["samples"][1] for channel in workspace["channels"][:2]]
    assert [sample["data"] for sample in samples] == [[rates[0]], [rates[1]]]
    # one factor, which N events elsewhere measure: expected N (or 1) times the factor there
    assert control["samples"][0]["data"] == [float(max(events, 1))]
    assert all(("normfactor", "sideband") in modifiers(workspace, c, "bkg") for c in "ab")


LINES = """\
imax 2
jmax *
kmax 3
shapes * * h.root $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC
shapes data_obs * h.root $CHANNEL/data
bin low high
observation -1 -1
bin low low high high
process 0 1 0 1
process sig bkg sig bkg
rate -1 -1 -1 0
---------
size shape 0.5 - - -
norm lnN 1.1 0.9/1.2 1 0
wide lnU - 1.5 - -
free rateParam * b* 2 [0,5]
theory group = size
theory group += norm
low autoMCStats 10
"""


@pytest.fixture
def histograms(tmp_path: Path) -> Path:
    contents = {
        "sig": [1.0, 4.0, 1.0], "bkg": [50.0, 60.0, 40.0], "data": [55.0, 58.0, 41.0],
        "sig_sizeUp": [2.0, 5.0, 1.0], "sig_sizeDown": [1.0, 3.0, 1.0],
    }  # fmt: skip
    with uproot.recreate(tmp_path / "h.root") as file:
        for channel in ("low", "high"):
            for name, values in contents.items():
                storage = hist.Hist(hist.axis.Regular(3, 0, 3), storage=hist.storage.Weight())
                storage.view().value, storage.view().variance = values, np.array(values)
                file[f"{channel}/{name}"] = storage
    return tmp_path


def test_every_kind_of_line(histograms: Path) -> None:
    card = parse(LINES, histograms)
    assert card.groups == {"theory": ["size", "norm"]}
    assert [(r.bin, r.process, r.value, r.low, r.high) for r in card.rate_parameters] == [
        ("low", "bkg", 2.0, 0.0, 5.0), ("high", "bkg", 2.0, 0.0, 5.0)
    ]  # fmt: skip
    assert card.systematics[1].entries == (pytest.approx((1 / 1.1, 1.1)), (0.9, 1.2), (1.0, 1.0), None)
    workspace = card_to_pyhf(card, histograms)
    assert workspace["observations"][0]["data"] == [55.0, 58.0, 41.0]
    assert [len(channel["samples"]) for channel in workspace["channels"]] == [2, 1]  # a rate of 0 is not a process
    found = modifiers(workspace, "low", "bkg")
    assert found["normsys", "norm"] == {"lo": 0.9, "hi": 1.2}
    assert found["staterror", "statistics_low"] == pytest.approx(np.sqrt([50.0, 60.0, 40.0]))
    parameters = {p["name"]: (p["inits"], p["bounds"]) for p in workspace["measurements"][0]["config"]["parameters"]}
    assert parameters["free"] == ([2.0], [[0.0, 5.0]])
    assert parameters["wide"] == ([1.0], [[pytest.approx(1 / 1.5), 1.5]])


def test_shape_of_half_size(histograms: Path) -> None:
    """Combine multiplies the changes of fractions by the size, and raises the factor of the integral to it."""
    found = modifiers(card_to_pyhf(parse(LINES, histograms), histograms), "low", "sig")
    f0, up, down = np.array([1, 4, 1]) / 6, np.array([2, 5, 1]) / 8, np.array([1, 3, 1]) / 5
    assert np.array(found["histosys", "size"]["hi_data"]) == pytest.approx(6 * (f0 + up) / 2)
    assert np.array(found["histosys", "size"]["lo_data"]) == pytest.approx(6 * (f0 + down) / 2)
    assert found["normsys", "size"] == pytest.approx({"hi": math.sqrt(8 / 6), "lo": math.sqrt(5 / 6)})


def changed(old: str, new: str) -> str:
    assert old in LINES
    return LINES.replace(old, new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("jmax *", "jmax 3"), "jmax says 3 processes minus one, the card has 1"),
        (changed("kmax 3", "kmax 4"), "kmax says 4 nuisance parameters, the card has 3"),
        (changed("imax 2", "imax two"), "line 1: imax is a whole number, not 'two'"),
        (changed("imax 2", "imaxx 2"), "line 1: 'imaxx' is not a keyword above 'rate'; did you mean 'imax'"),
        (changed("bin low high", "bin 1low high"), "line 11: channel 'low' has no observation; .*bin1low"),
        (changed("observation -1 -1", "observation 1"), "line 7: 1 observations for 2 channels: low, high"),
        (changed("observation -1 -1", "observation 1 x"), "line 7: an observation is a number, not 'x'"),
        (changed("bin low low high high\n", ""), "line 8: the line 'bin' with the channel of each column"),
        (changed("process sig bkg sig bkg", "process sig bkg sig"), "line 10: 3 processes for 4 columns"),
        (changed("process sig bkg sig bkg", "process sig bkg sig sig"), "line 11: process 'sig' occurs twice"),
        (changed("process sig bkg sig bkg", "process sig bkg bkg sig"), "line 11: process 'bkg' is signal"),
        (changed("process 0 1 0 1", "process 2 1 2 1"), "line 11: there is no signal"),
        (changed("rate -1 -1 -1 0", "rate -1 -1 -1"), "line 11: 3 rates for 4 columns"),
        (changed("rate -1 -1 -1 0", "rate -2 -1 -1 0"), "line 11: rate -2 of 'sig' in 'low'"),
        (changed("rate -1 -1 -1 0", ""), "line 13: 'size' is not a keyword above 'rate'"),
        ("imax 1\n", "there is no line 'rate'"),
        (changed("norm lnN", "norm lnNN"), "line 14: 'lnNN' is not a kind of uncertainty; did you mean 'lnN'"),
        (changed("norm lnN 1.1 0.9/1.2 1 0", "norm lnN 1.1 0.9/1.2"), "line 14: 'norm' has 2 entries for 4 columns"),
        (changed("0.9/1.2", "0.9/1.2/3"), "line 14: '0.9/1.2/3': an entry of lnN is one number, or down/up"),
        (changed("0.9/1.2", "-0.9"), "line 14: '-0.9': an entry of lnN must be above 0"),
        (changed("0.9/1.2", "nan"), "line 14: an entry of lnN is a number, not 'nan'"),
        (changed("size shape 0.5", "size shape 1/2"), "line 13: '1/2': an entry of shape is one number"),
        (changed("wide lnU", "norm lnU"), "line 15: 'norm' occurs twice"),
        (changed("wide lnU", "wide gmN 2.5"), "line 15: N of gmN is a whole number, not '2.5'"),
        (changed("* b* 2 [0,5]", "* c* 2 [0,5]"), "line 16: process 'c\\*' in channel '\\*' is not a column"),
        (changed("[0,5]", "[3,5]"), "line 16: 'free' = 2 is not between 3 and 5"),
        (changed("[0,5]", "[0:5]"), "line 16: the range of 'free' is"),
        (changed("group = size", "group size"), "line 17: write a group as"),
        (changed("group = size", "group = sise"), "group 'theory': there is no parameter 'sise'; did you mean 'size'"),
        (changed("low autoMCStats 10", "lov autoMCStats 10"), "line 19: channel 'lov' does not exist; did you mean"),
        (LINES + "nuisance edit merge * * norm size\n", "line 20: nuisance edit merge .*: 'merge' is not supp"),
        (LINES + "norm2 param 0\n", "line 20: write a constrained parameter as"),
        (changed("shapes data_obs *", "shapes * *"), "line 5: shapes of process '\\*' in channel '\\*' are there"),
        (changed("h.root $CHANNEL/data", ""), "line 5: write a line of shapes as"),
    ],
)
def test_faults_have_their_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        parse(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("$CHANNEL/data", "$CHANNEL/date"), "line 5: h.root has no histogram 'low/date'; did you mean"),
        (changed("* h.root", "* g.root"), r"line 4: g.root: 'low/sig' cannot be read|line 5: g.root"),
        (changed("$CHANNEL/data", "w:data"), "line 5: 'w:data' is in a RooWorkspace"),
        (changed("observation -1 -1", "observation 5 5"), "the observation of channel 'low' is 5, the integral .* 154"),
        (changed("rate -1 -1", "rate 2 -1"), "the rate of process 'sig' in channel 'low' is 2, the integral .* 6"),
        (changed("shape 0.5 - -", "shape - 1 -"), "has no histogram 'low/bkg_sizeDown'"),
        (changed("* b* 2 [0,5]", "low bkg (1+@0) norm"), "line 16: 'free' is a formula"),
        (changed("* b* 2 [0,5]", "low bkg (@0) norm"), "line 16: 'free' depends on 'norm', which is not a parameter"),
        (changed("free rateParam", "r rateParam"), "line 16: 'r' is the strength of all signal"),
        (LINES + "index discrete\n", "line 20: 'index' is a discrete, a choice of shapes"),
        (changed("shapes * *", "shapes sig *"), "no line of shapes is for process 'bkg' in channel 'low'"),
    ],
)
def test_what_no_workspace_can_hold(text: str, message: str, histograms: Path) -> None:
    with pytest.raises(InputError, match=message):
        card_to_pyhf(parse(text, histograms), histograms)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_card(tmp_path / "none.txt")
    (tmp_path / "card.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_card(tmp_path / "card.txt")
