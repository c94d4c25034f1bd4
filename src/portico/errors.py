"""The exceptions of portico.

::

    PorticoError
    |- ConfigError      a dataset, analysis or option file, or a step's declaration, is wrong
    |- InputError       a data file is missing, damaged or has changed
    |- StepError        the user's code failed; carries sample, file, entry range and the user's line
    |- ProductError     a product cannot be collected or merged
    |- RunFolderError   a run folder belongs to something else, is in use, or does not exist
    |- SpaceError       no space left where results are written
    |- FitError         a fit does not converge, or there is nothing to fit
    |- WorkerError      workers were lost, or chunks kill the process that reads them
    `- MissingExtra     an optional dependency is not installed

`PorticoWarning` is not an error, and neither is `Detached`: submitted jobs continue without this process.
"""

from __future__ import annotations

import difflib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from portico.shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "ConfigError",
    "Detached",
    "FitError",
    "InputError",
    "MissingExtra",
    "PorticoError",
    "PorticoWarning",
    "ProductError",
    "RunFolderError",
    "SpaceError",
    "StepError",
    "WorkerError",
    "closest",
    "near_path",
    "nearest",
    "nearest_of_many",
]

_SHOWN = 12  # of thousands of words


class PorticoError(Exception):
    """Base of all errors that portico raises; their text is for the user, without secrets and control characters."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(shown(one) if isinstance(one, str) else one for one in arguments))


class PorticoWarning(UserWarning):
    """A warning for the user; a warning on a worker is shown once, by the driver."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(shown(one) if isinstance(one, str) else one for one in arguments))


class ConfigError(PorticoError):
    """A configuration file, an option or a step's declaration is wrong."""


class InputError(PorticoError):
    """An input file is missing or damaged, or has changed."""


class StepError(PorticoError):
    """The user's own code failed."""


class ProductError(PorticoError):
    """A product cannot be collected from a chunk or merged over chunks."""


class RunFolderError(PorticoError):
    """The run folder does not exist, is in use, or belongs to another analysis."""


class SpaceError(PorticoError):
    """No space is left where results are written."""


class FitError(PorticoError):
    """A fit does not converge, or there is nothing to fit."""


class WorkerError(PorticoError):
    """Workers were lost, or chunks kill the process that reads them."""


class MissingExtra(PorticoError):  # noqa: N818 (the name says what is missing)
    """An optional dependency is not installed."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}'; install it with: pip install 'portico-hep[{extra}]'")


class Detached(Exception):  # noqa: N818 (not an error)
    """Submitted jobs continue without this process; the text says how many, and what to do next."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return a phrase that lists the valid words and names the nearest one.

    Parameters
    ----------
    word : str
        The word that the user wrote.
    valid : iterable of str
        The valid words.
    """
    words = sorted(valid)
    close = closest(word, words)
    hint = f"did you mean '{close}'? " if close else ""
    return f"{hint}valid: {', '.join(words) if words else '(none)'}"


def closest(word: str, valid: Iterable[str]) -> str:
    """Return the valid word that is most like a word; empty if none is alike."""
    return next(iter(_close(word, sorted(valid), 1)), "")


def near_path(path: str | Path, is_valid: Callable[[Path], bool] = Path.is_file) -> str:
    """Return a phrase that names the path most like one that does not exist, with a semicolon before it; or nothing.

    Parameters
    ----------
    path : str or Path
        The path that the user wrote.
    is_valid : callable
        Tells whether another one in the same folder could be meant.
    """
    wrong = Path(path)
    with suppress(OSError):
        if close := closest(wrong.name, (one.name for one in wrong.parent.iterdir() if is_valid(one))):
            return f"; did you mean '{wrong.parent / close}'?"
    return ""


def nearest_of_many(word: str, valid: Sequence[str], what: str) -> str:
    """Return a phrase as `nearest`, with a few of the valid words if there may be thousands.

    Parameters
    ----------
    word : str
        The word that the user wrote.
    valid : sequence of str
        The valid words.
    what : str
        What they are, in the plural.
    """
    if len(valid) <= _SHOWN:
        return nearest(word, valid)
    close = _close(word, valid, _SHOWN, 0.3) or valid[:_SHOWN]
    return f"{len(valid)} {what}, among them: {', '.join(close)}"


def _close(word: str, valid: Sequence[str], most: int, cutoff: float = 0.6) -> list[str]:
    """Return the valid words that are like a word, the most similar first; whether letters are small does not count."""
    names: dict[str, list[str]] = {}
    for name in valid:
        names.setdefault(name.lower(), []).append(name)
    close = difflib.get_close_matches(word.lower(), names, n=most, cutoff=cutoff)
    return [name for like in close for name in names[like]][:most]
