"""JSON Patches (RFC 6902) and patch sets of pyhf, which turn a published workspace into that of a signal.

A patch set names the workspace that it belongs to by digests, which are checked as pyhf checks them: against the
workspace before any patch.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from portico.errors import ConfigError, InputError, nearest_of_many
from portico.stats.histfactory import validated

__all__ = ["Patch", "applied", "is_patch", "is_patch_set", "other_digest", "patch_from", "same_values"]

_COPIED: Final = 1_000_000  # values that the operations of a patch may copy


@dataclass(frozen=True)
class Patch:
    """Operations on a workspace.

    Attributes
    ----------
    where : str
        For messages.
    operations : list of dict
    digests : mapping of str to str
        Of the workspace that it belongs to, by algorithm; empty for a JSON Patch alone.
    """

    where: str
    operations: list[dict[str, Any]]
    digests: Mapping[str, str] = field(default_factory=dict)


def is_patch(content: object) -> bool:
    """Whether JSON is a JSON Patch: a list of operations."""
    return isinstance(content, list) and all(isinstance(entry, dict) and "op" in entry for entry in content)


def is_patch_set(content: object) -> bool:
    """Whether JSON is a patch set of pyhf."""
    return isinstance(content, dict) and {"patches", "metadata"} <= content.keys()


def patch_from(content: Any, where: str, name: str) -> Patch:
    """Return a JSON Patch, or one of a patch set by its name.

    Parameters
    ----------
    content : object
        JSON of a JSON Patch or of a patch set.
    where : str
        The file, for messages.
    name : str
        Of the patch in a set; empty for a JSON Patch. The values of its labels, with commas, serve as well.

    Raises
    ------
    ConfigError
        If there is no such patch.
    InputError
        If the content is neither.
    """
    if isinstance(content, dict) and "patches" in content:
        return _of_set(content, where, name)
    if name:
        raise ConfigError(f"{where} is not a patch set: it has no patch '{name}'; leave the name out")
    if not isinstance(content, list):
        raise InputError(f"{where}: neither a JSON Patch (a list of operations) nor a patch set of pyhf")
    validated(content, "jsonpatch", where)
    return Patch(where, content)


def _check_values(content: Mapping[str, Any], known: Sequence[tuple[str, list[Any]]], where: str) -> None:
    """Refuse values of patches that do not fit the labels of the set, or that two patches have: pyhf does as well."""
    metadata = content.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    seen: dict[str, str] = {}
    for name, values in known:
        if isinstance(labels, list) and labels and len(labels) != len(values):
            named = ", ".join(map(str, labels))
            raise InputError(f"{where}: patch '{name}' has {len(values)} values, and the labels are {named}")
        if (other := seen.setdefault(json.dumps(values), name)) != name:
            raise InputError(f"{where}: patches '{other}' and '{name}' have the same values")


def _of_set(content: dict[str, Any], where: str, name: str) -> Patch:
    entries = content["patches"]
    try:
        known = [(str(entry["metadata"]["name"]), list(entry["metadata"]["values"])) for entry in entries]
    except (KeyError, TypeError) as error:
        validated(content, "patchset", where)  # says what is wrong
        raise InputError(f"{where}: 'patches' must be a list of patches with metadata: name and values") from error
    names = [of for of, _ in known]
    if len(set(names)) < len(names):
        raise InputError(f"{where}: two patches have the same name")
    _check_values(content, known, where)
    chosen = [at for at, of in enumerate(names) if of == name]
    chosen = chosen or [at for at, (_, values) in enumerate(known) if same_values(name, values)]
    if len(chosen) != 1:
        validated({**content, "patches": entries[:1]}, "patchset", where)
        what = f"no patch '{name}'" if name else f"this is a patch set; say which patch as {where}:NAME"
        raise ConfigError(f"{where}: {what}; {nearest_of_many(name, names, 'patches')}")
    patch = entries[chosen[0]]
    validated({**content, "patches": [patch]}, "patchset", where)  # of thousands, only what is used
    return Patch(f"{where}:{names[chosen[0]]}", patch["patch"], content["metadata"]["digests"])


def same_values(text: str, values: Sequence[Any]) -> bool:
    """Whether a text like ``300,150`` gives the values of labels."""
    given = text.split(",")
    return len(given) == len(values) and all(
        word.strip() == str(value) or _number(word) == _number(value) is not None
        for word, value in zip(given, values, strict=True)
    )


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def other_digest(content: Mapping[str, Any], digests: Mapping[str, str], where: str) -> str:
    """Return which digest of a workspace is not the one that a patch set has, with both; empty if all are.

    Raises
    ------
    InputError
        If an algorithm is unknown; names ``where``, the patch set.
    """
    from pyhf import utils

    for algorithm, digest in digests.items():
        try:
            actual = utils.digest(content, algorithm=algorithm)
        except ValueError as error:
            raise InputError(f"{where} has a digest of the unknown algorithm '{algorithm}'") from error
        if actual != digest:
            return f"the {algorithm} digest is {digest} there, and here {actual}"
    return ""


def applied(content: dict[str, Any], patches: Sequence[Patch], where: str) -> Any:
    """Return a workspace after patches, applied in their order; the digests are checked first.

    Raises
    ------
    InputError
        If a patch belongs to another workspace, or does not fit.
    """
    import jsonpatch
    import jsonpointer

    for patch in patches:
        file = patch.where.rpartition(":")[0]
        if different := other_digest(content, patch.digests, file):
            raise InputError(f"{file} belongs to another workspace than {where}: {different}")
    found: Any = content
    for patch in patches:
        try:
            found = _after(found, patch)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, KeyError, TypeError, IndexError) as e:
            reason = " ".join(str(e).split())[:200]
            raise InputError(f"{patch.where} does not fit {where}: {reason}; a patch is made for one workspace") from e
    return found


def _after(content: Any, patch: Patch) -> Any:
    """Return a workspace after a patch, which may not copy without end: a few lines can double what is there."""
    import jsonpatch
    import jsonpointer

    found, left = copy.deepcopy(content), _COPIED
    for operation in patch.operations:
        if operation["op"] == "copy":
            left -= _values(jsonpointer.resolve_pointer(found, operation["from"]))
            if left < 0:
                raise InputError(f"{patch.where} copies more than {_COPIED:,} values; write them out")
        found = jsonpatch.apply_patch(found, [operation], in_place=True)
    return found


def _values(content: Any) -> int:
    """Return of how many values JSON consists."""
    number, left = 0, [content]
    while left:
        number, value = number + 1, left.pop()
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return number
