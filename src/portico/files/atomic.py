"""Files that appear complete or not at all: written under another name, then renamed."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portico.errors import SpaceError

__all__ = ["write_atomic"]


@contextmanager
def write_atomic(path: Path) -> Iterator[Path]:
    """Give a path aside to write to; rename it to ``path`` when all went well, else remove it. Its folder is made.

    Raises
    ------
    SpaceError
        If the disk is full.
    """
    aside = path.with_name(f".{uuid.uuid4().hex}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        aside.replace(path)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise SpaceError(f"{path}: no space left; free space and run again, what is done is kept") from error
        raise
    finally:
        aside.unlink(missing_ok=True)
