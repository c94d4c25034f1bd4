"""The identity of input files: what enters the keys of the chunks that are read from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from portico.analysis.dataset import Sample
from portico.errors import ConfigError, InputError
from portico.files import TreeSummary, version_of
from portico.files.storage import storage_of

__all__ = ["changed", "identities", "refuse_copies"]


def identities(
    sample: Sample, found: Sequence[TreeSummary | InputError], written: Iterable[Iterable[Mapping[str, Any]]]
) -> dict[str, str]:
    """Return the identity of each file that was summarised, by the path that is read.

    The identity of a file of the dataset is its path, UUID, number of entries, size and time of the last modification:
    ROOT keeps the UUID when it updates a file in place, and a copy shares it. Replicas of a file have one identity: the
    path of the first, UUID and entries. A tree that an earlier step wrote has the identity
    that the ledger holds of it: UUID, size and checksum.

    Parameters
    ----------
    sample : Sample
        Names the files.
    found : sequence of TreeSummary or InputError
        What was found of each.
    written : iterable of iterable of mapping
        The files that the earlier step's chunks wrote, as the ledger has them; empty for files of the dataset.
    """
    ours = {item["path"]: f"{item['uuid']}:{item['size']}:{item['adler32']}" for chunk in written for item in chunk}
    identity: dict[str, str] = {}
    for file, summary in zip(sample.files, found, strict=True):
        if isinstance(summary, TreeSummary):
            version = "" if file in sample.replicas else summary.version
            outside = f"{file}:{summary.uuid}:{summary.entries}:{version}"
            identity[summary.file] = ours.get(summary.file, outside)
    return identity


def refuse_copies(sample: str, summaries: Iterable[TreeSummary]) -> None:
    """Refuse files of one sample that are copies of one another, since their events would count twice.

    Files with one UUID may still hold different events: only equal contents are refused.

    Raises
    ------
    ConfigError
        If two files are equal.
    """
    seen: dict[tuple[str, int, str], list[TreeSummary]] = {}
    for summary in summaries:
        if summary.entries:
            size = summary.version.partition(":")[0]
            seen.setdefault((summary.uuid, summary.entries, size), []).append(summary)
    for alike in seen.values():
        if len(alike) < 2:
            continue
        contents: dict[str, str] = {}
        for summary in alike:
            checksum = _checksum(summary.file)
            if checksum in contents:
                raise ConfigError(
                    f"sample '{sample}': {summary.file} is a copy of {contents[checksum]} and would count twice; "
                    "remove one of them from 'files'"
                )
            contents[checksum] = summary.file


def _checksum(file: str) -> str:
    """Return a file's Adler-32; empty for a server that cannot tell it: files with one UUID then count as copies."""
    try:
        return storage_of(file).checksum(file)
    except ConfigError:
        return ""


def changed(summaries: Iterable[TreeSummary]) -> list[str]:
    """Return the local files that were written to since they were summarised."""
    return [summary.file for summary in summaries if summary.version and version_of(summary.file) != summary.version]
