"""Frames, chains and parsers of options that a script makes, with their files and defaults."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from portico.config import parse_json
from portico.lint.values import UNKNOWN, Chain, Options, Parser, Source

__all__ = ["method", "other", "source_of"]

_NOT_FILES = {"FromCSV", "FromArrow", "FromNumpy", "FromPandas", "FromSqlite", "MakeTrivialDataFrame"}
_LARGEST_SPEC = 10_000_000  # bytes


def source_of(node: ast.Call, name: str, arguments: list[Any]) -> Source | None:
    """Return the source of the frame that a function of ROOT makes; None for another function."""
    source = Source(node.lineno, node)
    if name == "FromSpec":
        source.kind, source.spec = "spec", _spec(arguments[0] if arguments else UNKNOWN)
    elif name in _NOT_FILES:
        source.kind = "other"
    elif name != "RDataFrame":
        return None
    elif len(arguments) == 1 and isinstance(arguments[0], int):
        source.kind, source.entries = "entries", arguments[0]
    elif arguments and isinstance(arguments[0], Chain):
        source.tree, source.files = arguments[0].tree, _files(arguments[0].files)
    elif len(arguments) > 1:
        source.tree = arguments[0] if isinstance(arguments[0], str) else None
        source.files = _files(arguments[1].files if isinstance(arguments[1], Chain) else arguments[1])
    return source


def _files(value: Any) -> tuple[str, ...] | None:
    names = [value] if isinstance(value, str) else value
    known = isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names)
    return tuple(str(name) for name in names) if known else None


def _spec(path: Any) -> dict[str, Any] | None:
    """Return what the JSON file of a dataset specification holds."""
    if not isinstance(path, str):
        return None
    try:
        if Path(path).stat().st_size > _LARGEST_SPEC:
            return None
        content = parse_json(Path(path).read_bytes())
    except (OSError, ValueError):
        return None
    samples = content.get("samples") if isinstance(content, dict) else None
    return samples if isinstance(samples, dict) and all(isinstance(one, dict) for one in samples.values()) else None


def other(path: str, arguments: list[Any]) -> Any:
    """Return the chain, file or parser that a function makes; None for another function."""
    texts = [one if isinstance(one, str) else None for one in arguments]
    if path == "ROOT.TChain":
        return Chain(texts[0] if texts else None)
    if path in {"ROOT.TFile.Open", "ROOT.TFile"} and texts and texts[0] and len(texts) == 1:
        return Chain(None, [texts[0]])
    return Parser() if path == "argparse.ArgumentParser" else None


def method(value: Chain | Parser, name: str, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Return what a method of a chain or a parser gives."""
    if isinstance(value, Chain):
        return _of_chain(value, name, arguments)
    if name == "add_argument":
        names = [one for one in arguments if isinstance(one, str)]
        long = next((one for one in names if one.startswith("--")), names[0] if names else "")
        target = keywords.get("dest", long.lstrip("-").replace("-", "_"))
        default = {"store_true": False, "store_false": True}.get(str(keywords.get("action")))
        is_option = long.startswith("-")
        value.defaults[target] = keywords.get("default", default) if is_option else keywords.get("default", UNKNOWN)
        return UNKNOWN
    if name == "parse_args":
        return Options(value.defaults)
    if name == "parse_known_args":
        return (Options(value.defaults), UNKNOWN)
    return value if name in {"add_argument_group", "add_mutually_exclusive_group"} else UNKNOWN


def _of_chain(chain: Chain, name: str, arguments: list[Any]) -> Any:
    first = arguments[0] if arguments else UNKNOWN
    if name in {"Add", "AddFile", "AddFileInfoList"}:
        if isinstance(first, str) and chain.files is not None:
            chain.files.append(first)
        else:
            chain.files = None
    elif name == "AddFriend":
        chain.files = None
    elif name == "Get" and isinstance(first, str):
        return Chain(first, chain.files)
    return UNKNOWN
