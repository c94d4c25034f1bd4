"""Explanations of failed chunks: what failed, where, what the input file has to do with it, and what to do."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from portico.analysis.chunks import Chunk
from portico.errors import InputError, PorticoError, RunFolderError, SpaceError, StepError, WorkerError, closest
from portico.files import TreeSummary, column_changes
from portico.runfolder.ledger import Planned
from portico.worker.task import Failed, FailureKind

__all__ = ["error_of", "explain", "failing_machine", "hopeless", "slow_chunk"]

_UNDECLARED = re.compile(r"undeclared identifier '(\w+)'|[Uu]nknown columns?:? \"?(\w+)")

_FATAL = "killed their process, took too long or needed too much memory"


def explain(
    failed: Failed, step: str, planned: Planned, files: Mapping[str, Mapping[str, TreeSummary]], final: bool = False
) -> str:
    """Return the explanation of a failure, for the user.

    Parameters
    ----------
    failed : Failed
        The failure.
    step : str
        Name of the step.
    planned : Planned
        The chunk as planned.
    files : mapping of str to mapping of str to TreeSummary
        What is known about each input file of each sample.
    final : bool
        The chunk is given up, so the text says what the user can do.
    """
    text = f"step '{step}', sample '{planned.sample}', {planned.chunk}: {failed.message}"
    siblings = files.get(planned.sample, {})
    summary = siblings.get(planned.chunk.file)
    if failed.kind.is_of_the_file:
        return f"{text}; copy or recreate the file, or continue without it with --allow-partial" if final else text
    if failed.kind is FailureKind.MEMORY and final:
        return f"{text}; give workers more memory, or continue without it with --allow-partial"
    if failed.kind is FailureKind.TIMEOUT and final:
        return f"{text}; allow more time or make chunks smaller, or continue without it with --allow-partial"
    if failed.kind is not FailureKind.USER or summary is None:
        return text
    word = next((word for match in _UNDECLARED.findall(failed.message) for word in match if word), "")
    with_word = (file for file in siblings.values() if any(column.name == word for column in file.columns))
    reference = next(with_word, next((file for file in siblings.values() if file.entries > 0), summary))
    changes = column_changes(reference, summary)
    if changes:
        text += f"\nthis file differs from {reference.file}: " + "; ".join(changes[:5])
    elif word:
        close = closest(word, (column.name for column in summary.columns))
        hint = f"did you mean '{close}'?" if close else f"see: portico inspect {summary.file}"
        text += f"\n'{word}' is neither a column of the input nor a C++ name; {hint}"
    return text


def error_of(failed: Failed, text: str) -> PorticoError:
    """Return the error with which a failure stops the step; ``text`` explains the failure."""
    match failed.kind:
        case FailureKind.USER:
            return StepError(text)
        case FailureKind.SPACE:
            advice = "" if "free space" in text else "; free space and run again, what is done is kept"
            return SpaceError(f"{text}{advice}")
        case FailureKind.DISK:
            return RunFolderError(f"{text}; run again when the disk works, what is done is kept")
        case FailureKind.TRANSIENT:
            return WorkerError(f"{text}; the store does not answer; run again when it does, what is done is kept")
        case _:
            return PorticoError(f"{text}\nthis is a bug in portico or its installation:\n{failed.log.strip()}")


def slow_chunk(step: str, chunk: Chunk, seconds: float, longest: float) -> str:
    """Return the warning about a chunk that takes very much longer than the longest one before."""
    before = f", the longest before took {longest:.0f} s" if longest else ""
    return (
        f"step '{step}', {chunk}: has been running for {seconds:.0f} s{before}; is "
        "its storage or machine slow, or its process stopped? to end such chunks: --chunk-timeout"
    )


def failing_machine(name: str, count: int, where: str) -> str:
    """Return the warning about a machine that fails chunks that others complete."""
    return (
        f"machine {name} fails chunks that others complete: {count:,} chunks in a row, among them {where}, which "
        "another machine has done; it gets no more chunks while others are available; check its mounts, disks and "
        "network"
    )


def hopeless(text: str, tried: Collection[tuple[str, str]], bad: Collection[tuple[str, str]]) -> PorticoError:
    """Return the error of a step of which nothing can be done.

    Parameters
    ----------
    text : str
        Explains the last failure.
    tried : collection of tuple of str
        Sample and file of each chunk that was tried.
    bad : collection of tuple of str
        The files that cannot be read; the chunks of others were given up for other reasons.
    """
    files = {file for file in tried if file[1]}
    words = f"{len(tried)} chunks{f' of {len(files)} files' if len(files) > 1 else ''} were tried"
    if files & set(bad):
        others = sum(file not in bad for file in tried)
        killed = f" ({others} of the chunks {_FATAL})" if others else ""
        return InputError(
            f"{text}\n{words}, and no file can be read{killed}: the disk, the mount or the server of all of them is at "
            "fault, or the machine; see: portico doctor"
        )
    whose = "the step itself, or its only file," if len(files) == 1 else "the step itself"
    return StepError(f"{text}\n{words}, and all {_FATAL}: {whose} is at fault")
