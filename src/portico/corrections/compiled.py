"""Corrections and look-ups as C++ functions, which each process compiles once."""

from __future__ import annotations

import ctypes
import hashlib
import json
from contextlib import suppress
from ctypes import POINTER, c_bool, c_char_p, c_double, c_size_t, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portico import root
from portico.corrections.model import Correction, Lookup
from portico.corrections.schema import content_of, pick, read_set
from portico.environment import ahead
from portico.errors import ConfigError, PorticoError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.corrections.schema import Function

__all__ = ["CALLS", "Registered", "declare", "prepare", "register"]

CALLS = "corrections_calls.h"
"""Defines the functions that Python calls."""

_TEXTS = POINTER(c_char_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "words": (c_char_p,),
    "register_correction": (c_bool, c_char_p, c_char_p, c_char_p, c_bool, c_char_p, _TEXTS, c_size_t, c_char_p),
    "register_table": (c_bool, c_char_p, c_void_p, c_void_p, c_void_p, c_size_t, c_char_p, c_bool, c_double),
}
_INPUTS = {"real": "portico::Real", "int": "portico::Integer", "string": "portico::Text"}
_TYPES = {"real": "a number", "int": "an integer", "string": "a string"}
_registered: dict[str, Registered] = {}
_tables: set[str] = set()


@dataclass(frozen=True, slots=True)
class Registered:
    """Functions whose content is known to C++.

    Parameters
    ----------
    namespace : str
        The C++ namespace of the functions. Its name is a digest of all content, so that a changed file gets another.
    text : str
        The C++ that defines them.
    """

    namespace: str
    text: str


def declare(functions: Mapping[str, Correction | Lookup], folder: Path) -> str:
    """Make functions callable from C++; return their namespace.

    Parameters and errors are those of `register`.
    """
    made = register(functions, folder)
    prepare()
    root.use("corrections.h")
    if not root.declare_text(made.text):
        raise PorticoError("corrections and lookups do not compile; the compiler's messages are above")
    return made.namespace


def register(functions: Mapping[str, Correction | Lookup], folder: Path) -> Registered:
    """Give the content of functions to C++.

    Inputs of type real and int take numbers, inputs of type string take string literals. Arguments outside the range
    of a correction, and events without an entry in a look-up, throw a C++ exception that names the function and its
    arguments.

    Parameters
    ----------
    functions : mapping of str to Correction or Lookup
        By the names under which expressions call them.
    folder : Path
        Base of their relative paths.

    Raises
    ------
    ConfigError
        If a file is missing or invalid, or if it has no correction of the given name.
    """
    contents = {name: content_of(folder / function.file) for name, function in functions.items()}
    keys = {name: _key(name, function, contents[name]) for name, function in functions.items()}
    joined = "".join(f"{name}={key};" for name, key in keys.items())
    namespace = "portico_functions_" + hashlib.sha256(joined.encode()).hexdigest()[:16]
    if namespace not in _registered:
        parts = []
        for name, function in functions.items():
            path = folder / function.file
            if isinstance(function, Correction):
                parts.append(_register_correction(name, function, path, contents[name], keys[name]))
            else:
                parts.append(_register_lookup(name, function, path, contents[name], keys[name]))
        _registered[namespace] = Registered(namespace, f"namespace {namespace} {{\n{''.join(parts)}}}")
    return _registered[namespace]


def _key(name: str, function: Correction | Lookup, content: bytes) -> str:
    digest = hashlib.sha256(json.dumps([name, type(function).__name__, function.model_dump()]).encode())
    digest.update(content)
    return digest.hexdigest()


@cache
def prepare() -> None:
    """Let cling find correctionlib."""
    import correctionlib
    import ROOT  # noqa: F401 (must be loaded before correctionlib imports it)

    correctionlib.register_pyroot_binding()


@cache
def _calls() -> dict[str, Any]:
    import correctionlib

    library = Path(correctionlib.__file__).parent / "lib" / "libcorrectionlib.so"
    with suppress(OSError):  # elsewhere `prepare` knows where it is
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    return ahead.functions(CALLS, _SIGNATURES, prepare)


def _call(name: str, *arguments: Any) -> str:
    """Call a function of C++; return why it failed, or nothing."""
    return "" if _calls()[name](*arguments) else _calls()["words"]().decode(errors="replace")


def _register_correction(name: str, correction: Correction, path: Path, content: bytes, key: str) -> str:
    where = f"corrections.{name}: {path}"
    function = pick(read_set(content, where), correction.name or name, where)
    title = f"correction '{name}' ({correction.file})"
    inputs, covers = [put.name for put in function.inputs], _covers(function, correction)
    text = function.text(correction.range)
    texts = (c_char_p * len(inputs))(*map(str.encode, inputs))
    given = [part.encode() for part in (key, text, function.name, title, covers)]
    if why := _call("register_correction", *given[:3], function.compound, given[3], texts, len(inputs), given[4]):
        raise ConfigError(f"{where}: correctionlib refuses the correction: {' '.join(why.split())}")
    takes = ", ".join(f"{put.name} ({_TYPES[put.kind]})" for put in function.inputs)
    message = f"{title} takes {len(inputs)} argument{'' if len(inputs) == 1 else 's'}: {takes}"
    signature = f"portico::Signature<{', '.join(_INPUTS[put.kind] for put in function.inputs)}>"
    body = (
        f"thread_local std::vector<portico::Value> values = {signature}::start();\n"
        f"return portico_registered::{name}.evaluate<{signature}>(values, arguments...);"
    )
    return _function(name, "corrections", key, f"{signature}::takes<std::decay_t<Arguments>...>()", message, body)


def _register_lookup(name: str, lookup: Lookup, path: Path, content: bytes, key: str) -> str:
    from portico.corrections.table import read_table

    title = f"lookup '{name}' ({lookup.file})"
    if key not in _tables:
        table = read_table(lookup, path, content, f"lookups.{name}: {path}")
        addresses = [array.ctypes.data for array in (table.block, table.event, table.value)]
        missing = 0.0 if lookup.missing == "refuse" else lookup.missing
        given = [*addresses, len(table.value), title.encode(), lookup.missing == "refuse", missing]
        if why := _call("register_table", key.encode(), *given):
            raise ConfigError(f"lookups.{name}: {path}: {why}")
        _tables.add(key)
    message = f"{title} takes 3 arguments: {', '.join(lookup.key)} (numbers of run, luminosity block and event)"
    body = f"return portico_registered::{name}.find(arguments...);"
    return _function(name, "tables", key, "portico::are_keys<Arguments...>", message, body)


def _function(name: str, registry: str, key: str, fits: str, message: str, body: str) -> str:
    """Return a function whose calls with other arguments fail to compile with a message."""
    registered = f"inline const auto &{name} = portico::{registry}().at({_quoted(key)});"
    return (
        f"namespace portico_registered {{ {registered} }}\n"
        f"template <typename... Arguments> double {name}(const Arguments &...arguments) {{\n"
        f"constexpr bool fits = {fits};\n"
        f"static_assert(fits, {_quoted(message)});\n"
        f"if constexpr (fits) {{\n{body}\n}} else {{\nthrow std::invalid_argument({_quoted(message)});\n}}\n}}\n"
    )


def _covers(function: Function, correction: Correction) -> str:
    """Return the part of a message that lists the valid values."""
    limited = [put for put in function.inputs if put.covers]
    parts = [f"{put.name} {'of' if put.words else 'from'} {put.covers}" for put in limited]
    text = f"; it covers {', '.join(parts)}" if parts else ""
    if function.flows and correction.range == "refuse":
        text += "; with 'range: clamp' numbers outside all bins get the value of the nearest bin"
    return text


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
