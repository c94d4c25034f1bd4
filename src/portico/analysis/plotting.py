"""Groups of samples and their look in figures: the key ``plot`` of an analysis, as every run keeps it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

from pydantic import Field, field_validator

from portico.config import Model
from portico.errors import ConfigError, nearest

__all__ = ["PALETTE", "Group", "HistogramStyle", "PlotGroup", "PlotStyle", "groups_of"]

PALETTE: Final = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
"""Ten colours that stay apart for most eyes: Petroff, arXiv:2107.02270."""
Look = Literal["data", "stack", "line"]
_BLACK: Final = "#000000"
_DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash")
_MOST: Final = 12
_OF_KIND: Final[Mapping[str, Look]] = {"data": "data", "background": "stack", "signal": "line"}


class PlotGroup(Model):
    """Samples that are drawn as one.

    Parameters
    ----------
    label : str
        In legends and tables, with TLatex such as ``D_{s} #rightarrow #phi#pi``.
    samples : tuple of str
        Names, ``*`` standing for any letters.
    draw : {"data", "stack", "line"}, optional
        Points, part of the stack, or a line; by default as the kind of its first sample asks for.
    color : str, optional
        As ``"#3f90da"``; by default the next of the palette. Data are black.
    scale : float
        Factor of everything that is drawn of it, which the label names.
    """

    label: str = Field(min_length=1)
    samples: tuple[str, ...] = Field(min_length=1)
    draw: Look | None = None
    color: str | None = Field(default=None, pattern=r"^#[0-9a-fA-F]{6}$")
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class HistogramStyle(Model):
    """The look of some histograms.

    Parameters
    ----------
    x, y : str, optional
        Titles of the axes, with TLatex; by default those of the histogram.
    log : bool
        Whether the y axis is logarithmic to begin with.
    """

    x: str | None = None
    y: str | None = None
    log: bool = False


class PlotStyle(Model):
    """The key ``plot``.

    Parameters
    ----------
    label : str
        Above every plot at the left, such as the experiment and ``Simulation``.
    note : str
        Above every plot at the right, such as luminosity and energy.
    groups : tuple of PlotGroup
        In the order of the legend; the first of the stack lies at its bottom. Samples in no group make groups by kind.
    categories : tuple of str
        What names of histograms begin with, before ``_`` and the variable; found by comparing names by default.
    histograms : mapping of str to HistogramStyle
        By name of a histogram, with or without its category, ``*`` standing for any letters; the first that fits.
    """

    label: str = ""
    note: str = ""
    groups: tuple[PlotGroup, ...] = ()
    categories: tuple[str, ...] = ()
    histograms: dict[str, HistogramStyle] = Field(default_factory=dict)

    @field_validator("groups")
    @classmethod
    def _different(cls, groups: tuple[PlotGroup, ...]) -> tuple[PlotGroup, ...]:
        labels = [group.label for group in groups]
        if again := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"two groups have the label '{again[0]}'")
        return groups

    def check(self, samples: Sequence[str], where: str) -> None:
        """Check that every pattern is that of a sample, and no sample is in two groups.

        Raises
        ------
        ConfigError
            If that is not so.
        """
        taken: dict[str, str] = {}
        for group in self.groups:
            for pattern in group.samples:
                found = [name for name in samples if fnmatchcase(name, pattern)]
                if not found:
                    raise ConfigError(
                        f"{where}: plot: group '{group.label}': no sample '{pattern}'; {nearest(pattern, samples)}"
                    )
                for name in found:
                    if taken.setdefault(name, group.label) != group.label:
                        raise ConfigError(
                            f"{where}: plot: sample '{name}' is in the groups '{taken[name]}' and '{group.label}'; "
                            "it would be drawn twice, leave it in one"
                        )

    def of(self, *names: str) -> HistogramStyle:
        """Return the style of the histogram with one of these names."""
        for pattern, style in self.histograms.items():
            if any(fnmatchcase(name, pattern) for name in names):
                return style
        return HistogramStyle()


@dataclass(frozen=True, slots=True)
class Group:
    """Samples that are drawn as one, with everything decided.

    Parameters
    ----------
    label : str
        With TLatex.
    samples : tuple of str
        Which there are.
    draw : {"data", "stack", "line"}
        How.
    color : str
        Black for data.
    dash : str
        Of a line, by which it differs from others of the same colour: a word of Plotly.
    scale : float
        Factor of everything that is drawn.
    """

    label: str
    samples: tuple[str, ...]
    draw: Look
    color: str
    dash: str = "solid"
    scale: float = 1.0

    @property
    def title(self) -> str:
        """The label with the factor."""
        return self.label if self.scale == 1 else f"{self.label} (#times {self.scale:g})"


def groups_of(style: PlotStyle, kinds: Mapping[str, str]) -> list[Group]:
    """Return the groups in which samples are drawn: data first, then the stack from its bottom, then lines.

    Colours and order depend on all samples of the analysis, and not on those that have results.

    Parameters
    ----------
    style : PlotStyle
        Of the analysis.
    kinds : mapping of str to str
        Kind by sample: all of them, in their order.
    """
    wanted = []
    for group in style.groups:
        names = tuple(name for name in kinds if any(fnmatchcase(name, pattern) for pattern in group.samples))
        if names:
            wanted.append((group.draw or _OF_KIND[kinds[names[0]]], group, names))
    taken = {name for _, _, names in wanted for name in names}
    for kind, draw in _OF_KIND.items():
        rest = [name for name, other in kinds.items() if other == kind and name not in taken]
        alone = {kind: tuple(rest)}.items() if kind == "data" and rest else _by_default(rest)
        wanted += [(draw, PlotGroup(label=label, samples=names), names) for label, names in alone]
    wanted.sort(key=lambda item: list(_OF_KIND.values()).index(item[0]))
    groups, colored = [], 0
    for draw, group, names in wanted:
        color, dash = PALETTE[colored % len(PALETTE)], _DASHES[colored // len(PALETTE) % len(_DASHES)]
        if draw == "data":
            color, dash = _BLACK, _DASHES[0]
        else:
            colored += 1
        groups.append(Group(group.label, names, draw, group.color or color, dash, group.scale))
    return groups


def _by_default(names: Sequence[str]) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Return each sample as a group of its own; of very many, those with the same first word."""
    if len(names) <= _MOST:
        return [(name, (name,)) for name in names]
    groups: dict[str, tuple[str, ...]] = {}
    for name in names:
        word = re.split("[_.+-]", name, maxsplit=1)[0]
        groups[word] = (*groups.get(word, ()), name)
    if len(groups) > _MOST:
        groups["others"] = tuple(name for word in list(groups)[_MOST - 1 :] for name in groups.pop(word))
    return [(name if len(of) == 1 else f"{name} ({len(of)})", of) for name, of in groups.items()]
