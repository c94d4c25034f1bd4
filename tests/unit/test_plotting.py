"""The key `plot` of an analysis: groups of samples, their colours and their order."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from portico.analysis.plotting import PALETTE, HistogramStyle, PlotGroup, PlotStyle, groups_of
from portico.errors import ConfigError

HNL = {
    **{f"signal_{i}": "signal" for i in range(12)}, "control": "background", "control_dplus": "background",
    "background": "background", "data": "data", "control_data": "data",
}  # fmt: skip


def test_seventeen_samples_look_different() -> None:
    groups = groups_of(PlotStyle(), HNL)
    assert [group.draw for group in groups] == ["data", *["stack"] * 3, *["line"] * 12]
    assert groups[0].samples == ("data", "control_data")
    assert groups[0].color == "#000000"
    looks = [(group.color, group.dash) for group in groups]
    assert len(set(looks)) == len(looks)
    assert "#000000" not in PALETTE


def test_declared_groups_come_first_and_in_their_order() -> None:
    style = PlotStyle(
        groups=(
            PlotGroup(label="N", samples=("signal_1*",), color="#123456", scale=100),
            PlotGroup(label="other", samples=("background",), draw="line"),
        )
    )
    groups = groups_of(style, HNL)
    assert [group.title for group in groups][:5] == ["data", "control", "control_dplus", "N (#times 100)", "other"]
    assert groups[3].samples == ("signal_1", "signal_10", "signal_11")
    assert groups[3].color == "#123456"
    assert sorted(name for group in groups for name in group.samples) == sorted(HNL)


def test_very_many_samples_are_grouped_by_their_first_word() -> None:
    kinds = {f"qcd_{i}": "background" for i in range(100)} | {f"k{i}_x": "background" for i in range(40)}
    groups = groups_of(PlotStyle(), kinds)
    assert len(groups) == 12
    assert groups[0].label == "qcd (100)"
    assert groups[-1].label == "others (30)"
    assert sum(len(group.samples) for group in groups) == 140


def test_style_of_a_histogram_is_the_first_that_fits() -> None:
    style = PlotStyle(histograms={"SR_mass": HistogramStyle(x="a"), "mass": HistogramStyle(x="b", log=True)})
    assert style.of("SR_mass", "mass").x == "a"
    assert style.of("CR_mass", "mass").log
    assert style.of("pt") == HistogramStyle()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([("a", "nothing")], "group 'a': no sample 'nothing'"),
        ([("a", "data"), ("b", "da*")], "sample 'data' is in the groups 'a' and 'b'"),
    ],
)
def test_wrong_groups_are_refused(groups: list[tuple[str, str]], message: str) -> None:
    style = PlotStyle(groups=tuple(PlotGroup(label=label, samples=(pattern,)) for label, pattern in groups))
    with pytest.raises(ConfigError, match=message):
        style.check(tuple(HNL), "analysis.yaml")


def test_labels_and_colours_are_checked() -> None:
    with pytest.raises(ValidationError, match="two groups have the label 'a'"):
        PlotStyle(groups=(PlotGroup(label="a", samples=("x",)), PlotGroup(label="a", samples=("y",))))
    with pytest.raises(ValidationError):
        PlotGroup(label="a", samples=("x",), color="red; }")
