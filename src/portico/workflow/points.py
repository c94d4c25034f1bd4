"""The points of a step: read from an earlier step's file or listed by a function, and cut into chunks with keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from portico._version import __version__
from portico.analysis import chunks as cuts
from portico.analysis.analysis import POINTS, Analysis, StepEntry
from portico.analysis.dataset import Sample
from portico.config import parse_json
from portico.environment.bundle import Bundle, collect, key_of
from portico.errors import ConfigError
from portico.runfolder.folder import RunFolder
from portico.runfolder.ledger import Ledger, Planned
from portico.runfolder.point_list import POINTS_FILE, read_points, write_points
from portico.workflow.plan import Arguments, Plan, summary_file
from portico.workflow.state import State

__all__ = ["known_points", "plan_over", "plan_points"]

_CHUNK = cuts.ChunkSize(entries=1)


def plan_points(state: State, step: StepEntry, bundle: Bundle, arguments: Arguments) -> Plan:
    """Return the plan of a step over points, after its function has listed them if that is not done.

    Raises
    ------
    ConfigError, RunFolderError
        As `known_points` and `plan_over`.
    PorticoError
        If the function fails.
    """
    points = known_points(state.analysis, step, arguments, state.folder, state.ledger)
    if points is None:
        listing, own, key = _listing(state.analysis, step, arguments)
        state.executor.prepare(listing)
        content = {"op": "points", "function": listing.function, "options": own.given}
        points = state.call(content, [], f"step '{step.name}', {listing.function}")[0]["points"]
        write_points(state.folder.step(step.name) / POINTS_FILE, key, points)
    state.broken.discard(POINTS)  # these points are not those of an earlier step
    return plan_over(points, step, bundle, arguments)


def known_points(
    analysis: Analysis, step: StepEntry, arguments: Arguments, folder: RunFolder, ledger: Ledger
) -> list[Any] | None:
    """Return the points of a step; None if a function must list them first.

    Raises
    ------
    ConfigError, RunFolderError
        If the file is missing, or does not contain a list.
    """
    if step.lists_points:
        known = read_points(folder.step(step.name) / POINTS_FILE)
        return known[1] if known and known[0] == _listing(analysis, step, arguments)[2] else None
    path = summary_file(f"{analysis.path}: step '{step.name}': points", step.points or "", folder, ledger)
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, list):
        raise ConfigError(f"{path}: step '{step.name}' needs a JSON list of points, but this file has none")
    return content


def _listing(analysis: Analysis, step: StepEntry, arguments: Arguments) -> tuple[Bundle, Arguments, str]:
    """Return the function that lists the points, its arguments, and the key of both."""
    bundle = collect(step.points or "", analysis.folder, "list")
    own = arguments.only(bundle.options)
    return bundle, own, key_of(__version__, bundle.code, own.keyed)


def plan_over(points: Sequence[Any], step: StepEntry, bundle: Bundle, arguments: Arguments) -> Plan:
    """Cut points into chunks and give each its key.

    The key of a chunk contains its points but not their positions: if points are added, other chunks keep their values.

    Raises
    ------
    ConfigError
        If the chunk size is in bytes.
    """
    code, seen = key_of(__version__, bundle.code, arguments.only(bundle.options).keyed), Counter[str]()
    size = cuts.ChunkSize.parse(step.chunk) if step.chunk else _CHUNK
    if size.entries is None:
        raise ConfigError(
            f"step '{step.name}', chunk '{step.chunk}': points have no size; write for example '4 points'"
        )
    planned, inside = [], {}
    for position, chunk in enumerate(cuts.plan_points(len(points), size.entries)):
        own = tuple(points[chunk.first : chunk.last])
        digest = key_of(code, own)
        key = key_of(digest, seen[digest])  # the same points may be in the list again
        seen[digest] += 1
        planned.append(Planned(POINTS, position, key, chunk))
        inside[key] = own
    sample = Sample(name=POINTS, entries=len(points))
    return Plan({POINTS: planned}, {POINTS: {}}, {POINTS: sample}, points=inside)
