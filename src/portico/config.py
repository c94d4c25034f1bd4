"""Reading YAML into frozen typed models, with errors that name file, key and the nearest valid key; reading JSON.

A file may come from a stranger: its size bounds what it costs to read it. YAML whose aliases would multiply it, and
integers with more digits than any number of an analysis, are refused.
"""

from __future__ import annotations

import copy
import json
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from portico.errors import ConfigError, near_path, nearest

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Model", "not_plain", "parse", "parse_json", "parse_size", "read_yaml"]

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kKMGTP]?B)?")


class Model(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, without the cached properties of the old ones."""
        copied = super().model_copy(update=update, deep=deep)
        for name in vars(copied).keys() - type(self).model_fields.keys():
            del vars(copied)[name]
        return copied


AnyModel = TypeVar("AnyModel", bound=Model)


_DEPTH = 100
_DIGITS = 300  # of an integer: a double has no larger ones
_REPEATED = 100_000  # values that aliases may add to a file

_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_EXPONENT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")

_TOO_LONG = f"an integer of {{:,}} digits, more than {_DIGITS}"


class _UniqueKeyLoader(yaml.SafeLoader):
    """The safe loader, which refuses a key written twice instead of taking the last, and what costs too much."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _check_aliases(node)
        return node

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803 (its name there)
        if self.flow_level >= _DEPTH:  # PyYAML takes the square of the depth in time
            raise yaml.scanner.ScannerError(None, None, f"more than {_DEPTH} brackets in each other", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def _number_or_time(self, node: yaml.ScalarNode) -> int | str:
        text = node.value
        if ":" in text:  # a time, which YAML 1.1 has as a number of base 60
            return str(text)
        what = _TOO_LONG.format(len(text)) if len(text) > _DIGITS else ""
        number = 0 if what else self.construct_yaml_int(node)
        if _OCTAL.fullmatch(text) and number != int(text):
            what = f"{text} is {number} in octal digits; write it without leading zeros, or in quotes if it is text"
        if what:
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return number

    def _fraction_or_time(self, node: yaml.ScalarNode) -> float | str:
        return str(node.value) if ":" in node.value else self.construct_yaml_float(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool)):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} cannot be a key", key_node.start_mark)
            if not isinstance(key, str) and str(key) != key_node.value:
                what = f"key '{key_node.value}' is read as {key}; write it in quotes"
                raise yaml.constructor.ConstructorError(None, None, what, key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' appears twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:int", _UniqueKeyLoader._number_or_time)
_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:float", _UniqueKeyLoader._fraction_or_time)
# As in YAML 1.2 and JSON; YAML 1.1 has 1e-3 and 1.5e3 as text.
_UniqueKeyLoader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def _check_aliases(root: yaml.Node) -> None:
    """Refuse a file whose aliases stand for many more values than it has, or for themselves."""
    sizes: dict[int, int] = {}  # with the aliases written out; 0 while it is being counted

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            if not sizes[id(node)]:
                raise yaml.constructor.ConstructorError(None, None, "an alias of what contains it", node.start_mark)
            return sizes[id(node)]
        sizes[id(node)] = 0
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        inner = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in pairs for part in pair]
        sizes[id(node)] = 1 + sum(map(size, inner))
        return sizes[id(node)]

    if size(root) > len(sizes) + _REPEATED:
        raise yaml.constructor.ConstructorError(
            None, None, f"its aliases stand for {size(root):,} values; write them out, or use fewer", root.start_mark
        )


@lru_cache(maxsize=32)
def _load(text: str) -> Any:
    """Return the content of a text, parsed once: a worker reads the same selection for every chunk."""
    return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 (a subclass of SafeLoader)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file with one mapping.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file{near_path(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        content = copy.deepcopy(_load(text))
    except (yaml.YAMLError, ValueError) as error:  # of a date that does not exist, for example
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid YAML: its lists or mappings are nested too deeply") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, found {type(content).__name__}")
    return content


def parse_json(content: str | bytes, *, unique: bool = False) -> Any:
    """Return what JSON of a user or a stranger holds.

    Parameters
    ----------
    content : str or bytes
    unique : bool
        Refuse a key that an object has twice; otherwise the last one counts.

    Raises
    ------
    ValueError
        If it is not JSON, nested too deeply, or has an integer of more than 300 digits.
    """
    try:
        return json.loads(content, parse_int=_integer, object_pairs_hook=_unique if unique else None)
    except RecursionError as error:
        raise ValueError("its lists or objects are nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key '{next(name for name in names if names.count(name) > 1)}' appears twice in an object")
    return found


def not_plain(value: object) -> str:
    """Return in words what of a value JSON would not keep as it is; empty if it would keep all of it."""
    inside: Iterable[object] = ()
    if isinstance(value, Mapping):
        if keys := [key for key in value if not isinstance(key, str)]:
            return f"the key {keys[0]!r} is not text; write it in quotes"
        inside = value.values()
    elif isinstance(value, (list, tuple)):
        inside = value
    elif value is not None and not isinstance(value, (str, int, float)):
        what = "valid: numbers, text, true, false, null, and lists and mappings of them"
        return f"{value!r} is a {type(value).__name__}; {what}"
    return next((odd for one in inside if (odd := not_plain(one))), "")


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(_TOO_LONG.format(len(digits.lstrip("-"))))
    return int(digits)


def parse(model: type[AnyModel], content: object, where: str) -> AnyModel:
    """Validate ``content`` as ``model``.

    Parameters
    ----------
    model : type
        A subclass of `Model`.
    content : object
        Content of a YAML or JSON file.
    where : str
        File (and key) that the content comes from, for messages.

    Raises
    ------
    ConfigError
        If a key is unknown or missing or a value is wrong; the message has one line per problem.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = _of_one_place([dict(problem) for problem in error.errors()], content)
        lines = [_explain(model, problem) for problem in problems if not _follows(problem, problems)]
        raise ConfigError(f"{where}: " + (f"\n{where}: ".join(lines))) from error


_EXPECTED: Final = {
    "tuple_type": "must be a list", "list_type": "must be a list", "string_type": "must be text",
    "dict_type": "must be a mapping", "mapping_type": "must be a mapping", "model_type": "must be a mapping",
}  # fmt: skip
"""Types in the words of YAML, where pydantic has those of Python."""


_SHOULD_BE: Final = "Input should be "


def _of_one_place(problems: list[dict[str, Any]], content: object) -> list[dict[str, Any]]:
    """Join the problems of a value that may have several types: pydantic has one for each, and names the type as a key.

    If one type fits but for something inside, this is the problem.
    """
    places = [_place(problem, content) for problem in problems]
    joined: dict[tuple[int | str, ...], list[dict[str, Any]]] = {}
    for place, problem in zip(places, problems, strict=True):
        has_types = len(place) < len(problem["loc"])
        if not (has_types and any(len(other) > len(place) and other[: len(place)] == place for other in places)):
            joined.setdefault(place, []).append({**problem, "loc": place})
    return [one if not others else {**one, "type": "", "msg": _any_of([one, *others])}
            for one, *others in joined.values()]  # fmt: skip


def _place(problem: Mapping[str, Any], content: object) -> tuple[int | str, ...]:
    """Return the keys and indices of a problem without the names of types."""
    location: tuple[int | str, ...] = problem["loc"]
    found: list[int | str] = []
    for number, part in enumerate(location, 1):
        if isinstance(content, Mapping):
            keys = {str(key): key for key in content}
            if str(part) not in keys and not (problem["type"] == "missing" and number == len(location)):
                continue
            content = content.get(keys.get(str(part)))
        elif isinstance(content, (list, tuple)):
            if not isinstance(part, int):
                continue
            content = content[part] if part < len(content) else None
        elif isinstance(content, (str, int, float)) or content is None:
            continue
        found.append(part)
    return tuple(found) or location


def _any_of(problems: Iterable[Mapping[str, Any]]) -> str:
    expected = (str(_EXPECTED.get(p["type"]) or p["msg"]).removeprefix(_SHOULD_BE) for p in problems)
    words = [*dict.fromkeys(text.removeprefix("must be ") for text in expected)]
    return "must be " + " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


_LITERAL: Final = {"literal_error", "enum"}
"""Values that are not among the valid words."""


def _follows(problem: Mapping[str, Any], problems: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a list is only too short because pydantic left out its elements that have problems of their own."""
    location = problem["loc"]
    deeper = (len(other["loc"]) > len(location) and other["loc"][: len(location)] == location for other in problems)
    return problem["type"] == "too_short" and any(deeper)


def _explain(model: type[BaseModel], problem: dict[str, Any]) -> str:
    location = problem["loc"]
    key = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        owner = _owner(model, location[:-1])
        valid = owner.model_fields if owner is not None else ()
        return f"unknown key '{key}'; {nearest(str(location[-1]), valid)}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    if problem["type"] in _LITERAL and isinstance(problem["input"], str):
        values = re.findall(r"'([^']*)'", str(problem["ctx"]["expected"]))
        return f"key '{key}': unknown value '{problem['input']}'; {nearest(problem['input'], values)}"
    message = _EXPECTED.get(problem["type"]) or str(problem["msg"]).removeprefix("Value error, ")
    return f"key '{key}': {message} (found {problem['input']!r})" if key else message


def _owner(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model in which the last part of ``location`` was looked up."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field is not None else None
        else:  # an element of a list, tuple or mapping of models
            current = next((a for a in typing.get_args(current) if _is_model(a)), None)
        if isinstance(current, types.UnionType):
            current = next((a for a in typing.get_args(current) if _is_model(a)), None)
    return current if _is_model(current) else None


def _is_model(candidate: object) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``20 GB`` or ``0``.

    Raises
    ------
    ConfigError
        If it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    size = float(match[1]) * _UNITS[(match[2] or "B").upper()] if match is not None else math.inf
    if not math.isfinite(size):
        raise ConfigError(f"'{text}' is not a size; valid: a number with kB, MB, GB, TB or PB, such as '20 GB'")
    return int(size)
