"""Completion in a shell: analyses, and names of steps and samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["analyses", "names_of_analysis", "names_of_run"]


def analyses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Offer folders that hold an analysis, or else files and folders."""
    from click.shell_completion import CompletionItem as Item

    from portico.analysis.analysis import analyses_like

    return [Item(name) for name in analyses_like(incomplete)] or [Item(incomplete, type="file")]


def names_of_analysis(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of steps or samples of the analysis that is named already."""
    from portico.analysis.analysis import load_analysis
    from portico.errors import PorticoError

    try:
        analysis = load_analysis(_first(ctx, "analysis", "."))
    except PorticoError:
        return []
    names = [step.name for step in analysis.steps] if _is_step(param) else list(analysis.dataset.samples)
    return [name for name in names if name.startswith(incomplete)]


def names_of_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of steps or samples of the run that is named already."""
    from portico.errors import PorticoError
    from portico.runfolder.load import Run

    try:
        steps = Run(Path(_first(ctx, "first" if "first" in ctx.params else "run", ""))).version.steps
    except (PorticoError, OSError):
        return []
    names = list(steps) if _is_step(param) else list(dict.fromkeys(s for of in steps.values() for s in of.results))
    return [name for name in names if name.startswith(incomplete)]


def _is_step(param: click.Parameter) -> bool:
    return param.name in {"step", "steps"}


def _first(ctx: click.Context, name: str, default: str) -> str:
    """Return the first argument: while the value of an option is missing, click leaves the words before it unparsed."""
    return str(ctx.params.get(name) or next(iter(ctx.args), default))
