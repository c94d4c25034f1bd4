"""HistFactory XML as input, by the reader of pyhf: a file ``Combination`` that names channels and measurements."""

from __future__ import annotations

import logging
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from portico.errors import InputError
from portico.files.troubles import is_regular

__all__ = ["xml_to_pyhf"]


def xml_to_pyhf(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return HistFactory XML with its histograms as a workspace of pyhf, and notes: what the reader warns of.

    Paths in it are relative to the folder that HistFactory was run in: the first one of the folder of the file and the
    folders above it, and the current one, where the first channel is.

    Parameters
    ----------
    path : Path
        The file ``Combination``, not that of a channel.

    Raises
    ------
    InputError
        If it is another kind of XML, or a file or histogram of it cannot be read.
    """
    from pyhf import readxml

    try:
        top = ET.parse(path).getroot()  # noqa: S314 (expat expands no external entities, and bounds internal ones)
    except ET.ParseError as error:
        raise InputError(f"{path}: not XML: {error}") from error
    if top.tag == "Channel":
        raise InputError(f"{path}: the XML of a channel; give the one with 'Combination', which lists the channels")
    if top.tag != "Combination":
        raise InputError(f"{path}: XML with '{top.tag}', not HistFactory XML, which begins with 'Combination'")
    inputs = [str(entry.text).strip() for entry in top.findall("Input")]
    if not inputs:
        raise InputError(f"{path}: 'Combination' has no 'Input', so that there are no channels")
    base = _base(path, inputs[0])
    logger, said = logging.getLogger("pyhf"), _Kept()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(said)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        readxml.clear_filecache()
        _refuse_pipes(base, inputs)
        with warnings.catch_warnings(action="ignore"):  # the schema library is deprecated, says itself
            spec: dict[str, Any] = readxml.parse(str(path), str(base), validation_as_error=False)
    except Exception as error:  # pyhf, uproot and ElementTree have many of their own
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise InputError(
            f"{path}: pyhf cannot read this HistFactory XML, with {base} as its folder: {reason}"
        ) from error
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.removeHandler(said)
    for measurement in spec["measurements"]:
        for parameter in measurement["config"]["parameters"]:
            if parameter.get("sigmas") == [0.0]:  # LumiRelErr="0": a constant
                (value,) = parameter["auxdata"]
                parameter.update(fixed=True, sigmas=[1.0], bounds=[[0.0, 2 * value]])
    return spec, (*said.texts, *_gammas(base, inputs))


def _refuse_pipes(base: Path, inputs: list[str]) -> None:
    """Refuse what would be read for ever in place of a file with histograms."""
    for name in inputs:
        for element in ET.parse(base / name).getroot().iter():  # noqa: S314 (see above)
            if (file := element.get("InputFile")) and not is_regular(base / file):
                raise OSError(f"{file} is a pipe, a device or a folder")


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.texts[" ".join(record.getMessage().split())[:300]] = None


def _gammas(base: Path, inputs: list[str]) -> list[str]:
    """Note Poisson constraints of statistical uncertainties, which pyhf takes as Gaussian."""
    found = []
    for name in inputs:
        configs = ET.parse(base / name).getroot().iter("StatErrorConfig")  # noqa: S314 (see above)
        if any(config.get("ConstraintType", "") == "Poisson" for config in configs):
            found.append(name)
    if not found:
        return []
    return [f"statistical uncertainties with Poisson constraints, in {', '.join(found)}, are Gaussian here, as in pyhf"]


def _base(path: Path, first: str) -> Path:
    folders = [path.resolve().parent, *path.resolve().parents, Path.cwd()]
    found = [folder for folder in folders if (folder / first).is_file()]
    if not found:
        raise InputError(
            f"{path}: its channel {first} is not in its folder or one of those above; paths are relative to the folder "
            "that HistFactory was run in"
        )
    return found[0]
