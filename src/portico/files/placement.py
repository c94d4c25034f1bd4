"""The choice among the replicas of a file: storage sites that are allowed, blocked, or preferred."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from pydantic import field_validator

from portico.config import Model
from portico.files.remote import is_remote

__all__ = ["LOCAL", "Placement", "place", "site_of"]

LOCAL = "local"
"""The storage site of files that are named by a path."""


class Placement(Model):
    """Which replicas of a file are read, by the storage site that has them.

    A storage site is the host of a URL, such as ``eos.cern.ch``, in which ``*`` stands for any letters, or ``local``
    for files that are named by a path.

    Parameters
    ----------
    allow : tuple of str
        The only storage sites that are read; by default all are.
    block : tuple of str
        Storage sites that are never read.
    prefer : tuple of str
        Storage sites whose replicas are read first, the best first; the others follow in the order of the dataset.
    """

    allow: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()

    @field_validator("allow", "block", "prefer", mode="before")
    @classmethod
    def _are_hosts(cls, value: object) -> object:
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, (list, tuple)):
            return words
        for word in words:
            if isinstance(word, str) and (not word or "/" in word or ":" in word):
                raise ValueError(
                    f"'{word}' is not a storage site; write the host of its URLs, such as eos.cern.ch or *.cern.ch, or "
                    f"'{LOCAL}' for paths"
                )
        return tuple(word.lower() if isinstance(word, str) else word for word in words)

    def admits(self, replica: str) -> bool:
        """Return whether a replica may be read."""
        site = site_of(replica)
        return not _match(site, self.block) and (not self.allow or _match(site, self.allow))

    def rank(self, replica: str) -> int:
        """Return the place of a replica's storage site among those that are preferred, from 0."""
        site = site_of(replica)
        return next((n for n, pattern in enumerate(self.prefer) if fnmatchcase(site, pattern)), len(self.prefer))


def site_of(replica: str) -> str:
    """Return the storage site of a replica: the host of its URL, or `LOCAL`."""
    return (urlsplit(replica).hostname or "").lower() if is_remote(replica) else LOCAL


def place(replicas: Sequence[str], rules: Iterable[Placement]) -> tuple[str, ...]:
    """Return the replicas that all rules admit, in the order in which they are read; the first rules count most."""
    every = tuple(rules)
    admitted = [replica for replica in replicas if all(rule.admits(replica) for rule in every)]
    return tuple(sorted(admitted, key=lambda replica: tuple(rule.rank(replica) for rule in every)))


def _match(site: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(site, pattern) for pattern in patterns)
