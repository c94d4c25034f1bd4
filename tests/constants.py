"""The constants of ``hnl/include/constants.h``, by name: a number, or one for each layer or trigger path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hnl

HEADER = (Path(hnl.__file__).parent / "include" / "constants.h").read_text(encoding="utf-8")


def value_of(text: str) -> Any:
    """Read a C++ number or list of numbers."""
    values = tuple(float(word) for word in text.strip("{}").split(","))
    return values if text.startswith("{") else values[0]


CONSTANTS = {
    name: value_of(text) for name, text in re.findall(r"constexpr (?:double|int) (\w+)(?:\[\w+\])? = ([^;]+);", HEADER)
}
