"""Credentials: X.509 proxies and bearer tokens, found where the field's tools put them, installed on workers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Credentials", "install"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a worker needs to read and write on behalf of the user. Its ``repr`` shows nothing of it.

    Parameters
    ----------
    files : mapping of str to bytes
        ``proxy``: an X.509 proxy in PEM; ``token``: a bearer token.
    """

    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        """A digest of the content; empty if there is none."""
        return hashlib.sha256(b"\0".join(self.files.values())).hexdigest() if self.files else ""


def install(files: Mapping[str, bytes], folder: Path) -> None:
    """Write credentials into a folder, readable to the user alone, and point this process' environment at them."""
    raise NotImplementedError(folder)
