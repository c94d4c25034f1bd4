"""Handles of products that portico fills in its own loop, not in RDataFrame's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portico.results.product import Product

__all__ = ["OwnHandle", "Written", "has_own_loop"]


class OwnHandle(ABC):
    """A handle that a step returns like an RResultPtr."""

    @abstractmethod
    def GetValue(self) -> Any:  # noqa: N802 (as that of RResultPtr)
        """Run the loop, if it has not run, and return the result."""

    @abstractmethod
    def products(self, name: str) -> list[tuple[str, Product]]:
        """Return what `portico.results.root_objects.collect` returns for it."""


class Written:
    """The handle of a tree that portico writes itself.

    Parameters
    ----------
    filled : RResultPtr or OwnHandle
        What is filled in the same loop.
    """

    def __init__(self, filled: Any) -> None:
        self.filled = filled

    def GetValue(self) -> None:  # noqa: N802 (as that of RResultPtr)
        """Run the loop, if it has not run."""
        self.filled.GetValue()


def has_own_loop(handle: Any) -> bool:
    """Whether RDataFrame has nothing to do for a handle."""
    return isinstance(handle.filled if isinstance(handle, Written) else handle, OwnHandle)
