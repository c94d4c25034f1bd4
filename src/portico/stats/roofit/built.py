"""A model of RooFit with its data, as the process that evaluates it holds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from portico import root
from portico.errors import InputError

__all__ = ["Built", "Part", "simultaneous"]

_CATEGORY: Final = "CMS_channel"  # as in workspaces of Combine


@dataclass(frozen=True)
class Part:
    """A channel: its pdf, its data, and its variables."""

    name: str
    pdf: Any
    data: Any
    variables: Any


@dataclass
class Built:
    """A model.

    Attributes
    ----------
    space : RooWorkspace
    pdf : RooAbsPdf
        Of all channels.
    data : RooAbsData
        Of all channels.
    parts : list of Part
    poi : str
    globals : list of str
        Global observables.
    notes : list of str
    external : list of RooAbsPdf
        Constraints that are not part of the pdf.
    """

    space: Any
    pdf: Any
    data: Any
    parts: list[Part]
    poi: str
    globals: list[str]
    notes: list[str] = field(default_factory=list)
    external: list[Any] = field(default_factory=list)


def simultaneous(
    space: Any, parts: Sequence[tuple[str, Any, Any, Any]], poi: str, globs: Sequence[str], notes: list[str]
) -> Built:
    """Return a model of channels: (name, pdf, data, variables in the workspace, in the order of those of the data)."""
    r = root.load()
    category = r.RooCategory(_CATEGORY, _CATEGORY)
    for name, *_ in parts:
        category.defineType(name)
    space.Import(category, r.RooFit.Silence(True))
    category = space.cat(_CATEGORY)
    pdf = r.RooSimultaneous("model_s", "model_s", category)
    columns, weight = r.RooArgSet(category), r.RooRealVar("weight", "weight", 1.0)
    for name, of, _, variables in parts:
        pdf.addPdf(of, name)
        columns.add(variables, True)
    space.Import(pdf, r.RooFit.RecycleConflictNodes(True), r.RooFit.Silence(True))
    data = r.RooDataSet("obsData", "obsData", r.RooArgSet(columns, weight), r.RooFit.WeightVar(weight))
    made = []
    for name, of, observed, variables in parts:
        category.setLabel(name)
        inside = [space.var(variable.GetName()) for variable in variables]
        for values, events in _entries(observed, len(inside)):
            for variable, value in zip(inside, values, strict=True):
                if not variable.getMin() <= value <= variable.getMax():
                    raise InputError(f"channel '{name}': {variable.GetName()} = {value:g} is out of its range")
                variable.setVal(value)
            data.add(columns, events)
        made.append(Part(name, space.pdf(of.GetName()), observed, r.RooArgSet(*inside)))
    space.Import(data, r.RooFit.Silence(True))
    return Built(space, space.pdf("model_s"), space.data("obsData"), made, poi, list(globs), notes)


def _entries(data: Any, number: int) -> Iterator[tuple[list[float], float]]:
    for i in range(data.numEntries()):
        row = data.get(i)
        yield [row[k].getVal() for k in range(number)], float(data.weight())
