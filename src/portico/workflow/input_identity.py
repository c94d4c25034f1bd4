"""The identity of input files: what enters the keys of the chunks that are read from them, and what they must be."""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from portico.analysis.chunks import Chunk
from portico.analysis.dataset import Sample
from portico.environment.bundle import as_text
from portico.errors import ConfigError, InputError
from portico.files import TreeSummary, is_remote, summarise_each, version_of
from portico.files.checksums import checksum_of_file, server_checksums
from portico.files.friends import friends_of

__all__ = ["changed", "copies_between", "identities", "keys_of", "refuse_copies", "summaries_of", "with_checksums"]


def identities(
    sample: Sample, found: Sequence[TreeSummary | InputError], written: Iterable[Iterable[Mapping[str, Any]]]
) -> dict[str, str]:
    """Return the identity of each file that was summarised, by the path that is read.

    The identity of a file of the dataset is its path, UUID, number of entries, size and time of the last modification:
    ROOT keeps the UUID when it updates a file in place, and a copy shares it. If a server tells its checksum, that
    stands for the time, which may differ between the servers behind a redirector. Replicas of a file have one identity:
    the path of the first, UUID and entries. A tree that an earlier step wrote has the identity that the ledger holds of
    it: UUID, size and checksum. The identities of the friends that are stored with a tree belong to its own.

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
    summaries = {
        file: summary for file, summary in zip(sample.files, found, strict=True) if isinstance(summary, TreeSummary)
    }
    friends = [friend for summary in summaries.values() for friend in friends_of(summary)]
    asked = [s for file, s in summaries.items() if s.file not in ours and file not in sample.replicas]
    checksums = server_checksums((summary.file, summary.version) for summary in (*asked, *friends))
    identity: dict[str, str] = {}
    for file, summary in summaries.items():
        version = "" if file in sample.replicas else _version(summary, checksums)
        outside = f"{file}:{summary.uuid}:{summary.entries}:{version}"
        named = "".join(
            f"|{each.file}:{each.tree}:{each.uuid}:{each.entries}:{_version(each, checksums)}"
            for each in friends_of(summary)
        )
        identity[summary.file] = ours.get(summary.file, outside) + named
    return identity


def _version(summary: TreeSummary, checksums: Mapping[str, str]) -> str:
    checksum = checksums.get(summary.file)
    return f"{summary.version.partition(':')[0]}:adler32={checksum}" if checksum else summary.version


def summaries_of(sample: Sample) -> list[TreeSummary | InputError]:
    """Return what is found of each file of a sample, of its first replica that can be read.

    An error stands for a file that cannot be read, or that has not its declared checksum.
    """
    every = [sample.reads(file) for file in sample.files]
    others = {replicas[0]: replicas[1:] for replicas in every}
    found = summarise_each([replicas[0] for replicas in every], sample.tree, replicas=others)
    return with_checksums(sample, found)


def with_checksums(sample: Sample, found: Sequence[TreeSummary | InputError]) -> list[TreeSummary | InputError]:
    """Return what was found of each file, with an error in place of one that has not its declared checksum."""
    return [
        _checked(summary, sample.checksums[file]) if file in sample.checksums else summary
        for file, summary in zip(sample.files, found, strict=True)
    ]


def _checked(summary: TreeSummary | InputError, declared: str) -> TreeSummary | InputError:
    if isinstance(summary, InputError):
        return summary
    try:
        checksum = checksum_of_file(summary.file)
    except InputError as error:
        return error
    if checksum.value == declared:
        return summary
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(checksum.time))
    has = f"has the Adler-32 {checksum.value}, by {checksum.source} on {when}," if checksum.value else "tells none"
    return InputError(
        f"{summary.file}: {has} but 'adler32: {declared}' is declared; copy the file again, or correct what is declared"
    )


def refuse_copies(sample: str, summaries: Iterable[TreeSummary]) -> None:
    """Refuse files of one sample that are copies of one another, since their events would count twice.

    Files with one UUID may still hold different events: only equal contents are refused.

    Raises
    ------
    ConfigError
        If two files are equal.
    """
    for one, other in _copies((sample, summary) for summary in summaries):
        raise ConfigError(
            f"sample '{sample}': {other[1].file} is {_what(other[1].file, one[1].file)} {one[1].file} and would count "
            "twice; remove one of them from 'files'"
        )


def copies_between(samples: Mapping[str, Iterable[TreeSummary]]) -> list[str]:
    """Return a warning for each pair of samples that hold the same events, with the first of these files."""
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for one, other in _copies((name, summary) for name, of in samples.items() for summary in of):
        if one[0] != other[0]:
            pairs[one[0], other[0]].append((one[1].file, other[1].file))
    return [
        f"samples '{one}' and '{other}' both read {_count(files)}: "
        + (files[0][0] if files[0][0] == files[0][1] else
           f"{files[0][1]} is {_what(files[0][1], files[0][0])} {files[0][0]}")
        for (one, other), files in pairs.items()
    ]  # fmt: skip


def _count(files: Sequence[object]) -> str:
    return "the same file" if len(files) == 1 else f"the same {len(files)} files, such as"


def _what(file: str, other: str) -> str:
    """Return what a file is of another with the same content."""
    return "the same file as" if _place(file) == _place(other) else "a copy of"


def _copies(
    named: Iterable[tuple[str, TreeSummary]],
) -> Iterable[tuple[tuple[str, TreeSummary], tuple[str, TreeSummary]]]:
    """Yield each file with an earlier one that holds the same, together with the name of its sample.

    Files with events are read only if UUID, number of entries and size are equal.
    """
    seen: dict[tuple[str, int, str], list[tuple[str, TreeSummary]]] = {}
    for name, summary in named:
        if summary.entries:
            size = summary.version.partition(":")[0]
            seen.setdefault((summary.uuid, summary.entries, size), []).append((name, summary))
    for alike in seen.values():
        if len(alike) == 1:
            continue
        places = {summary.file: _place(summary.file) for _, summary in alike}
        contents: dict[str, tuple[str, TreeSummary]] = {}
        for each in alike:
            place = places[each[1].file]
            # A server that cannot tell a checksum tells none: files with one UUID then count as copies.
            content = place if len(set(places.values())) == 1 else checksum_of_file(place).value
            first = contents.setdefault(content, each)
            if first is not each:
                yield first, each


def _place(file: str) -> str:
    return file if is_remote(file) else os.path.realpath(file)


def keys_of(code: str, identity: Mapping[str, str], chunks: Iterable[Chunk]) -> list[str]:
    """Return the key of each chunk: `key_of` of the code, of identity and tree of its file, and of its range.

    Parameters
    ----------
    code : str
        Digest of what makes a chunk's result apart from its events.
    identity : mapping of str to str
        As `identities` returns it; of other files the UUID stands for it.
    chunks : iterable of Chunk
        The chunks.
    """
    keys: list[str] = []
    for (file, uuid, tree), of_file in groupby(chunks, lambda chunk: (chunk.file, chunk.uuid, chunk.tree)):
        head = as_text(code, identity.get(file, uuid), tree).removesuffix("]")  # once for a file: there are many chunks
        texts = (f"{head},{chunk.first},{chunk.last}]" for chunk in of_file)
        keys += [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    return keys


def changed(summaries: Iterable[TreeSummary]) -> list[str]:
    """Return the local files that were written to, or whose friends were, since they were summarised."""
    return [
        summary.file
        for summary in summaries
        if any(
            s.version and not is_remote(s.file) and version_of(s.file) != s.version
            for s in (summary, *friends_of(summary))
        )
    ]
