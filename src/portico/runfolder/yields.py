"""Yields of a run in a few tables: what the selection of each sample leaves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from portico.results.cutflow import Cutflow
from portico.results.kinds import KINDS
from portico.results.view import Results
from portico.runfolder.load import Run

__all__ = ["StepYields", "read_yields"]

_Number = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class StepYields:
    """The yields of one step.

    Parameters
    ----------
    step : str
        Its name.
    what : str
        What the numbers are.
    columns : tuple of str
        Names of cutflows, or of numbers.
    rows : mapping of str to mapping
        By sample and column: the number and its statistical error, which is none if the number is no yield.
    """

    step: str
    what: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, _Number]]


def read_yields(run: Run, steps: Collection[str]) -> list[StepYields]:
    """Return the yields of steps that have some: of cutflows, after all cuts; of steps without them, their numbers.

    Parameters
    ----------
    run : Run
        The run.
    steps : collection of str
        Which steps.
    """
    return [found for step in steps if step in run and (found := _of_step(step, run[step])) is not None]


def _of_step(step: str, results: Mapping[str, Results]) -> StepYields | None:
    flows: dict[str, dict[str, Cutflow]] = {
        sample: {name: flow for name, flow in of.cutflows.items() if flow.cuts} for sample, of in results.items()
    }
    weighted = any(flow.yields for of in flows.values() for flow in of.values())
    if any(flows.values()):
        what = "yields after all cuts" if weighted else "entries after all cuts"
        rows = {
            sample: {_short(name): _last(flow) for name, flow in of.items() if bool(flow.yields) == weighted}
            for sample, of in flows.items()
        }
    else:
        what, rows = "numbers", {sample: _numbers(of) for sample, of in results.items()}
    columns = tuple(dict.fromkeys(name for of in rows.values() for name in of))
    return StepYields(step, what, columns, rows) if columns else None


def _short(name: str) -> str:
    return name.removeprefix("cutflow_")


def _last(flow: Cutflow) -> _Number:
    """Return what is left at the end of a cutflow, with its statistical error."""
    return (flow.yields[-1], flow.uncertainties[-1]) if flow.yields else (flow.passed[-1], flow.passed[-1] ** 0.5)


def _numbers(of: Results) -> dict[str, _Number]:
    single = {name: of[name] for name, product in of.products.items() if KINDS[product.kind].is_number}
    return {name: (float(value), None) for name, value in single.items() if isinstance(value, (int, float))}
