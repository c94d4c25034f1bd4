"""Arrays that Python makes of what an event loop gave, as a product of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Late"]


class Late(Mapping[str, npt.NDArray[Any]]):
    """Arrays that are made when they are asked for, which is after the event loop.

    ``Late(frame.AsNumpy(["entry"]), make)`` is a product whose arrays are ``make(columns)``: chunks merge one after the
    other, as those of AsNumpy do.

    Parameters
    ----------
    result : AsNumpyResult
        What the loop gives.
    make : callable
        Gets its columns, a mapping of arrays, and returns a mapping of arrays: for every chunk of the same names.
    """

    def __init__(
        self, result: Any, make: Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]]
    ) -> None:
        self._result, self._make = result, make

    @cached_property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        columns = {name: np.asarray(values) for name, values in self._result.GetValue().items()}
        return dict(self._make(columns))

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)
