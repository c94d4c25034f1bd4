"""A model that RooFit evaluates, as the rest of this package sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from portico.files.atomic import write_atomic
from portico.stats.roofit.session import Session

__all__ = ["RooFitModel"]


@dataclass(frozen=True)
class RooFitModel:
    """A model in a process of its own.

    Attributes
    ----------
    where : str
        Its file, for messages.
    kind : {"card", "hs3", "file"}
    content : mapping
        What it is built of.
    remarks : tuple of str
        What was found in reading it and is not an error.
    """

    where: str
    kind: str
    content: Mapping[str, Any]
    remarks: tuple[str, ...] = ()

    @cached_property
    def session(self) -> Session:
        """The process, started once.

        Raises
        ------
        ConfigError, InputError
            If the model cannot be built.
        """
        return Session(self.where, self.kind, self.content)

    @property
    def poi(self) -> str:
        """The parameter of interest."""
        return str(self.session.about["poi"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found in reading and building it."""
        return (*self.remarks, *self.session.about["notes"])

    @property
    def start(self) -> dict[str, float]:
        """Start values of all parameters."""
        return {of["name"]: of["value"] for of in self.session.about["parameters"]}

    def write(self, path: Path, form: str) -> None:
        """Write the model to a file atomically, as ``roofit`` or ``hs3``."""
        with write_atomic(path) as aside:
            self.session.ask("write", path=str(Path(aside).absolute()), form=form)
