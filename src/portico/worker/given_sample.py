"""A sample as a step gets it: without its files."""

from __future__ import annotations

from typing import Any

from portico.analysis.dataset import Sample
from portico.errors import StepError

__all__ = ["GivenSample"]

_UNKNOWN = frozenset({"files", "replicas", "placed", "checksums", "reads", "replicas_of"})


class GivenSample(Sample):
    """A sample whose files cannot be asked for: they are not part of the key of a step's result."""

    def __getattribute__(self, name: str) -> Any:
        if name in _UNKNOWN and super().__getattribute__("entries") is None:
            own = super().__getattribute__("name")
            raise StepError(
                f"sample '{own}': a step does not know '{name}', since its results must not depend on where events "
                "lie; write what it needs into the sample's 'parameters'"
            )
        return super().__getattribute__(name)
