"""Data of a page: JSON, compressed and as text, which the page unpacks when it is needed."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Parts", "pack", "picture"]

_PART = 400_000
_WIDTH = 1500


def pack(value: Any) -> str:
    """Return JSON compressed with gzip, in base64; the same value gives the same text."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode("ascii")


def picture(path: Path) -> str:
    """Return a picture as an address that an image can have, as WebP without losses, which takes a third of the space.

    Transparent parts become white. What is not a picture, or one of an absurd size, has no address: the text is empty.
    """
    from PIL import Image

    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.thumbnail((_WIDTH, 4 * _WIDTH))
            paper = Image.new("RGBA", image.size, "white")
            paper.alpha_composite(image.convert("RGBA"))
        paper.convert("RGB").save(buffer, "WEBP", lossless=True, method=4)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@dataclass(slots=True)
class Parts:
    """Packed parts, with a limit to their size together.

    Parameters
    ----------
    limit : int
        Characters of all texts.
    texts : list of str
        What is packed.
    """

    limit: int
    texts: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Characters so far."""
        return sum(map(len, self.texts))

    def add(self, values: Iterable[Any]) -> list[tuple[int, int]]:
        """Pack values in order, several to a part; return part and place of each until the limit is reached."""
        places: list[tuple[int, int]] = []
        waiting: list[Any] = []
        length = 0
        for value in values:
            waiting.append(value)
            length += len(json.dumps(value))
            if length >= _PART:
                if not self._put(waiting, places):
                    return places
                waiting, length = [], 0
        self._put(waiting, places)
        return places

    def _put(self, values: list[Any], places: list[tuple[int, int]]) -> bool:
        text = pack(values) if values else ""
        if not text or self.size + len(text) > self.limit:
            return False
        places += [(len(self.texts), i) for i in range(len(values))]
        self.texts.append(text)
        return True
