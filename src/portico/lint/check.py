"""The rules of ``portico lint``: code that would fail in a step, change numbers, or not reach a worker."""

from __future__ import annotations

from collections.abc import Iterator

from portico.lint import of_code, of_frames
from portico.lint.finding import LEVELS, Finding
from portico.lint.script import Script
from portico.lint.trace import Trace, trace

__all__ = ["check"]


def check(script: Script, followed: Trace | None = None) -> list[Finding]:
    """Return what is to be changed before a script is a step.

    Parameters
    ----------
    script : Script
        The script; it is not run.
    followed : Trace, optional
        What `portico.lint.trace.trace` found in it, if that is known.

    Returns
    -------
    list of Finding
        In the order of lines, each once.
    """
    followed = trace(script.tree) if followed is None else followed
    found: dict[tuple[int, str], Finding] = {}
    for finding in _all(script, followed):
        found.setdefault((finding.line, finding.rule), finding)
    return sorted(found.values(), key=lambda one: (one.line, LEVELS.index(one.level), one.rule))


def _all(script: Script, followed: Trace) -> Iterator[Finding]:
    for rule in of_frames.RULES:
        yield from rule(followed)
    for rule_of_code in of_code.RULES:
        yield from rule_of_code(script, followed)
