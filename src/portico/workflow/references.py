"""Reference files, which provide the types of columns that a chunk's own file lacks."""

from __future__ import annotations

from collections.abc import Iterable

from portico.files import Column, TreeSummary

__all__ = ["references"]


def references(summaries: Iterable[TreeSummary]) -> dict[str, str]:
    """Return for each file that lacks columns of its sample another one that has all its columns and more.

    ROOT knows the columns of a chain from its first file, so that ``FilterAvailable`` and ``DefaultValueFor`` can name
    those that some files lack. A chunk is read from one file, which may be one of these. Among several references the
    one with most columns is taken, whatever their order.
    """
    schemas: dict[int, tuple[TreeSummary, frozenset[Column]]] = {}
    lacking: dict[int, list[str]] = {}
    for summary in summaries:
        if summary.entries:
            of = id(summary.columns)  # the same object for all files with the same columns
            lacking.setdefault(of, []).append(summary.file)
            if of not in schemas:
                schemas[of] = summary, frozenset(summary.columns)
    found: dict[str, str] = {}
    for of, files in lacking.items():
        own = schemas[of][1]
        others = [(len(columns), summary.file) for summary, columns in schemas.values() if columns > own]
        if others:
            found |= dict.fromkeys(files, max(others)[1])
    return found
