"""The cause of death of a process that ran a chunk, found in its standard error.

An assertion of RDataFrame, or an exception that nothing catches, ends the process at once. What it says then is the
reason, and it would say the same in every other process.
"""

from __future__ import annotations

import re
import signal

from portico.worker.output_trouble import output_trouble

__all__ = ["ABORTS", "last_words"]

ABORTS = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV})
"""The signals by which a process ends itself."""

_ASSERTION = re.compile(r"^Fatal: (.+) violated at line \d+ of [`'\"](.+?)'?$", re.MULTILINE)
_FATAL = re.compile(r"^Fatal in <(.+?)>: (.+)$", re.MULTILINE)
_UNCAUGHT = re.compile(
    r"^terminate called after throwing an instance of '(.+)'(?:\n\s*what\(\):\s*(.+))?", re.MULTILINE
)
_FRAME = re.compile(r"\bRDF\b|RDataFrame|ROOT/RDF/")
_STANDARD = re.compile(
    r"std::(?:runtime_error|logic_error|invalid_argument|domain_error|length_error|out_of_range|range_error"
    r"|overflow_error|underflow_error|bad_function_call|bad_optional_access|bad_variant_access)"
)


def last_words(log: str) -> tuple[str, str]:
    """Return the kind of a death, as in `portico.worker.task.Failed`, and the words for the user.

    Parameters
    ----------
    log : str
        What the process wrote since it began to work on the chunk.

    Returns
    -------
    kind, words : str
        ``space`` or ``disk`` if what it wrote could not be written; ``user`` if RDataFrame refused the step or its C++
        threw an exception; ``memory`` if there was too little; else ``crash``: a file or the machine may be at fault.
        The words are empty if there are none.
    """
    if trouble := output_trouble(log):  # what else ROOT says follows from it
        return trouble
    if found := _ASSERTION.search(log):
        what, where = found[1].strip(), found[2]
        reason = re.search(r'&& "(.+)"$', what)
        words = f"ROOT aborts: {reason[1] if reason else what} ({where.rpartition('/')[2]})"
        return ("user" if _FRAME.search(where) else "crash"), words
    if found := _FATAL.search(log):
        return ("user" if _FRAME.search(found[1]) else "crash"), f"ROOT aborts: {found[2].strip()} ({found[1]})"
    if found := _UNCAUGHT.search(log):
        kind, words = found[1], (found[2] or "").strip()
        if "bad_alloc" in kind:
            return "memory", "needs more memory than there is"
        return "user" if _STANDARD.fullmatch(kind) else "crash", f"an exception that nothing catches: {words or kind}"
    return "crash", ""
