"""Published likelihoods: archives with workspaces, patch sets, patches and datacards, listed and chosen by name.

An archive is read once to list it, and again for what is chosen; see `portico.stats.archive`. A patch set belongs to
the workspace that has its digests, as in pyhf. Names may be shortened while they are unambiguous: ``BkgOnly.json``,
``RegionA`` for what is in that folder, or the name of a patch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from portico.config import parse_json
from portico.errors import ConfigError, InputError, nearest_of_many
from portico.runfolder.manifest import MANIFEST
from portico.stats.archive import members
from portico.stats.exports.card import is_card, parse_card
from portico.stats.exports.card_content import Card
from portico.stats.exports.card_workspace import POI
from portico.stats.patches import Patch, is_patch, is_patch_set, patch_from, same_values

__all__ = ["Listing", "PatchSet", "Published", "PublishedModel", "describe", "listing_of"]

_TRIED: Final = 4  # patches that a message names
_CARD: Final = "Combine"
_CARDS: Final = re.compile(r"(?i)card.*\.(txt|dat|card)$|\.card$")  # names of datacards
_HEAD: Final = 65536  # bytes that tell whether one is
_SPACE: Final = b" \t\r\n\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A statistical model in an archive.

    Attributes
    ----------
    name : str
        Its place in the archive.
    format : {"pyhf", "HS3", "portico", "Combine"}
    channels : tuple of str
    measurements : tuple of (str, str)
        Names, each with its parameter of interest.
    signal : bool
        Whether a parameter of interest multiplies anything; if not, a patch has to add the signal.
    """

    name: str
    format: str
    channels: tuple[str, ...]
    measurements: tuple[tuple[str, str], ...]
    signal: bool


@dataclass(frozen=True, slots=True)
class PatchSet:
    """A patch set of pyhf.

    Attributes
    ----------
    name : str
    workspace : str
        The workspace with its digests; empty if it is not in the archive.
    labels : tuple of str
        What the values of each patch are.
    patches : tuple of (str, tuple)
        Name and values of each.
    """

    name: str
    workspace: str
    labels: tuple[str, ...]
    patches: tuple[tuple[str, tuple[Any, ...]], ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Content of an archive: models, patch sets, JSON Patches by name, and other JSON with what is known of it."""

    models: tuple[PublishedModel, ...]
    patch_sets: tuple[PatchSet, ...]
    patches: tuple[str, ...]
    others: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "workspaces": [
                {**asdict(model), "measurements": [{"name": name, "poi": poi} for name, poi in model.measurements]}
                for model in self.models
            ],
            "patch_sets": [
                {
                    "name": of.name, "workspace": of.workspace or None, "labels": list(of.labels),
                    "patches": [{"name": name, "values": list(values)} for name, values in of.patches],
                }
                for of in self.patch_sets
            ],
            "patches": list(self.patches),
            "others": [{"name": name, "what": what} for name, what in self.others],
        }  # fmt: skip


def describe(name: str, content: object) -> PublishedModel | None:
    """Return what a model in JSON, or a datacard, has; None if it is not a model."""
    if isinstance(content, Card):
        return PublishedModel(name, _CARD, tuple(content.bins), (("datacard", POI),), signal=True)
    if not isinstance(content, dict):
        return None
    channels = _dicts(content.get("channels"))
    names = tuple(str(channel.get("name")) for channel in channels)
    if "distributions" in content:
        of = tuple(str(entry.get("name")) for entry in _dicts(content["distributions"]))
        analyses = _dicts(content.get("analyses"))
        pois = (", ".join(map(str, _list(entry.get("parameters_of_interest")))) for entry in analyses)
        found = tuple(zip((str(entry.get("name")) for entry in analyses), pois, strict=True))
        return PublishedModel(name, "HS3", of, found, signal=True)
    if not channels:
        return None
    if "components" in channels[0] or "poi" in content:
        return PublishedModel(name, "portico", names, (("", str(content.get("poi", "mu"))),), signal=True)
    measurements = tuple(
        (str(entry.get("name")), str(_dict(entry.get("config")).get("poi") or ""))
        for entry in _dicts(content.get("measurements"))
    )
    if not measurements:
        return None
    modifiers = (m for c in channels for s in _dicts(c.get("samples")) for m in _dicts(s.get("modifiers")))
    factors = {str(modifier.get("name")) for modifier in modifiers if modifier.get("type") == "normfactor"}
    return PublishedModel(name, "pyhf", names, measurements, any(poi in factors for _, poi in measurements))


def _list(entries: object) -> list[Any]:
    return entries if isinstance(entries, list) else []


def _dict(entry: object) -> dict[str, Any]:
    return entry if isinstance(entry, dict) else {}


def _dicts(entries: object) -> list[dict[str, Any]]:
    return [entry for entry in _list(entries) if isinstance(entry, dict)]


def listing_of(contents: Iterable[tuple[str, object]]) -> Listing:
    """Return the listing of JSON by its name; an exception instead of content says why there is none."""
    models, sets, patches, others = [], [], [], []
    digests: dict[str, dict[str, str]] = {}
    for name, content in contents:
        if isinstance(content, Exception):
            others.append((name, str(content)))
        elif isinstance(content, list) and content and is_patch(content):
            patches.append(name)
        elif isinstance(content, dict) and is_patch_set(content):
            sets.append((name, content["metadata"], _dicts(content["patches"])))
        elif (model := describe(name, content)) is not None:
            models.append(model)
            digests[name] = _digests(content) if isinstance(content, dict) else {}
        else:
            keys = ", ".join(sorted(map(str, content))[:8]) if isinstance(content, dict) else ""
            others.append((name, f"no model: keys {keys}" if keys else f"no model: {type(content).__name__}"))
    return Listing(tuple(models), tuple(_patch_set(*of, digests) for of in sets), tuple(patches), tuple(others))


def _parsed(raw: bytes) -> Any:
    try:
        return parse_card(raw, "datacard") if is_card(raw[:_HEAD]) else parse_json(raw)
    except InputError as error:
        return error
    except ValueError as error:
        return ValueError(f"not JSON: {error}")


class Published:
    """An archive, a compressed file or a folder with likelihoods.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def listing(self) -> Listing:
        """What is in it.

        Raises
        ------
        InputError
            If the archive cannot be read, holds no JSON, or two files of one name.
        """
        found = listing_of((name, _parsed(raw)) for name, raw in self._members())
        if found == Listing((), (), (), ()):
            raise InputError(f"{self.path}: no JSON and no datacard is in it, so that there is no workspace")
        return found

    def is_card(self, name: str) -> bool:
        """Whether a model is a datacard."""
        return any(model.name == name and model.format == _CARD for model in self.listing.models)

    def unpack_card(self, name: str, folder: Path) -> Path:
        """Write a datacard and all ROOT files to a folder, where the card finds them as in the archive.

        Returns
        -------
        Path
            The card.
        """
        for of, raw in members(self.path, lambda of, head: of == name or head[:4] == b"root"):
            path = folder / of
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)
        return folder / name

    def _members(self) -> Iterator[tuple[str, bytes]]:
        seen = set[str]()
        for name, raw in members(self.path, _may_be_model):
            if name in seen:
                raise InputError(f"{self.path}: two files in it are called '{name}'; unpack it, and give one of them")
            seen.add(name)
            yield name, raw

    def content(self, name: str) -> Any:
        """Return the JSON of a member.

        Raises
        ------
        InputError
            If it has a key twice, or is not JSON.
        """
        raw = next(raw for of, raw in members(self.path, lambda of, _: of == name) if of == name)
        try:
            return parse_json(raw, unique=True)
        except ValueError as error:
            raise InputError(f"{self.path}: {name}: {error}") from error

    def choose(self, workspace: str, patches: Sequence[str]) -> tuple[str, list[Patch]]:
        """Return the name of a model, and patches for it.

        Parameters
        ----------
        workspace : str
            Name of a model; empty if there is one, or the patches say which.
        patches : sequence of str
            Names of patches, each as ``NAME``, or ``SET:NAME`` where several sets have it.

        Raises
        ------
        ConfigError
            If nothing, or more than one, has such a name.
        """
        listing = self.listing
        names = [model.name for model in listing.models]
        chosen = self._one(workspace, names, "workspaces", "--workspace") if workspace else ""
        if not names and (self.path / MANIFEST).is_file():
            raise InputError(
                f"{self.path}: is a run folder in which no step saved a statistical model; a summary step saves one by "
                "returning its text under a name with a suffix, for example {'model.json': json.dumps(workspace)}"
            )
        if not names:
            raise InputError(f"{self.path}: no workspace is in it; {self._content()}")
        found = [self._candidates(text) for text in patches]
        if not chosen and len(names) == 1:
            chosen = names[0]
        if not chosen:
            chosen = self._by_patches(found)
        if not chosen:
            raise ConfigError(
                f"{self.path} has several workspaces: choose one with --workspace NAME; "
                f"{nearest_of_many('', names, 'workspaces')}"
            )
        taken = [self._patch(text, of, chosen) for text, of in zip(patches, found, strict=True)]
        model = next(model for model in listing.models if model.name == chosen)
        if not model.signal and not taken and (hints := self._signals(chosen)):
            raise ConfigError(
                f"{self.path}: {chosen} has no signal, which a patch adds: choose one with --patch NAME, for example "
                f"{', '.join(hints[:_TRIED])}; portico limit {self.path} --list shows {len(hints)}"
            )
        return chosen, taken

    def only_patch(self, name: str) -> Patch:
        """Return a patch for a workspace outside of this archive; the name is empty if there is one patch only."""
        found = self._candidates(name) if name else [(of, "") for of in self.listing.patches]
        if not name and (len(found) != 1 or self.listing.patch_sets):
            raise ConfigError(f"{self.path}: say which patch as {self.path}:NAME; {self._names_of_patches('')}")
        return self._patch(name, found, "")

    def _content(self) -> str:
        listing = self.listing
        parts = {"patch sets": [of.name for of in listing.patch_sets], "patches": list(listing.patches)}
        parts["other JSON"] = [f"{name} ({what})" for name, what in listing.others]
        return "; ".join(f"{what}: {', '.join(of[:_TRIED])}" for what, of in parts.items() if of)

    def _one(self, name: str, names: Sequence[str], what: str, option: str) -> str:
        found = _matching(name, names)
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"{self.path}: {option} {name} may be any of {', '.join(found)}; give more of the name")
        raise ConfigError(f"{self.path}: no '{name}' is in it; {nearest_of_many(name, names, what)}")

    def _candidates(self, text: str) -> list[tuple[str, str]]:
        """Return the places of patches with a name: (member, name in a set)."""
        listing = self.listing
        found = [(of.name, name) for of in listing.patch_sets for name, _ in of.patches if name == text]
        found = found or [(name, "") for name in _matching(text, listing.patches)]
        if not found and ":" in text:
            member, _, name = text.rpartition(":")
            inside = {of.name: of for of in listing.patch_sets}
            for at in _matching(member, list(inside)):
                found += [(at, of) for of, values in inside[at].patches if of == name or same_values(name, values)]
        found = found or [
            (of.name, name) for of in listing.patch_sets for name, values in of.patches if same_values(text, values)
        ]
        if not found:
            raise ConfigError(f"{self.path}: no patch '{text}'; {self._names_of_patches(text)}")
        return found

    def _names_of_patches(self, near: str) -> str:
        names = [name for of in self.listing.patch_sets for name, _ in of.patches]
        return nearest_of_many(near, [*dict.fromkeys(names), *self.listing.patches], "patches")

    def _workspace_of(self, member: str) -> str:
        """Return the workspace that a patch is for: that of its set, or the only one in its folder."""
        for of in self.listing.patch_sets:
            if of.name == member:
                return of.workspace
        folder = PurePosixPath(member).parent
        beside = [model.name for model in self.listing.models if PurePosixPath(model.name).parent == folder]
        return beside[0] if len(beside) == 1 else ""

    def _by_patches(self, found: Iterable[list[tuple[str, str]]]) -> str:
        workspaces = {self._workspace_of(member) for of in found for member, _ in of} - {""}
        return workspaces.pop() if len(workspaces) == 1 else ""

    def _patch(self, text: str, found: list[tuple[str, str]], workspace: str) -> Patch:
        if len(found) > 1 and workspace:
            found = [of for of in found if self._workspace_of(of[0]) == workspace] or found
        if len(found) > 1:
            places = ", ".join(f"{member}:{name}" if name else member for member, name in found)
            raise ConfigError(f"{self.path}: patch '{text}' may be any of {places}; give more of the name")
        member, name = found[0]
        return patch_from(self.content(member), f"{self.path}: {member}", name)

    def _signals(self, workspace: str) -> list[str]:
        sets = [of for of in self.listing.patch_sets if of.workspace == workspace] or self.listing.patch_sets
        return [name for of in sets for name, _ in of.patches] or list(self.listing.patches)


def _may_be_model(name: str, head: bytes) -> bool:
    """Tell JSON and datacards, whose first lines may be titles."""
    return head.lstrip(_SPACE)[:1] in {b"{", b"["} or is_card(head) or (_CARDS.search(name) is not None and _text(head))


def _text(head: bytes) -> bool:
    return b"\0" not in head and head.lstrip(_SPACE)[:1] != b"<"


def _digests(content: object) -> dict[str, str]:
    from pyhf import utils

    return {algorithm: utils.digest(content, algorithm=algorithm) for algorithm in ("sha256", "md5")}


def _patch_set(
    name: str, metadata: Any, patches: list[dict[str, Any]], known: Mapping[str, Mapping[str, str]]
) -> PatchSet:
    metadata = metadata if isinstance(metadata, dict) else {}
    digests = metadata.get("digests")
    digests = digests if isinstance(digests, dict) else {}
    of = [at for at, has in known.items() if digests and all(has.get(a) == digest for a, digest in digests.items())]
    labels = metadata.get("labels")
    entries = [entry.get("metadata") for entry in patches]
    return PatchSet(
        name, of[0] if of else "", tuple(map(str, labels)) if isinstance(labels, list) else (),
        tuple(
            (str(entry.get("name")), tuple(entry["values"]) if isinstance(entry.get("values"), list) else ())
            for entry in entries if isinstance(entry, dict)
        ),
    )  # fmt: skip


def _matching(name: str, names: Sequence[str]) -> list[str]:
    """Return the names that a shortened one may mean: the same, one that ends with it, or all in its folder."""
    wanted = name.strip("/")
    exact = [of for of in names if wanted in {of, _bare(of)}]
    ends = [of for of in names if f"/{of}".endswith(f"/{wanted}") or f"/{_bare(of)}".endswith(f"/{wanted}")]
    inside = [of for of in names if f"/{wanted}/" in f"/{of}"]
    return exact or ends or inside


def _bare(name: str) -> str:
    return name.removesuffix(".json").removesuffix(".txt")
