"""Correction files of schema version 2: their corrections, inputs and valid values, without ROOT."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from portico.config import parse_json
from portico.corrections.binning import bounded, dumped
from portico.errors import ConfigError, nearest
from portico.files.troubles import is_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Function", "Input", "content_of", "functions_in", "pick", "read_set"]

_GZIP = b"\x1f\x8b"
_LARGEST = 512 * 2**20  # bytes of a file when it is decompressed
_PROBLEMS = 3
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a correction, and its valid values.

    Parameters
    ----------
    name, kind, description : str
        As in the file; the kind is ``real``, ``int`` or ``string``.
    low, high : float, optional
        Ends of its bins, if it is binned; the outermost ones if the bins depend on another input.
    words : tuple
        Its categories, if it has any.
    """

    name: str
    kind: Literal["real", "int", "string"]
    description: str = ""
    low: float | None = None
    high: float | None = None
    words: tuple[str | int, ...] = ()

    @property
    def covers(self) -> str:
        """The valid values as text; empty if all values are valid."""
        if self.words:
            shown = ", ".join(str(word) for word in self.words[:_SHOWN])
            return shown + (f", ... ({len(self.words)})" if len(self.words) > _SHOWN else "")
        return "" if self.low is None or self.high is None else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class Function:
    """A correction or compound correction.

    Parameters
    ----------
    name, description : str
        As in the file.
    inputs : tuple of Input
        In order.
    compound : bool
        Whether it is a compound correction.
    flows : tuple of str
        Treatment of numbers outside bins in the file: ``error``, ``clamp``, ``wrap``, ``value``.
    parts : mapping
        The part of the file with the correction and its components.
    """

    name: str
    description: str
    inputs: tuple[Input, ...]
    compound: bool
    flows: tuple[str, ...]
    parts: Mapping[str, Any] = field(repr=False)

    def text(self, policy: Literal["refuse", "clamp"]) -> str:
        """Return a file with only this correction, in which ``policy`` applies outside all bins."""
        flow = {"refuse": "error", "clamp": "clamp"}[policy]
        corrections = [{**c, "data": bounded(c["data"], flow)} for c in self.parts["corrections"]]
        return dumped({**self.parts, "corrections": corrections})


def read_set(content: bytes, where: str) -> dict[str, Any]:
    """Read a file of corrections.

    Parameters
    ----------
    content : bytes
        Content of the file, compressed or not.
    where : str
        Name of the file for messages.

    Raises
    ------
    ConfigError
        If it is not JSON of schema version 2.
    """
    try:
        loaded = parse_json(_decompressed(content) if content.startswith(_GZIP) else content)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{where}: not a valid correctionlib file: {error}") from error
    version = loaded.get("schema_version") if isinstance(loaded, dict) else None
    if version != 2:
        found = "none" if version is None else repr(version)
        raise ConfigError(f"{where}: its 'schema_version' must be 2, found {found}; is it a correctionlib file?")
    return dict(loaded)


def _decompressed(content: bytes) -> bytes:
    with gzip.open(io.BytesIO(content)) as stream:
        text = stream.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"more than {_LARGEST // 2**20} MB when it is decompressed")
    return text


def functions_in(loaded: Mapping[str, Any], where: str) -> Iterator[Function]:
    """Yield every correction and compound correction of a file."""
    for name in _names(loaded):
        yield pick(loaded, name, where)


def pick(loaded: Mapping[str, Any], name: str, where: str) -> Function:
    """Return one correction of a file, without checking the others.

    Raises
    ------
    ConfigError
        If there is no correction of that name, or if it does not follow the schema.
    """
    from correctionlib import schemav2

    if name not in _names(loaded):
        raise ConfigError(f"{where}: has no correction '{name}'; {nearest(name, _names(loaded))}")
    compound = next((c for c in loaded.get("compound_corrections") or () if c.get("name") == name), None)
    if compound and any(c["name"] == name for c in loaded.get("corrections") or ()):
        raise ConfigError(f"{where}: a correction and a compound correction are both named '{name}'; rename one")
    stack: Sequence[str] = compound.get("stack", ()) if compound else (name,)
    chosen: dict[str, Any] = {
        "schema_version": 2,
        "corrections": [c for c in loaded.get("corrections") or () if c["name"] in stack],
    }
    if compound:
        chosen["compound_corrections"] = [compound]
    found = {c["name"] for c in chosen["corrections"]}
    if absent := [part for part in stack if part not in found]:
        raise ConfigError(f"{where}: correction '{name}' consists of '{absent[0]}', which is not in the file")
    try:
        # Validated and dumped again, because correctionlib's C++ refuses integers where the schema allows them.
        parts = schemav2.CorrectionSet.model_validate(chosen).model_dump(mode="json", exclude_none=True)
    except ValueError as error:
        why = _problems(error)
        raise ConfigError(f"{where}: correction '{name}' does not follow schema version 2: {why}") from error
    seen = _Coverage()
    for correction in parts["corrections"]:
        seen.visit(correction["data"])
    own = parts["compound_corrections"][0] if compound else parts["corrections"][0]
    inputs = tuple(seen.input(variable) for variable in own["inputs"])
    description = own.get("description", "")
    return Function(name, description, inputs, bool(compound), tuple(sorted(seen.flows)), parts)


def _names(loaded: Mapping[str, Any]) -> list[str]:
    groups: Sequence[Any] = [*(loaded.get("corrections") or ()), *(loaded.get("compound_corrections") or ())]
    return [str(c["name"]) for c in groups if isinstance(c, dict) and "name" in c]


def _problems(error: ValueError) -> str:
    """Reduce pydantic's errors, one per possible type of node, to one line."""
    problems: list[dict[str, Any]] = getattr(error, "errors", list)()
    if not problems:
        return " ".join(str(error).split())
    lines = [f"{'.'.join(str(part) for part in p['loc'])}: {p['msg']}" for p in problems[:_PROBLEMS]]
    return "; ".join(lines) + (f"; and {len(problems) - _PROBLEMS} more" if len(problems) > _PROBLEMS else "")


def _children(node: Mapping[str, Any]) -> list[Any]:
    kind = node["nodetype"]
    if kind in {"binning", "multibinning"}:
        return list(node["content"])
    if kind == "category":
        return [item["value"] for item in node["content"]]
    return [node["rule"], node["content"]] if kind == "transform" else []


class _Coverage:
    """The valid values of the inputs, collected from the nodes of a correction."""

    def __init__(self) -> None:
        self.ranges: dict[str, tuple[float, float]] = {}
        self.words: dict[str, set[str | int]] = {}
        self.flows: set[str] = set()

    def visit(self, node: Any, rewritten: frozenset[str] = frozenset()) -> None:
        """Add a node; inputs that a transform above it has rewritten are skipped, because users do not give them."""
        if not isinstance(node, dict):
            return
        kind = node["nodetype"]
        if kind in {"binning", "multibinning"}:
            self.flows.add(node["flow"] if isinstance(node["flow"], str) else "value")
            one = kind == "binning"
            names, axes = ([node["input"]], [node["edges"]]) if one else (node["inputs"], node["edges"])
            for name, edges in zip(names, axes, strict=True):
                if name not in rewritten:
                    self._widen(name, edges, wraps=node["flow"] == "wrap")
        elif kind == "category" and node["input"] not in rewritten:
            self.words.setdefault(node["input"], set()).update(item["key"] for item in node["content"])
        if kind == "transform":
            self.visit(node["rule"], rewritten)
            self.visit(node["content"], rewritten | {node["input"]})
            return
        for child in _children(node):
            self.visit(child, rewritten)

    def _widen(self, name: str, edges: Any, *, wraps: bool) -> None:
        low, high = (edges["low"], edges["high"]) if isinstance(edges, dict) else (float(edges[0]), float(edges[-1]))
        if wraps:
            low, high = -math.inf, math.inf
        before = self.ranges.get(name, (low, high))
        self.ranges[name] = (min(low, before[0]), max(high, before[1]))

    def input(self, variable: Mapping[str, Any]) -> Input:
        """Return one input with its valid values."""
        name = variable["name"]
        low, high = self.ranges.get(name, (None, None))
        words = tuple(sorted(self.words.get(name, ()), key=lambda word: (str(type(word)), word)))
        return Input(name, variable["type"], variable.get("description", ""), low, high, words)


def content_of(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    if not is_regular(path):
        raise ConfigError(f"{path}: is a pipe, a device or a folder, not a file")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
