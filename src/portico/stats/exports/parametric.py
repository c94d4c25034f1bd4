"""A model as a datacard of CMS Combine with parametric shapes: a text, and a ROOT file with a workspace.

Grammar: CAT-23-001, arXiv:2404.06614, and the manual of Combine, sections on unbinned and parametric analyses. The
process K of the channel CH has the shape ``K_CH``; Combine multiplies its rate, 1, with ``K_CH_norm`` of the same
workspace, and that of signals with its own parameter of interest, ``r``: it takes the place of the model's. The lines

- ``param`` give nuisance parameters, with mean and standard deviation of their constraint: they act on yields and
  shapes through the formulae in the workspace;
- ``flatParam`` name free parameters.

Combine is not to be had outside of its own environment, and neither is RooMultiPdf: no discrete index of shapes is
exported. One shape is, see `portico.stats.exports.roofit`; with ``choice``, a card for each of them can be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from portico.files.atomic import write_atomic
from portico.stats.exports import roofit
from portico.stats.exports.chosen import Chosen, choose
from portico.stats.exports.combine import process_indices
from portico.stats.exports.roofit import write_aside
from portico.stats.likelihood import Choice
from portico.stats.model import Model

__all__ = ["parametric_card", "write_parametric"]

_RULE: Final = "-" * 60


def write_parametric(
    model: Model, path: str | Path, *, choice: Choice | None = None, values: Mapping[str, float] | None = None
) -> tuple[Path, Path]:
    """Write the card, and beside it the ROOT file with its workspace. ROOT runs in its own process.

    Parameters
    ----------
    model : Model
    path : str or Path
        Of the card, for example ``card.txt``; the ROOT file has its name with the end ``.root``.
    choice, values
        See `portico.stats.exports.roofit.roofit_workspace`.

    Returns
    -------
    tuple of Path
        The card and the ROOT file.

    Raises
    ------
    ValueError
        If the card itself would end in ``.root``.
    InputError, FitError, PorticoError, SpaceError
        See `portico.stats.exports.roofit.write_workspace`; also if a component is signal in one channel only.
    """
    path = Path(path)
    if path.suffix == ".root":
        raise ValueError(f"{path}: the card is a text, for example {path.with_suffix('.txt')}")
    chosen, file = choose(model, choice=choice, values=values), path.with_suffix(".root")
    write_aside(write, chosen, file)
    with write_atomic(path) as aside:
        aside.write_text(parametric_card(chosen, file.name), encoding="utf-8")
    return path, file


def parametric_card(chosen: Chosen, file: str) -> str:
    """Return the text of the card.

    Parameters
    ----------
    chosen : Chosen
    file : str
        The ROOT file, as seen from the folder of the card.
    """
    model, safe = chosen.model, chosen.names
    numbers = process_indices(((k.name, k.strength == model.poi) for _, k in model.components), model.poi)
    cells = [(safe[c.name], safe[k.name], numbers[k.name]) for c, k in model.components]
    lines = [
        f"# r takes the place of {model.poi}",
        *(f"# one shape of several that compete: {label}" for label in chosen.labels),
        *(["# no data: they are blinded or missing; data_obs is the expectation without signal"] * chosen.blinded),
        f"imax {len(model.channels)} number of channels",
        f"jmax {len(numbers) - 1} number of processes less 1",
        "kmax * number of nuisance parameters",
        _RULE,
        *(f"shapes {process} {channel} {file} w:{process}_{channel}" for channel, process, _ in cells),
        *(f"shapes data_obs {safe[c.name]} {file} w:data_{safe[c.name]}" for c in model.channels),
        _RULE,
        "bin " + " ".join(safe[channel.name] for channel in model.channels),
        "observation " + " ".join(f"{float(points.weights.sum()):.10g}" for points in chosen.data.channels),
        _RULE,
        "bin " + " ".join(channel for channel, _, _ in cells),
        "process " + " ".join(process for _, process, _ in cells),
        "process " + " ".join(str(number) for _, _, number in cells),
        "rate " + " ".join("1" for _ in cells),
        _RULE,
        *(f"{safe[name]} param {chosen.data.centers.get(name, 0.0):.10g} 1" for name in model.nuisances),
        *(f"{safe[name]} flatParam" for name in chosen.parameters if name not in {*model.nuisances, model.poi}),
    ]
    return "\n".join(lines) + "\n"


def write(workspace: Any, chosen: Chosen, path: str) -> bool:
    """Add the data of each channel under a name of its own, and write the workspace; return whether that went well."""
    import ROOT

    together = workspace.data("asimovData" if chosen.blinded else "obsData")
    for channel, points in zip(chosen.model.channels, chosen.data.channels, strict=True):
        safe = chosen.names[channel.name]
        name, x = f"data_{safe}", ROOT.RooArgSet(workspace.var(f"x_{safe}"))
        alone = together.reduce(x, f"channel==channel::{safe}")
        if points.edges is not None:
            alone = ROOT.RooDataHist(name, name, x, alone)
        alone.SetName(name)
        workspace.Import(alone, ROOT.RooFit.Silence(True))
    return roofit.write(workspace, chosen, path)
