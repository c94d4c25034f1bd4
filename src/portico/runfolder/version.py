"""A version of a run: the keys of the results that are or were current, as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from portico.runfolder.stored_paths import refuse_paths

__all__ = ["STALE", "SUMMARY", "StepVersion", "Version"]

SUMMARY = "*"
"""The sample under which the files in a step's folder are kept: of a summary step, or its exported results."""

STALE = "made with other options"
"""Label of a result that other code, options or input made than those of the analysis now."""


@dataclass(frozen=True, slots=True)
class StepVersion:
    """The results of one step.

    Parameters
    ----------
    kind, state : str
        ``frame``, ``points`` or ``summary``; state as in the ledger.
    results : mapping of str to str
        The key of each sample's result.
    files : str, optional
        The key of the files in the step's folder.
    read, planned : mapping of str to int
        Entries by sample, of the chunks that are done and of all chunks.
    stale : tuple of str
        The samples whose results were made with other options; ``*`` is the result of a summary step.
    """

    kind: str
    state: str
    results: Mapping[str, str]
    files: str | None
    read: Mapping[str, int]
    planned: Mapping[str, int]
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """The results of a run at one time.

    Parameters
    ----------
    number : int
        From 1; 0 for the current results.
    time : float
        When they became current, in seconds since 1970.
    steps : mapping of str to StepVersion
        In order.
    """

    number: int
    time: float
    steps: Mapping[str, StepVersion]

    def __post_init__(self) -> None:
        refuse_paths([*self.steps, *(sample for step in self.steps.values() for sample in step.results)])

    @property
    def keys(self) -> dict[tuple[str, str], str]:
        """The key of each result, by step and sample."""
        exports = {(name, SUMMARY) for name, step in self.steps.items() if step.kind != "summary"}
        return {name: key for name, key in self.all_keys.items() if name not in exports}

    @property
    def all_keys(self) -> dict[tuple[str, str], str]:
        """The same, with those of the files in the folder of each step, under the sample ``*``."""
        found = {(step, sample): key for step, of in self.steps.items() for sample, key in of.results.items()}
        return found | {(step, SUMMARY): of.files for step, of in self.steps.items() if of.files}

    def to_json(self) -> str:
        """Return the steps as JSON."""
        return json.dumps({name: asdict(step) for name, step in self.steps.items()})

    @classmethod
    def from_json(cls, number: int, time: float, steps: str) -> Version:
        """Return the version of a number, a time, and what `to_json` returned."""
        content: dict[str, dict[str, Any]] = json.loads(steps)
        return cls(number, time, {n: StepVersion(**{**s, "stale": tuple(s["stale"])}) for n, s in content.items()})
