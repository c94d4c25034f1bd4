"""The keys of a file as its model and the docstring of the model have them; needs nothing of Sphinx."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    Any: "anything",
    types.NoneType: "nothing",
}
_SCALARS = (bool, int, float, str)
"""Types of a number, a text, or true and false: a value."""
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "not empty"}
_HEAD = re.compile(r"^(\w+(?:, \w+)*)(?: : .+)?$")


class Field(NamedTuple):
    """A key."""

    name: str
    kind: str
    default: str
    meaning: str


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return the description of each key from the section ``Parameters`` of the docstring."""
    lines = inspect.cleandoc(model.__doc__ or "").splitlines()
    found: dict[str, list[str]] = {}
    names: list[str] = []
    if "Parameters" not in lines:
        return {}
    for line in lines[lines.index("Parameters") + 2 :]:
        if (head := _HEAD.match(line)) is not None and not line.startswith(" "):
            names = head[1].split(", ")
            found |= {name: [] for name in names}
        elif line.strip() and not line.startswith(" "):
            break
        for name in names if line.startswith(" ") else ():
            found[name].append(line.strip())
    return {name: " ".join(text) for name, text in found.items()}


def words(kind: Any) -> str:
    """Return what a type means to somebody who writes YAML."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind]
    if origin is Annotated:
        return words(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in {typing.Union, types.UnionType}:
        is_any = set(inner).issuperset(_SCALARS)
        texts = dict.fromkeys(
            "value" if is_any and part in _SCALARS else words(part) for part in inner if part is not types.NoneType
        )
        return " or ".join(texts)
    if origin in {list, tuple}:
        fixed = origin is tuple and inner[-1] is not Ellipsis
        return f"[{', '.join(words(part) for part in inner)}]" if fixed else f"list of {words(inner[0])}"
    if origin in {dict, Mapping}:
        to = words(inner[1])
        return {"anything": "mapping", "mapping": "mapping of mappings"}.get(to, f"mapping to {to}")
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#{kind.__name__.lower()})" if fields_of(kind) else kind.__name__
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(f"`{value.value}`" for value in kind)
    raise TypeError(f"no words for the type {kind!r}; add them to {__file__}")


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for bound in metadata:
        for attribute, text in _BOUNDS.items():
            value = getattr(bound, attribute, None)
            if value is not None:
                yield text if attribute == "min_length" else f"{text} {value:g}"


def fields_of(model: type[BaseModel], without: typing.Collection[str] = ()) -> list[Field]:
    """Return the keys of a model in their order."""
    described, found = meanings(model), []
    for name, info in model.model_fields.items():
        if name in without:
            continue
        if info.is_required():
            default = "required"
        else:
            value = info.get_default(call_default_factory=True)
            empty = value is None or value is PydanticUndefined or value in ({}, (), [], "", Path())
            empty = empty or isinstance(value, BaseModel)
            shown = str(value).lower() if isinstance(value, bool) else _yaml(value)
            default = "" if empty else f"default `{shown}`"
        kind = ", ".join([words(info.annotation), *_bounds(info.metadata)])
        found.append(Field(name, kind, default, described.get(name, "")))
    return found


def _yaml(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def named(text: str) -> Any:
    """Return what ``module:name`` names."""
    module, _, name = text.partition(":")
    return getattr(__import__(module, fromlist=[name]), name)


def markdown(model: type[BaseModel], without: typing.Collection[str] = ()) -> str:
    """Return the keys of a model as a list of definitions in MyST."""
    lines = []
    for field in fields_of(model, without):
        notes = "; ".join(part for part in (field.kind, field.default) if part)
        lines += [f"`{field.name}` ({notes})", f": {field.meaning}", ""]
    return "\n".join(lines)
