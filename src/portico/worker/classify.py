"""Classification of failures by the exception and by ROOT's messages: the kind of a `Failed`."""

from __future__ import annotations

import errno
import re
import traceback

from portico import root
from portico.errors import InputError, PorticoError, ProductError, RunFolderError, SpaceError, StepError
from portico.files import may_pass
from portico.worker.output_trouble import NO_SPACE, OutputError, output_trouble

__all__ = ["check_log", "classify"]

_NO_MEMORY = re.compile(r"\bstd::bad_alloc\b|\bbad_alloc: std::bad_alloc\b")
_SERVER = re.compile(r"(?:SysError|Error) in <(?:TNetXNG|TXNet)[^>]*>: *(.*)")
_NOT_LET_IN = re.compile(r"Auth failed|\[3030\]")  # no property of file or disk: it would be so for all
_BAD_INPUT = re.compile(
    r"(?:SysError|Error) in <(?:TBasket|TBranch|TTree|TFile|TNetXNG|TXNet|TBuffer|TKey|R__|TStreamer)[^>]*>:.*"
    r"|page checksum verification failed.*|TTreeReader.*status code.*|unzip.*failed.*|R__unzip.*",
    re.IGNORECASE,
)
_WRONG_TYPE = re.compile(r"The branch (\S+) contains data of type (.+)\. It cannot be accessed by a \w+<(.+)>")
_LEFT_OUT = re.compile(r"\bSnapshot: could not [^\n]*\bin column (\S+)\. This column will not be written out")
# Leaves written by uproot are shorter than ROOT's, by limits that nothing uses.
_HARMLESS = re.compile(
    r"^Error in <TBufferFile::CheckByteCount>: object of class TLeaf\w+ read too few.*\n?", re.MULTILINE
)
_OWN = re.compile(r"^portico: .*\n?", re.MULTILINE)  # as of the column cache, without which it went on
_NOISE = re.compile(r"^(?:Template method resolution failed:|none of the \d+ overloaded methods.*|.*=>\s*)$")
_EVENT_LOOP = {"run_chunk", "_run_loops", "_call", "_collect", "collect", "ProcessAndMerge"}


def check_log(log: str, folder: str) -> None:
    """Refuse a chunk that seemed to go well, if ROOT wrote that it did not.

    Parameters
    ----------
    log : str
        What was written to standard error since the chunk began.
    folder : str
        Where trees are written.

    Raises
    ------
    SpaceError
        If there was no space for them.
    OutputError
        If they could not be written for another reason.
    InputError
        If not all could be read.
    StepError
        If ROOT left out a column.
    """
    log = _OWN.sub("", log)
    if NO_SPACE.search(log):
        raise SpaceError(f"no space left in {folder}")
    if trouble := output_trouble(log):
        raise OutputError(f"{folder}: cannot be written: {trouble[1]}")
    if left_out := _LEFT_OUT.search(log):
        raise StepError(
            f"Snapshot: a TTree cannot hold the type of column '{left_out[1]}', and ROOT leaves the column out; write "
            "an RNTuple, or convert the column with Define"
        )
    if words := _SERVER.search(log):
        raise InputError(f"cannot be read: {words[1]}")
    if bad := _BAD_INPUT.search(_HARMLESS.sub("", log)):
        raise InputError(f"ROOT reported: {bad[0]}")


def classify(error: BaseException, log: str, frames: traceback.StackSummary, where: str) -> tuple[str, str]:
    """Return the kind of a failure, as in `portico.worker.task.Failed`, and a message that helps the user.

    Parameters
    ----------
    error : BaseException
        What was raised.
    log : str
        What was written to standard error since the chunk began.
    frames : traceback.StackSummary
        Where it was raised.
    where : str
        The line of the user's code that it went through; empty if none.
    """
    log = _OWN.sub("", log)
    text, own = _readable(error, log), str(error)
    said = _SERVER.search(log)
    words = said[1].strip() if said else ""
    is_step = isinstance(error, (StepError, ProductError))
    no_space = getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}
    if no_space or isinstance(error, SpaceError):
        return "space", text
    if isinstance(error, RunFolderError) and _NOT_LET_IN.search(own):
        return "user", text
    if isinstance(error, OutputError):
        return "disk", text
    if trouble := output_trouble(log if may_pass(own) else f"{log}\n{own}"):
        return trouble
    if isinstance(error, MemoryError) or _NO_MEMORY.search(own):
        return "memory", "needs more memory than there is"
    if may_pass(own) and not is_step:
        return "transient", text
    if words and not is_step:
        text = f"{text}: {words}" if isinstance(error, InputError) else f"cannot be read: {words}"
        if _NOT_LET_IN.search(words):
            return "user", f"{text}; renew the proxy or token, and see what is wrong with: portico doctor"
        return "transient" if may_pass(words) else "input", text
    if isinstance(error, InputError):
        return "input", text
    if is_step or where:
        return "user", text
    if unread := _reading_trouble(error, log):
        return unread
    if frames and frames[-1].name in _EVENT_LOOP:
        return "user", text  # thrown by the event loop: an exception in the user's C++ or Python
    return "user" if isinstance(error, PorticoError) else "internal", text


def _reading_trouble(error: BaseException, log: str) -> tuple[str, str] | None:
    if odd := _WRONG_TYPE.search(log):
        return "user", f"column '{odd[1]}' is a {odd[2]}, and the step reads it as {odd[3]}; read it as what it is"
    bad = _BAD_INPUT.search(f"{error}\n{log}")
    return ("input", bad[0].strip()) if bad else None


def _readable(error: BaseException, log: str) -> str:
    """Reduce an exception, which cppyy may have wrapped many times, to what a user can act on."""
    if compiler := root.first_compiler_error(_SERVER.sub("", log)):  # servers write "error:" as well
        return "does not compile: " + re.sub(r"auto func\d+\([^)]*\)\s*\{\s*(?:return\s+)?", "", compiler)
    if isinstance(error, PorticoError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not _NOISE.match(line)]
    unique = list(dict.fromkeys(lines))[:6]
    if isinstance(error, ModuleNotFoundError):
        unique.append("a module of the analysis is shipped to workers only if an import statement names it")
    name = type(error).__name__
    text = " | ".join(unique)
    return text if text.startswith(f"{name}: ") else f"{name}: {text}" if text else name
