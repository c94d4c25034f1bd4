"""Figures of the limits and of the N mass. Each returns a Figure and saves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Band colours of the LHC experiments' limit plots.
_GREEN, _YELLOW = "#607641", "#F5BB54"
_MASS = "Hnl_mass"
_SIGNALS = 4  # of which the mass is drawn


def figure_of_categories(sample: str, entry: Mapping[str, Any], cl: float) -> Figure:
    """Limit on the signal strength of one sample, per category and combined.

    Parameters
    ----------
    sample : str
        Name of the signal sample.
    entry : mapping
        Of this sample in the product ``limits`` of `hnl.limits.limits`.
    cl : float
        Confidence level.
    """
    labels = list(entry["channels"])
    bands = [channel["limit"]["signal_strength"] for channel in entry["channels"].values()]
    return _brazil(f"{sample}: $m_N$ = {entry['mass']:g} GeV", labels, bands, cl)


def figure_of_samples(entries: Mapping[str, Mapping[str, Any]], cl: float) -> Figure:
    """Combined limit on the signal strength of each signal sample.

    Parameters
    ----------
    entries : mapping of str to mapping
        ``samples`` in the product ``limits`` of `hnl.limits.limits`.
    cl : float
        Confidence level.
    """
    labels = [
        f"{entry['mass']:g} GeV" + ("" if entry["ctau"] is None else f"\n{entry['ctau']:g} mm")
        for entry in entries.values()
    ]
    bands = [entry["channels"]["combined"]["limit"]["signal_strength"] for entry in entries.values()]
    return _brazil(r"combined; $m_N$ and $c\tau$ of the sample", labels, bands, cl)


def figure_of_mass(category: str, results: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> Figure:
    """N mass in one category: data as points, simulated background filled, the largest signals as lines.

    Parameters
    ----------
    category : str
        Name of the selection.
    results : mapping of str to Results
        Of `hnl.select.select`, by sample.
    names : mapping of str to sequence of str
        Samples by kind: ``signal``, ``data``, ``background``.
    """
    figure, axes = _axes()
    product = f"{category}_{_MASS}"
    edges = next(iter(results.values()))[product].axes[0].edges
    centers = (edges[1:] + edges[:-1]) / 2
    if names["background"]:
        total = np.sum([results[name][product].values() for name in names["background"]], axis=0)
        axes.stairs(total, edges, fill=True, color="#9DB4C0", label="simulated background")
    yields = {name: float(results[name][product].sum().value) for name in names["signal"]}
    for name in sorted(yields, key=lambda name: -yields[name])[:_SIGNALS]:
        axes.stairs(results[name][product].values(), edges, label=name, linewidth=1.5)
    if names["data"]:
        counts = np.sum([results[name][product].values() for name in names["data"]], axis=0)
        axes.errorbar(centers, counts, yerr=np.sqrt(counts), fmt="o", color="black", markersize=3, label="data")
    axes.set(xlabel=r"$m(\mu\pi)$ (GeV)", ylabel=f"events / {1000 * (edges[1] - edges[0]):g} MeV", title=category)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    return figure


def _axes(columns: int = 0) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(7.0, 0.9 * columns), 5), layout="constrained")
    return figure, figure.add_subplot()


def _unnamed(_: str) -> str:
    """Keep an artist out of the legend, where one like it is already."""
    return "_nolegend_"


def _brazil(title: str, labels: Sequence[str], bands: Sequence[Mapping[str, Any] | None], cl: float) -> Figure:
    """Bands of the expected limit with the observed one, a column per label; a column without a limit says so."""
    figure, axes = _axes(len(labels))
    first = True
    for x, limit in enumerate(bands):
        if limit is None:
            axes.text(x, 0.5, "no signal", rotation=90, ha="center", va="center", transform=axes.get_xaxis_transform())
            continue
        low2, low1, median, high1, high2 = limit["expected"]
        named = str if first else _unnamed
        axes.bar(x, high2 - low2, 0.8, low2, color=_YELLOW, label=named(r"expected $\pm 2\sigma$"))
        axes.bar(x, high1 - low1, 0.8, low1, color=_GREEN, label=named(r"expected $\pm 1\sigma$"))
        axes.hlines(median, x - 0.4, x + 0.4, color="black", linestyle="--", label=named("expected median"))
        if limit["observed"] is not None:
            axes.plot([x], [limit["observed"]], "o", color="black", label=named("observed"))
        first = False
    axes.axhline(1.0, color="tab:red", linewidth=0.8)
    axes.set_yscale("log")
    axes.use_sticky_edges = False  # bars would end at the frame
    axes.margins(y=0.1)
    axes.set_xticks(range(len(labels)), labels, fontsize="small")
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set(ylabel=f"{cl:.0%} CL upper limit on the signal strength", title=title)
    if not first:
        axes.legend(fontsize="small")
    return figure
