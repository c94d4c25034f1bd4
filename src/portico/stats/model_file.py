"""Reading of models from files: the one door for every format.

JSON is a workspace of pyhf, HS3, or a model of this package; an archive has some of them with patches
(`portico.stats.published`); datacards of CMS Combine and HistFactory XML become workspaces of pyhf.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from portico.analysis.blinding import open_bins
from portico.config import parse, parse_json
from portico.errors import ConfigError, InputError, near_path
from portico.stats.archive import is_archive
from portico.stats.exports.card import is_card, read_card
from portico.stats.exports.card_content import Card
from portico.stats.exports.card_workspace import translated
from portico.stats.histfactory import check_workspace, choose_measurement, left_observations
from portico.stats.histfactory_xml import xml_to_pyhf
from portico.stats.hs3_file import analysis_beyond_histfactory, hs3_to_pyhf, is_hs3
from portico.stats.model import Model
from portico.stats.patches import Patch, applied, is_patch, is_patch_set, patch_from
from portico.stats.published import Listing, Published, listing_of
from portico.stats.roofit.model import RooFitModel
from portico.stats.roofit.plan import has_functions, plan_of
from portico.stats.shapes import Shape, Template
from portico.stats.workspace import Workspace

__all__ = ["AnyModel", "list_models", "read_model"]

_VALID: Final = (
    "valid: a pyhf workspace (keys channels, observations, measurements, version) or a model of portico "
    "(keys channels, parameters, poi)"
)
AnyModel = Model | Workspace | RooFitModel

_HEAD: Final = 65536  # bytes that tell what a file is
_MASS: Final = 120.0  # GeV; that of Combine
_WITHOUT_PATCHES: Final = {"card": "a datacard", "xml": "HistFactory XML", "root": "a ROOT file"}


def read_model(
    path: Path, patches: Sequence[Path | str] = (), measurement: str = "", *, workspace: str = "", mass: float = _MASS
) -> AnyModel:
    """Read a statistical model, apply patches, and check it.

    Parameters
    ----------
    path : Path
        A workspace of pyhf, HS3 or a model of portico in JSON; an archive or a folder with such files; a datacard of
        CMS Combine; the combination of HistFactory in XML; or a ROOT file with a RooWorkspace and a ModelConfig.
    patches : sequence of Path or str
        JSON Patch files (RFC 6902), or ``FILE:NAME`` for a patch of a patch set of pyhf, or names of patches in the
        archive; applied in this order.
    measurement : str
        Which of the workspace; the first one by default. Of a ROOT file the name of the ModelConfig.
    workspace : str
        Which of an archive or a ROOT file, if it has several and the patches do not say.
    mass : float
        What ``$MASS`` in a datacard stands for.

    Raises
    ------
    ConfigError
        If a file, a patch, a workspace or a measurement does not exist, or a key of a portico model is wrong.
    InputError
        If the content is of another kind or inconsistent, or a patch does not fit.
    """
    path, texts = Path(path), [str(patch) for patch in patches]
    if is_archive(path):
        return _of_archive(Published(path), workspace, texts, measurement, mass)
    kind = _kind(path)
    if workspace and kind != "root":
        raise ConfigError(f"{path} is not an archive; leave out --workspace {workspace}")
    if kind in _WITHOUT_PATCHES:
        if texts:
            raise ConfigError(f"{path}: {_WITHOUT_PATCHES[kind]} takes no patches; leave out --patch {texts[0]}")
        if kind == "root":
            content = {"path": str(path.absolute()), "workspace": workspace, "config": measurement}
            return _roofit(RooFitModel(str(path), "file", content))
        if kind == "xml":
            return _workspace(*xml_to_pyhf(path), str(path), measurement)
        return _of_card(path, str(path), measurement, mass)
    content = _mapping(_json(path), str(path))
    where = f"{path} with {', '.join(texts)}" if texts else str(path)
    return _model(content, [_patch(text) for text in texts], str(path), where, measurement)


def list_models(path: Path) -> Listing:
    """Return what an archive, a folder or a file of JSON holds.

    Raises
    ------
    ConfigError
        If it does not exist.
    InputError
        If it cannot be read.
    """
    path = Path(path)
    if is_archive(path):
        return Published(path).listing
    kind = _kind(path)
    if kind == "card":
        return listing_of([(path.name, read_card(path))])
    if kind == "root":
        raise ConfigError(f"{path} is a ROOT file, whose workspaces are not listed; leave out --list")
    content = xml_to_pyhf(path)[0] if kind == "xml" else _json(path)
    if not (is_patch(content) or is_patch_set(content)):
        content = _mapping(content, str(path))
    return listing_of([(path.name, content)])


def _of_card(path: Path, where: str, measurement: str, mass: float) -> AnyModel:
    card = replace(read_card(path), where=where)
    if has_functions(card):
        if measurement:
            raise ConfigError(f"{where}: a datacard has no measurements; leave out '{measurement}'")
        plan = plan_of(card, path.parent, mass=mass)
        with _lines_of(card):
            return _roofit(RooFitModel(where, "card", plan, tuple(card.notes)))
    spec, notes, axes = translated(card, path.parent, mass=mass)
    with _lines_of(card):
        return _workspace(spec, notes, where, measurement, axes)


@contextmanager
def _lines_of(card: Card) -> Iterator[None]:
    """Add the line of a card to errors of what it was translated to."""
    try:
        yield
    except InputError as error:
        text = str(error)
        line = card.line_of(text.removeprefix(card.where))
        if not line or f"{card.where}, line " in text:
            raise
        raise InputError(text.replace(card.where, f"{card.where}, line {line}", 1)) from error


def _roofit(model: RooFitModel) -> RooFitModel:
    model.session  # noqa: B018 (started here, so that what ROOT finds wrong is found here)
    return model


def _of_archive(published: Published, workspace: str, texts: Sequence[str], measurement: str, mass: float) -> AnyModel:
    own = [text for text in texts if not _split(text)[0].is_file()]
    name, chosen = published.choose(workspace, own)
    inside = dict(zip(own, chosen, strict=True))
    patches = [inside[text] if text in inside else _patch(text) for text in texts]
    file = f"{published.path}: {name}"
    if published.is_card(name):
        if texts:
            raise ConfigError(f"{file}: a datacard takes no patches; leave out --patch {texts[0]}")
        with TemporaryDirectory(prefix="portico-card-") as folder:
            return _of_card(published.unpack_card(name, Path(folder)), file, measurement, mass)
    where = f"{file} with {', '.join(texts)}" if texts else file
    return _model(_mapping(published.content(name), file), patches, file, where, measurement)


def _model(content: dict[str, Any], patches: Sequence[Patch], file: str, where: str, measurement: str) -> AnyModel:
    if patches:
        content = _mapping(applied(content, patches, file), file)
    if is_hs3(content):
        if (analysis := analysis_beyond_histfactory(content, where, measurement)) is not None:
            text = {"text": json.dumps(content), "analysis": analysis}
            return _roofit(RooFitModel(where, "hs3", text))
        return _workspace(*hs3_to_pyhf(content, where, measurement), where, measurement)
    if _is_workspace(content):
        return _workspace(content, (), where, measurement)
    if measurement:
        raise ConfigError(f"{file}: a model of portico has no measurements; leave out '{measurement}'")
    model = parse(Model, content, where)
    _check_impossible(model, where)
    return model


def _workspace(
    spec: Mapping[str, Any], notes: Sequence[str], where: str, measurement: str,
    axes: Mapping[str, tuple[str, Sequence[float]]] | None = None,
) -> Workspace:  # fmt: skip
    check_workspace(spec, where)
    name, poi, parameters = choose_measurement(spec, measurement, where)
    found = Workspace(where, spec, name, poi, tuple(parameters), (*notes, *left_observations(spec)), axes or {})
    found.model  # noqa: B018 (made here, so that what pyhf finds wrong is found here)
    return found


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


def _kind(path: Path) -> str:
    """Return ``card``, ``xml``, ``root`` or ``json``, as a file looks."""
    with path.open("rb") as file:
        raw = file.read(_HEAD)
    if raw[:4] == b"root":
        return "root"
    if raw.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n").startswith("<"):
        return "xml"
    return "card" if is_card(raw) else "json"


def _json(path: Path) -> Any:
    raw = path.read_bytes()
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
    return "" if raw.strip() else ": it is empty"


def _mapping(content: object, file: str) -> dict[str, Any]:
    """Return the content if it may be a model; say what else it is."""
    if isinstance(content, dict):
        foreign = _foreign(content)
        if not foreign:
            return content
        raise InputError(f"{file}: {foreign}; {_VALID}")
    if content and is_patch(content):
        raise InputError(f"{file}: this is a JSON Patch; give the workspace it belongs to, and this as --patch {file}")
    raise InputError(f"{file}: expected an object with keys, found {type(content).__name__}; {_VALID}")


def _foreign(content: Mapping[str, Any]) -> str:
    keys = content.keys()
    channels = content.get("channels")
    first = channels[0] if isinstance(channels, list) and channels and isinstance(channels[0], dict) else {}
    if is_hs3(content):
        return ""
    if is_patch_set(content):
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


def _patch(text: str) -> Patch:
    """Return a patch of a file: a JSON Patch, or ``FILE:NAME`` of a patch set, also in an archive."""
    file, name = _split(text)
    if not file.exists():
        raise ConfigError(f"{text}: no such file{near_path(file)}")
    if is_archive(file):
        return Published(file).only_patch(name)
    return patch_from(_json(file), str(file), name)


def _split(text: str) -> tuple[Path, str]:
    """Split ``FILE:NAME`` at the first colon before which there is a file."""
    if Path(text).exists():
        return Path(text), ""
    for at in (i for i, character in enumerate(text) if character == ":"):
        if Path(text[:at]).is_file():
            return Path(text[:at]), text[at + 1 :]
    file, colon, name = text.rpartition(":")
    return (Path(file), name) if colon else (Path(text), "")
