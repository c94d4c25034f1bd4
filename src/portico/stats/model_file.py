"""Reading of models from JSON: pyhf workspaces with their patches, and the models of this package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from portico.analysis.blinding import open_bins
from portico.config import parse, parse_json
from portico.errors import ConfigError, InputError, nearest
from portico.stats.histfactory import check_workspace, choose_measurement, left_observations, validated
from portico.stats.model import Model
from portico.stats.shapes import Shape, Template
from portico.stats.workspace import Workspace

__all__ = ["read_model"]

_VALID: Final = (
    "valid: a pyhf workspace (keys channels, observations, measurements, version) or a model of portico "
    "(keys channels, parameters, poi)"
)
_NAMES_SHOWN: Final = 12  # names of patches in a message; a set may have thousands


def read_model(path: Path, patches: Sequence[Path] = (), measurement: str = "") -> Model | Workspace:
    """Read a statistical model, apply patches, and check it.

    Parameters
    ----------
    path : Path
        A JSON file: a workspace of pyhf, or a model of portico.
    patches : sequence of Path
        JSON Patch files (RFC 6902), or ``FILE:NAME`` for a patch of a patch set of pyhf; applied in this order.
    measurement : str
        Which of the workspace; the first one by default.

    Raises
    ------
    ConfigError
        If a file, a patch or a measurement does not exist, or a key of a portico model is wrong.
    InputError
        If the content is of another kind or inconsistent, or a patch does not fit.
    """
    path = Path(path)
    content = _mapping(_json(path), path)
    for patch in patches:
        content = _mapping(_patched(content, path, Path(patch)), path)
    where = str(path) if not patches else f"{path} with {', '.join(str(patch) for patch in patches)}"
    if not _is_workspace(content):
        if measurement:
            raise ConfigError(f"{path}: a model of portico has no measurements; leave out '{measurement}'")
        model = parse(Model, content, where)
        _check_impossible(model, where)
        return model
    check_workspace(content, where)
    name, poi, parameters = choose_measurement(content, measurement, where)
    workspace = Workspace(where, content, name, poi, tuple(parameters), tuple(left_observations(content)))
    workspace.model  # noqa: B018 (made here, so that what pyhf finds wrong is found here)
    return workspace


def _is_workspace(content: Mapping[str, Any]) -> bool:
    """Tell a workspace of pyhf (True) from a model of portico (False)."""
    channels = content.get("channels")
    first = channels[0] if isinstance(channels, list) and channels and isinstance(channels[0], dict) else {}
    return not ("components" in first or "poi" in content)


def _check_impossible(model: Model, where: str) -> None:
    """Refuse data in bins where only templates are, and those of the background are empty."""
    for channel in model.channels:
        background = [k for k in channel.components if k.strength != model.poi]
        shapes = [shape for k in background if k.events > 0 or k.strength for shape in k.shapes]
        seen = open_bins(np.array(channel.edges), channel.blind)
        for index, count in enumerate(channel.counts or ()):
            if count > 0 and seen[index] and not any(_may_expect(shape, index) for shape in shapes):
                raise InputError(
                    f"{where}: channel '{channel.name}', bin {index + 1}: {count:g} observed where no background is "
                    "expected, which is impossible without signal; merge the bin with its neighbour, or give it a "
                    "background"
                )


def _may_expect(shape: Shape, index: int) -> bool:
    if not isinstance(shape, Template):
        return True
    return shape.bins[index] > 0 or any(down[index] > 0 or up[index] > 0 for down, up in shape.changes.values())


def _json(path: Path) -> Any:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return parse_json(raw, unique=True)
    except ValueError as error:
        if "appears twice" in str(error):
            raise InputError(f"{path}: {error}; only one of them can be meant") from error
        looks = _looks_like(raw)
        at = f", line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else f": {error}"
        raise InputError(f"{path}: not JSON{looks or at}; {_VALID}") from error


def _looks_like(raw: bytes) -> str:
    """Say what a file that is not JSON looks like."""
    head = raw[:20000].decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    words = {line.split()[0] for line in head.splitlines() if line.split()}
    if raw[:4] == b"root":
        return ": it looks like a ROOT file; pyhf xml2json converts the XML that HistFactory makes it from"
    if {"imax", "jmax", "kmax"} & words:
        return ": it looks like a datacard of CMS Combine, which has another grammar"
    if head.startswith(("<!DOCTYPE Combination", "<Combination")) or "HistFactorySchema" in head[:2000]:
        return ": it looks like HistFactory XML; convert it with pyhf xml2json"
    return ": it is empty" if not head else ""


def _mapping(content: object, path: Path) -> dict[str, Any]:
    """Return the content if it may be a model; say what else it is."""
    if isinstance(content, dict):
        foreign = _foreign(content)
        if not foreign:
            return content
        raise InputError(f"{path}: {foreign}; {_VALID}")
    if isinstance(content, list) and content and all(isinstance(entry, dict) and "op" in entry for entry in content):
        raise InputError(f"{path}: this is a JSON Patch; give the workspace it belongs to, and this as --patch {path}")
    raise InputError(f"{path}: expected an object with keys, found {type(content).__name__}; {_VALID}")


def _foreign(content: Mapping[str, Any]) -> str:
    keys = content.keys()
    channels = content.get("channels")
    first = channels[0] if isinstance(channels, list) and channels and isinstance(channels[0], dict) else {}
    if {"distributions", "domains"} & keys or "hs3_version" in str(content.get("metadata")):
        return "this looks like HS3 (the JSON of RooFit), which pyhf does not read"
    if {"patches", "metadata"} <= keys:
        return "this is a patch set of pyhf; give the workspace it belongs to, and this as --patch FILE:NAME"
    if "schema_version" in keys and "corrections" in keys:
        return "this looks like corrections of correctionlib"
    if "independent_variables" in keys or "dependent_variables" in keys:
        return "this looks like a table of HEPData; it often links to a workspace"
    if "samples" in first and not {"observations", "measurements"} & keys:
        return "this is a model of pyhf without data; make a workspace of it with pyhf.Workspace.build(model, data)"
    if "channels" not in keys:
        return f"no statistical model is known with the keys {', '.join(sorted(map(str, keys))[:8]) or '(none)'}"
    return ""


def _patched(content: dict[str, Any], path: Path, patch: Path) -> Any:
    import jsonpatch
    import jsonpointer

    operations = _operations(content, path, patch)
    try:
        return jsonpatch.apply_patch(content, operations)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, KeyError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{patch} does not fit {path}: {reason}; a patch is made for one workspace") from error


def _operations(content: dict[str, Any], path: Path, patch: Path) -> Any:
    """Return the operations of a JSON Patch, or of one patch of a set after its digests are checked."""
    file, name = _split(patch)
    found = _json(file) if file.exists() else _json(patch)
    if isinstance(found, dict) and "patches" in found:
        return _of_set(found, content, path, file, name)
    if name:
        raise ConfigError(f"{file} is not a patch set: it has no patch '{name}'; leave the name out")
    if not isinstance(found, list):
        raise InputError(f"{file}: neither a JSON Patch (a list of operations) nor a patch set of pyhf")
    validated(found, "jsonpatch", str(file))
    return found


def _split(patch: Path) -> tuple[Path, str]:
    """Split ``FILE:NAME`` at the first colon before which there is a file."""
    text = str(patch)
    if patch.exists():
        return patch, ""
    for at in (i for i, character in enumerate(text) if character == ":"):
        if Path(text[:at]).is_file():
            return Path(text[:at]), text[at + 1 :]
    file, colon, name = text.rpartition(":")
    return (Path(file), name) if colon else (patch, "")


def _of_set(found: dict[str, Any], content: dict[str, Any], path: Path, file: Path, name: str) -> Any:
    from pyhf import utils

    validated(found, "patchset", str(file))
    patches = {patch["metadata"]["name"]: patch["patch"] for patch in found["patches"]}
    if len(patches) < len(found["patches"]):
        raise InputError(f"{file}: two patches have the same name")
    if name not in patches:
        names = list(patches)
        shown = nearest(name, names) if len(names) <= _NAMES_SHOWN else _some(name, names)
        what = f"no patch '{name}'" if name else f"this is a patch set; say which patch as {file}:NAME"
        raise ConfigError(f"{file}: {what}; {shown}")
    for algorithm, digest in found["metadata"]["digests"].items():
        actual = utils.digest(content, algorithm=algorithm)
        if actual != digest:
            raise InputError(
                f"{file} belongs to another workspace than {path}: the {algorithm} digest is {digest} there, and here "
                f"{actual}"
            )
    return patches[name]


def _some(name: str, names: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, names, n=_NAMES_SHOWN, cutoff=0.3) or names[:_NAMES_SHOWN]
    return f"{len(names)} patches, among them: {', '.join(close)}"
