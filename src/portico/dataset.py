"""Samples and datasets: which files, which tree, and what they are worth."""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from portico.config import Model, parse, read_yaml
from portico.errors import ConfigError, InputError, nearest

__all__ = ["Dataset", "Sample", "load_dataset"]

Scalar = bool | int | float | str
Parameter = Scalar | tuple[Scalar, ...] | dict[str, Scalar]

_REMOTE = re.compile(r"^[a-z]+://")
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


class Sample(Model):
    """One homogeneous set of events.

    Parameters
    ----------
    name : str
        Letters, digits, ``_``, ``.``, ``+`` and ``-``; it names folders.
    kind : {"data", "signal", "background"}
        What it is.
    tree : str
        Name of the TTree or RNTuple in its files.
    files : tuple of str
        Absolute paths or URLs, in order. Empty for a generated sample.
    entries : int, optional
        Number of entries of a generated sample, one without files.
    cross_section : float, optional
        In pb.
    filter_efficiency : float
        Fraction of generated events that were kept when the files were made.
    processed_events : float, optional
        Number (or sum of weights) of generated events that the files stand for.
    luminosity : float, optional
        In 1/fb.
    parameters : mapping
        Free numbers and words, lists and mappings of them: mass, ctau, seed, era.
    completeness : float
        Fraction of the events that the steps before kept; less than 1 only in a partial run, where luminosity or
        processed events are reduced by it already.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")
    kind: Literal["data", "signal", "background"] = "data"
    tree: str = Field(default="Events", min_length=1)
    files: tuple[str, ...] = ()
    entries: int | None = Field(default=None, ge=0)
    cross_section: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    filter_efficiency: float = Field(default=1.0, gt=0, le=1)
    processed_events: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    luminosity: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    completeness: float = Field(default=1.0, gt=0, le=1)

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


    def number(self, name: str) -> float:
        """Return a parameter that is a number.

        Raises
        ------
        ConfigError
            If it is not there, or no number.
        """
        value = self.parameters.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            found = f"is {value!r}" if name in self.parameters else f"is missing; {nearest(name, self.parameters)}"
            raise ConfigError(f"sample '{self.name}': the parameter '{name}' {found}; it must be a number")
        return float(value)


class Dataset(Model):
    """Samples by name, in the order in which they were written."""

    samples: dict[str, Sample]

    def __getitem__(self, name: str) -> Sample:
        try:
            return self.samples[name]
        except KeyError:
            raise ConfigError(f"no sample '{name}'; {nearest(name, self.samples)}") from None

    def matching(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """Return the names that patterns stand for, each once: ``signal_*`` is every name that begins so.

        Raises
        ------
        ConfigError
            If a pattern is that of no sample.
        """
        found: dict[str, None] = {}
        for pattern in patterns:
            names = [name for name in self.samples if fnmatch.fnmatchcase(name, pattern)]
            if not names:
                raise ConfigError(f"no sample '{pattern}'; {nearest(pattern, self.samples)}")
            found |= dict.fromkeys(names)
        return tuple(found)


class _DatasetFile(Model):
    tree: str | None = None
    luminosity: float | None = None
    samples: dict[str, dict[str, Any]] = Field(min_length=1)


def load_dataset(path: Path, content: dict[str, Any] | None = None) -> Dataset:
    """Read a dataset from YAML or JSON.

    The file has a key ``samples`` (name to the fields of `Sample`) and optionally ``tree`` and
    ``luminosity`` as defaults for all samples. Paths are relative to the file's folder; they may hold
    globs and ``${NAME}`` or ``${NAME:-default}``; ``.txt`` and ``.json`` are read as lists of files.

    Parameters
    ----------
    path : Path
        The file, also for messages.
    content : dict, optional
        What it holds, if it was read already.

    Raises
    ------
    ConfigError
        If the file is wrong.
    InputError
        If a list or glob finds no file.
    """
    raw = read_yaml(path) if content is None else content
    head = parse(_DatasetFile, raw, str(path))
    samples = {}
    for name, fields in head.samples.items():
        where = f"{path}: samples.{name}"
        defaults = {k: v for k, v in (("tree", head.tree), ("luminosity", head.luminosity)) if v is not None}
        if "name" in fields:
            raise ConfigError(f"{where}: the sample's name is its key; remove 'name'")
        if "completeness" in fields:
            raise ConfigError(f"{where}: 'completeness' is what a partial run finds out; remove it")
        entry = parse(Sample, {**defaults, **fields, "name": str(name)}, where)
        if bool(entry.files) == (entry.entries is not None):
            raise ConfigError(f"{where}: give either 'files' or, for generated events, 'entries'")
        files = tuple(found for pattern in entry.files for found in _expand(pattern, path.parent, where))
        double = sorted({file for file in files if files.count(file) > 1}) if len(set(files)) < len(files) else []
        if double:
            raise ConfigError(f"{where}: a file is listed twice and would count twice: {double[0]}")
        samples[str(name)] = entry.model_copy(update={"files": files})
    return Dataset(samples=samples)


def _expand(pattern: str, folder: Path, where: str) -> list[str]:
    """Return the files that one entry of ``files`` stands for."""
    pattern = _VARIABLE.sub(lambda m: _variable(m, where), pattern)
    if _REMOTE.match(pattern):
        return [pattern]
    path = folder / Path(pattern).expanduser()
    if path.suffix in {".txt", ".json"}:
        return [found for line in _read_list(path, where) for found in _expand(line, path.parent, where)]
    if glob.has_magic(str(path)):
        matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute patterns)
        if not matches:
            raise InputError(f"{where}: no file matches {path}; check the path, or mount the storage")
        return [os.path.abspath(match) for match in matches]  # noqa: PTH100 (keeps links as they are)
    if not path.exists():
        raise InputError(f"{where}: no such file: {path}")
    if path.is_dir():
        raise InputError(f"{where}: {path} is a folder; name its files, for example {path / '*.root'}")
    return [os.path.abspath(path)]  # noqa: PTH100


def _variable(match: re.Match[str], where: str) -> str:
    value = os.environ.get(match["name"], match["default"])
    if value is None:
        raise ConfigError(f"{where}: the environment variable {match['name']} is not set")
    return value


def _read_list(path: Path, where: str) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{where}: the list of files {path} cannot be read: {error.strerror}") from error
    if path.suffix == ".txt":
        lines = [
            line.split("#", 1)[0].strip() if not _REMOTE.match(line) else line.strip() for line in text.splitlines()
        ]
        return [line for line in lines if line]
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: {path} is not JSON: {error}") from error
    if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
        raise ConfigError(f"{where}: {path} must hold a list of strings")
    return content
