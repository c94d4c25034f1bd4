"""Models and counts as datacards of CMS Combine (CAT-23-001, arXiv:2404.06614), with histograms in a ROOT file.

Combine multiplies all signal processes, those with an index of 0 or below, by its parameter of interest ``r``: here
they are the components whose strength is the parameter of interest of the model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from portico.errors import InputError, nearest
from portico.files.atomic import write_atomic
from portico.stats.counting import COMMON, Count
from portico.stats.exports.binned import BinnedChannel, BinnedModel, Process, binned
from portico.stats.exports.pyhf import check_counts
from portico.stats.model import Model
from portico.stats.shapes import Array, Template

if TYPE_CHECKING:
    from hist import Hist

__all__ = ["counting_card", "process_indices", "shape_card", "write_shape_card"]

_LINE: Final = "-" * 80
_WHOLE: Final = 0.01  # how far the events counted elsewhere may be from an integer for gmN
_SYMMETRIC: Final = 1e-9
_KEYWORDS: Final = ("bin", "imax", "jmax", "kmax", "nuisance", "observation", "process", "r", "rate", "shapes")


def counting_card(counts: Sequence[Count]) -> str:
    """Return counts as a datacard, a channel each with the processes ``signal`` and ``background``.

    The background's uncertainty is written as ``gmN`` with the events N = (b/u)^2 counted elsewhere and b/N, if N is
    within 0.01 of an integer, else as ``lnN`` with 1 + u/b, which a comment says; those of the signal as ``lnN``.
    Blinded counts have the expected background as observation.

    Parameters
    ----------
    counts : sequence of Count

    Raises
    ------
    ValueError
        If there are no counts, or two have one name.
    InputError
        If Combine cannot have such a name.
    """
    check_counts(counts)
    _check_names("channel", (count.name for count in counts))
    columns = 2 * len(counts)
    notes, lines = ["counts of portico, each a channel"], []
    if any(count.observed is None for count in counts):
        notes.append("blinded: the observations are the expected background")
    if any(count.common > 0 for count in counts):
        kappas = (_number(1 + count.common) if count.common > 0 else "-" for count in counts)
        lines.append([COMMON, "lnN", "", *(value for kappa in kappas for value in (kappa, "-"))])
    for at, count in enumerate(counts):
        if count.background == 0:
            notes.append(_without_background(count.name))
        if count.signal > 0 and count.signal_uncertainty > 0:
            kappa = _number(1 + count.signal_uncertainty / count.signal)
            lines.append([f"signal_{count.name}", "lnN", "", *_only(columns, 2 * at, kappa)])
        if count.background > 0 and count.background_uncertainty > 0:
            elsewhere = (count.background / count.background_uncertainty) ** 2
            name, events = f"background_{count.name}", round(elsewhere)
            if events > 0 and abs(elsewhere - events) < _WHOLE:
                alpha = _number(count.background / events)
                lines.append([name, "gmN", str(events), *_only(columns, 2 * at + 1, alpha)])
            else:
                notes.append(f"{name}: lnN, for {elsewhere:.6g} events counted elsewhere are not an integer")
                kappa = _number(1 + count.background_uncertainty / count.background)
                lines.append([name, "lnN", "", *_only(columns, 2 * at + 1, kappa)])
    observed = [
        _number(count.background if count.observed is None else float(count.observed)) for count in counts
    ]  # fmt: skip
    rows = [
        ["bin", "", "", *(count.name for count in counts for _ in range(2))],
        ["process", "", "", *(["signal", "background"] * len(counts))],
        ["process", "", "", *(["0", "1"] * len(counts))],
        ["rate", "", "", *(_number(value) for count in counts for value in (count.signal, count.background))],
    ]
    head = [f"imax {len(counts)} channels", "jmax 1 backgrounds", f"kmax {len(lines)} nuisance parameters"]
    data = _aligned([["bin", *(count.name for count in counts)], ["observation", *observed]])
    return _card(notes, [head, data, *_table(rows, lines)])


def shape_card(
    model: Model,
    *,
    file: str = "shapes.root",
    penalty: float = 1.0,
    mc_stats: float | None = None,
    uncertainties: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> tuple[str, dict[str, Hist[Any]]]:
    """Return a model as a datacard and its histograms.

    Effects are ``lnN``, one that also changes a shape is ``shape`` for all processes, free strengths are ``rateParam``
    relative to the fit without signal. Processes without events are left out of a channel. While data are blinded or
    missing, ``data_obs`` is the expectation of that fit; a comment says so.

    Parameters
    ----------
    model : Model
        Without floating shapes.
    file : str
        Where the card says that the histograms are.
    penalty : float
        See `portico.stats.fit.Fitter`.
    mc_stats : float, optional
        Write ``* autoMCStats`` with this threshold; needs ``uncertainties``.
    uncertainties : mapping of str to mapping of str to sequence of float, optional
        By channel and component, the statistical uncertainty of each bin, in events; 0 where nothing is said.

    Returns
    -------
    card : str
    histograms : dict of str to hist.Hist
        By their path in the file.

    Raises
    ------
    InputError
        If a shape floats, Combine cannot have a name, or there is no signal, or one in a part of the channels only.
    FitError
        If the fit without signal does not converge.
    """
    _check_shapes(model)
    if mc_stats is not None and not uncertainties:
        raise InputError("autoMCStats needs statistical uncertainties of the bins, by channel and component")
    picture = binned(model, penalty=penalty)
    columns = [(c, p) for c in picture.channels for p in c.processes if p.nominal.sum() > 0]
    processes = process_indices(((p.name, p.strength == model.poi) for _, p in columns), model.poi)
    _check_names("channel", (channel.name for channel in picture.channels))
    _check_names("process", processes)
    _check_names("parameter", [*model.nuisances, *(name for name in picture.strengths if name != model.poi)])
    shaping = {name for _, process in columns for name in process.changes}
    lines, histograms = [], _nominal(picture, columns, uncertainties or {})
    for name in model.nuisances:
        kind = "shape" if name in shaping else "lnN"
        if kind == "shape":
            histograms |= _varied(columns, name)
        entries = [_entry(process, name, kind) for _, process in columns]
        if any(entry != "-" for entry in entries):
            lines.append([name, kind, *entries])
    extra = [f"* autoMCStats {mc_stats:g}"] if mc_stats is not None else []
    return _shape_text(picture, columns, processes, lines, file, extra), histograms


def _shape_text(
    picture: BinnedModel,
    columns: Sequence[tuple[BinnedChannel, Process]],
    indices: Mapping[str, int],
    lines: list[list[str]],
    file: str,
    extra: list[str],
) -> str:
    rates = [
        f"{p.strength} rateParam {c.name} {p.name} {_number(strength.start)} [{strength.low:.10g},{strength.high:.10g}]"
        for c, p in columns
        if p.strength and p.strength != picture.poi
        for strength in [picture.strengths[p.strength]]
    ]
    rows = [
        ["bin", "", *(channel.name for channel, _ in columns)],
        ["process", "", *(process.name for _, process in columns)],
        ["process", "", *(str(indices[process.name]) for _, process in columns)],
        ["rate", "", *(_number(float(process.nominal.sum())) for _, process in columns)],
    ]
    head = [
        f"imax {len(picture.channels)} channels",
        f"jmax {len(indices) - 1} processes minus one",
        f"kmax {len(lines)} nuisance parameters",
    ]
    shapes = [f"shapes * * {file} $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC"]
    data = _aligned(
        [
            ["bin", *(channel.name for channel in picture.channels)],
            ["observation", *(_number(float(channel.data.sum())) for channel in picture.channels)],
        ]
    )
    return _card(_notes(picture), [head, shapes, data, *_table(rows, lines), [*rates, *extra]])


def write_shape_card(
    folder: Path,
    model: Model,
    *,
    name: str = "card",
    penalty: float = 1.0,
    mc_stats: float | None = None,
    uncertainties: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> Path:
    """Write ``<name>.txt`` and ``<name>.root``, and return the path of the card. See `shape_card`.

    Raises
    ------
    SpaceError
        If the disk is full.
    """
    import uproot

    card, histograms = shape_card(
        model, file=f"{name}.root", penalty=penalty, mc_stats=mc_stats, uncertainties=uncertainties
    )
    with write_atomic(folder / f"{name}.root") as aside, uproot.recreate(aside) as file:
        for path, histogram in histograms.items():
            file[path] = histogram
    with write_atomic(folder / f"{name}.txt") as aside:
        aside.write_text(card, encoding="utf-8")
    return folder / f"{name}.txt"


def _check_shapes(model: Model) -> None:
    for channel, component in model.components:
        loose = [shape for shape in component.shapes if not isinstance(shape, Template) and shape.parameters]
        if component.floating and loose:
            raise InputError(
                f"channel '{channel.name}', component '{component.name}': its {loose[0].kind} shape floats, which "
                "histograms cannot; export the model through a RooWorkspace, with portico.stats.exports.parametric"
            )


def _check_names(what: str, names: Iterable[str]) -> None:
    for name in names:
        if not re.fullmatch(r"[A-Za-z_]\w*", name, flags=re.ASCII) or name in _KEYWORDS:
            raise InputError(
                f"{what} '{name}': names in a datacard have letters, digits and _, do not begin with a digit, and are "
                f"none of {', '.join(_KEYWORDS)}"
            )


def process_indices(processes: Iterable[tuple[str, bool]], poi: str) -> dict[str, int]:
    """Return Combine's index of each process by its name: 0 and below for signal, from 1 for background.

    Parameters
    ----------
    processes : iterable of (str, bool)
        Name, and whether it is signal, in each channel.
    poi : str
        The parameter of interest, for messages.

    Raises
    ------
    InputError
        If a process is signal in one channel and background in another: Combine numbers it once. Or without signal.
    """
    pairs = list(processes)
    signals, others = (dict.fromkeys(name for name, signal in pairs if signal is kind) for kind in (True, False))
    if both := signals.keys() & others.keys():
        raise InputError(f"process '{min(both)}' is signal in one channel and not in another; rename one")
    if not signals:
        raise InputError(f"nothing is expected that '{poi}' multiplies: Combine takes no card without signal")
    return {name: -i for i, name in enumerate(signals)} | {name: i for i, name in enumerate(others, 1)}


def _check_uncertainties(picture: BinnedModel, uncertainties: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Refuse statistical uncertainties that belong to nothing, or are not one number of at least 0 for each bin."""
    channels = {channel.name: {process.name: process for process in channel.processes} for channel in picture.channels}
    for channel, of in uncertainties.items():
        if channel not in channels:
            raise InputError(f"statistical uncertainties of channel '{channel}': {nearest(channel, channels)}")
        for component, errors in of.items():
            where = f"channel '{channel}', component '{component}'"
            if component not in channels[channel]:
                raise InputError(f"{where}: has statistical uncertainties; {nearest(component, channels[channel])}")
            bins = len(channels[channel][component].nominal)
            if len(errors) != bins:
                raise InputError(f"{where}: {len(errors)} statistical uncertainties for {bins} bins")
            if not all(math.isfinite(error) and error >= 0 for error in errors):
                raise InputError(f"{where}: statistical uncertainties are numbers of at least 0")


def _nominal(
    picture: BinnedModel,
    columns: Sequence[tuple[BinnedChannel, Process]],
    uncertainties: Mapping[str, Mapping[str, Sequence[float]]],
) -> dict[str, Hist[Any]]:
    _check_uncertainties(picture, uncertainties)
    found = {f"{c.name}/data_obs": _histogram(c.edges, c.data, None) for c in picture.channels}
    for channel, process in columns:
        errors = np.array(uncertainties.get(channel.name, {}).get(process.name, np.zeros(len(process.nominal))))
        variances = errors**2 if uncertainties else None
        found[f"{channel.name}/{process.name}"] = _histogram(channel.edges, process.nominal, variances)
    return found


def _varied(columns: Sequence[tuple[BinnedChannel, Process]], name: str) -> dict[str, Hist[Any]]:
    """Histograms at -1 and +1, with the effect on the events."""
    found = {}
    for channel, process in columns:
        if name not in process.changes and name not in process.effects:
            continue
        contents = process.changes.get(name, (process.nominal, process.nominal))
        factors = process.effects.get(name, (1.0, 1.0))
        for side, content, factor in zip(("Down", "Up"), contents, factors, strict=True):
            if not content.sum() > 0:
                where = f"channel '{channel.name}', component '{process.name}'"
                raise InputError(f"{where}: no events are left with '{name}' {side.lower()}")
            found[f"{channel.name}/{process.name}_{name}{side}"] = _histogram(channel.edges, content * factor, None)
    return found


def _histogram(edges: Array, contents: Array, variances: Array | None) -> Hist[Any]:
    import hist

    axis = hist.axis.Variable(edges, name="x")
    if variances is None:
        return hist.Hist(axis, storage=hist.storage.Double(), data=contents)
    return hist.Hist(axis, storage=hist.storage.Weight(), data=np.stack([contents, variances], axis=-1))


def _entry(process: Process, name: str, kind: str) -> str:
    if kind == "shape":
        return "1" if name in process.changes or name in process.effects else "-"
    if name not in process.effects:
        return "-"
    down, up = process.effects[name]
    return _number(up) if abs(math.log(down * up)) < _SYMMETRIC else f"{_number(down)}/{_number(up)}"


def _notes(picture: BinnedModel) -> list[str]:
    data = "the expectation without signal, for data are blinded or missing" if picture.asimov else "observed"
    notes = [f"model of portico around its {picture.source}; data_obs: {data}"]
    if relative := [name for name, unit in picture.units.items() if unit != 1 and name != picture.poi]:
        notes.append(f"1 of {', '.join(f'{name} is {picture.units[name]:.6g}' for name in relative)} in the model")
    without = [
        channel.name
        for channel in picture.channels
        if not any(process.nominal.sum() > 0 for process in channel.processes if process.strength != picture.poi)
    ]
    return [*notes, *map(_without_background, without)]


def _without_background(channel: str) -> str:
    return f"channel {channel} has no background: text2workspace.py wants --X-allow-no-background"


def _only(columns: int, at: int, entry: str) -> list[str]:
    return ["-"] * at + [entry] + ["-"] * (columns - at - 1)


def _number(value: float) -> str:
    return f"{value:.12g}"


def _table(rows: list[list[str]], lines: list[list[str]]) -> tuple[list[str], list[str]]:
    aligned = _aligned([*rows, *lines])
    return aligned[: len(rows)], aligned[len(rows) :]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]  # fmt: skip


def _card(notes: Sequence[str], blocks: Sequence[Sequence[str]]) -> str:
    text = f"\n{_LINE}\n".join("\n".join(block) for block in blocks if block)
    return "".join(f"# {note}\n" for note in notes) + text + "\n"
