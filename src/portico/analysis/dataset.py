"""Samples and datasets: files, tree, cross section and luminosity of each sample."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from portico.config import Model, parse, parse_json, read_yaml
from portico.errors import ConfigError, InputError, near_path, nearest
from portico.files import is_remote
from portico.shown import names_secret, without_secrets

__all__ = ["Dataset", "Sample", "load_dataset", "with_variables"]

Scalar = bool | int | float | str
_Entry = str | tuple[str, ...] | dict[str, Any]
Parameter = Scalar | tuple[Scalar, ...] | dict[str, Scalar]

_NOT_WRITTEN = {
    "name": "the sample's name is its key",
    "placed": "the choice among replicas is made by 'storage', in analysis.yaml or in the file of a site",
    "completeness": "only a partial run sets the completeness",
    "replicas": "the replicas of a file are a list within 'files'",
    "checksums": "the checksum of a file stands beside its path, as 'adler32' in an entry {path, adler32} of 'files'",
}
_FILES_OF_STEPS = frozenset({"results.root", "results.json"})
_COMMENT = re.compile(r"(?:^|\s)#.*")  # a name may have a # within
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
    replicas : mapping of str to tuple of str
        Further replicas of a file, in order of preference, by its path or URL in ``files``.
    placed : mapping of str to tuple of str
        The replicas of a file that are read, in order, where rules choose among them (`portico.analysis.placed`).
    checksums : mapping of str to str
        The Adler-32 that a file must have, in hexadecimal, by its path or URL in ``files``.
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
    replicas: dict[str, tuple[str, ...]] = Field(default_factory=dict, exclude=True)  # the data are the same
    placed: dict[str, tuple[str, ...]] = Field(default_factory=dict, exclude=True)
    checksums: dict[str, str] = Field(default_factory=dict, exclude=True)
    entries: int | None = Field(default=None, ge=0, lt=2**63)
    cross_section: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    filter_efficiency: float = Field(default=1.0, gt=0, le=1)
    processed_events: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    luminosity: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    completeness: float = Field(default=1.0, gt=0, le=1)

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name.lower() in _FILES_OF_STEPS:
            raise ValueError(f"'{name}' is one of portico's own files in the folder of a step; choose another name")
        return name

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

    def replicas_of(self, file: str) -> tuple[str, ...]:
        """Return the replicas of a file that may be read: the one given, then the others in order of preference."""
        if file in self.replicas:
            return self._from(file, file)
        for first, others in self.replicas.items():
            if file in others:
                return self._from(file, first)
        return (file,)

    def _from(self, file: str, first: str) -> tuple[str, ...]:
        return (file, *(other for other in self.reads(first) if other != file))

    def reads(self, file: str) -> tuple[str, ...]:
        """Return the replicas that are read of a file in ``files``, in order of preference."""
        return self.placed.get(file) or (file, *self.replicas.get(file, ()))


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
    """The keys of ``datasets.yaml``.

    Parameters
    ----------
    tree : str, optional
        Name of the tree in the files of samples that do not give their own.
    luminosity : float, optional
        In 1/fb, of samples that do not give their own.
    redirectors : tuple of str
        Servers that know each absolute path of ``files``, in order of preference: ``root://host/``.
    samples : mapping of str to mapping
        By name, the keys of a sample.
    """

    tree: str | None = None
    luminosity: float | None = None
    redirectors: tuple[str, ...] = ()
    samples: dict[str, dict[str, Any]] = Field(min_length=1)


class _Files(Model):
    """The keys of a sample that are read before the others: its files, and the servers of them."""

    files: str | tuple[str | tuple[str, ...] | dict[str, Any], ...] = ()
    redirectors: tuple[str, ...] = ()


class _FileEntry(Model):
    """An entry of ``files`` that declares the checksum of its file.

    Parameters
    ----------
    path : str or tuple of str
        The file, or its replicas in order of preference.
    adler32 : str
        Its Adler-32 in eight hexadecimal digits, in quotes.
    """

    path: str | tuple[str, ...]
    adler32: str

    @field_validator("adler32", mode="before")
    @classmethod
    def _hexadecimal(cls, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Fa-f]{8}", value):
            raise ValueError("give eight hexadecimal digits in quotes, such as '0a1b2c3d'")
        return value.lower()


class _File(NamedTuple):
    """A file that an entry of ``files`` stands for: its replicas, and the checksum that it must have, if declared."""

    replicas: tuple[str, ...]
    checksum: str = ""


def load_dataset(path: Path, content: dict[str, Any] | None = None) -> Dataset:
    """Read a dataset from YAML or JSON.

    The file has a key ``samples`` (name to the fields of `Sample`) and optionally ``tree``, ``luminosity`` and
    ``redirectors`` as defaults for all samples. Paths are relative to the file's folder; they may hold
    globs and ``${NAME}`` or ``${NAME:-default}``; ``.txt`` and ``.json`` are read as lists of files.

    An entry of ``files`` that is itself a list names replicas of one file, in order of preference. An entry
    ``{path, adler32}`` also declares the checksum of its file. With ``redirectors`` an absolute path is a name that
    each of these servers knows: ``/store/x.root`` is ``root://host//store/x.root``.

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
        for key, why in _NOT_WRITTEN.items():
            if key in fields:
                raise ConfigError(f"{where}: {why}; remove '{key}'")
        listed = {key: fields[key] for key in _Files.model_fields if fields.get(key) is not None}
        given = parse(_Files, {"redirectors": head.redirectors, **listed}, where)
        rest = {key: value for key, value in fields.items() if key not in listed}
        entry = parse(Sample, {**defaults, **rest, "name": str(name)}, where)
        if bool(given.files) == (entry.entries is not None):
            raise ConfigError(f"{where}: give either 'files' or, for generated events, 'entries'")
        patterns = (given.files,) if isinstance(given.files, str) else given.files
        found = [f for pattern in patterns for f in _expand(pattern, path.parent, given.redirectors, where)]
        _refuse_double([replica for file in found for replica in file.replicas], where)
        samples[str(name)] = entry.model_copy(update={
            "files": tuple(file.replicas[0] for file in found),
            "replicas": {file.replicas[0]: file.replicas[1:] for file in found if len(file.replicas) > 1},
            "checksums": {file.replicas[0]: file.checksum for file in found if file.checksum},
        })  # fmt: skip
    return Dataset(samples=samples)


def _refuse_double(files: list[str], where: str) -> None:
    if len(set(files)) < len(files):
        double = next(file for number, file in enumerate(files) if file in files[:number])
        raise ConfigError(f"{where}: a file is listed twice and would count twice: {double}")


def _expand(pattern: _Entry, folder: Path, redirectors: tuple[str, ...], where: str) -> list[_File]:
    """Return the files that one entry of ``files`` stands for, each with all its replicas."""
    if isinstance(pattern, dict):
        declared = parse(_FileEntry, pattern, f"{where}: files")
        found = _expand(declared.path, folder, redirectors, where)
        if len(found) != 1:
            raise ConfigError(f"{where}: {declared.path}: 'adler32' belongs to one file, but {len(found)} match")
        return [_File(found[0].replicas, declared.adler32)]
    if isinstance(pattern, tuple):
        if not pattern:
            raise ConfigError(f"{where}: a file with no replica; write its paths or URLs, the best first")
        return [_File(tuple(replica for part in pattern for replica in _replicas(part, folder, redirectors, where)))]
    pattern = with_variables(pattern, where)
    if is_remote(pattern) or (redirectors and pattern.startswith("/")):
        return [_File(_replicas(pattern, folder, redirectors, where))]
    path = folder / _at_home(pattern)
    if path.suffix in {".txt", ".json"}:
        lines = _read_list(path, where)
        return [found for line in lines for found in _expand(line, path.parent, redirectors, where)]
    return [_File((found,)) for found in _local(folder, pattern, where)]


def _replicas(text: str, folder: Path, redirectors: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the replicas that one word stands for; they are not looked for before they are read."""
    text = with_variables(text, where)
    if "*" in text or Path(text).suffix in {".txt", ".json"}:
        raise ConfigError(
            f"{where}: {text}: servers are not searched, and a replica is one file; name every file, or put the "
            "names into a .txt or .json"
        )
    if is_remote(text):
        return (text,)
    if redirectors and text.startswith("/"):
        return tuple(_at(redirector, text, where) for redirector in redirectors)
    return (os.path.abspath(folder / _at_home(text)),)  # noqa: PTH100


def _at(redirector: str, path: str, where: str) -> str:
    if not is_remote(redirector):
        raise ConfigError(f"{where}: redirectors: '{redirector}' is not a URL; write for example root://host/")
    above = urlsplit(redirector).path.strip("/")
    return f"{redirector.rstrip('/')}{'' if above else '/'}{path}"


def _local(folder: Path, pattern: str, where: str) -> list[str]:
    """Return the paths that a path or glob stands for; the name of a file that is there is never a glob."""
    path = folder / _at_home(pattern)
    os.fsencode(path)  # raises, while pathlib takes what cannot be encoded for what is not there
    if path.is_dir():
        raise InputError(f"{where}: {path} is a folder; name its files, for example {path / '*.root'}")
    if path.exists():
        return [os.path.abspath(path)]  # noqa: PTH100 (keeps links as they are)
    if not glob.has_magic(pattern):
        raise InputError(f"{where}: no such file: {path}{near_path(path)}")
    absolute = os.path.join(glob.escape(str(folder)), _at_home(pattern))  # noqa: PTH118 (folder is not a glob)
    matches = sorted(glob.glob(absolute, recursive=True))  # noqa: PTH207 (absolute patterns)
    if not matches:
        raise InputError(f"{where}: no file matches {path}; check the path, or mount the storage")
    if any(match.encode(errors="ignore").decode() != match for match in matches):
        raise InputError(f"{where}: {path}: the name of a file is not text in UTF-8; rename it")
    return [os.path.abspath(match) for match in matches]  # noqa: PTH100


def _at_home(text: str) -> Path:
    """Return a path with ``~`` expanded; it may also be part of a file's name."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # nobody of that name has a home
        return Path(text)


def with_variables(text: str, where: str) -> str:
    """Put the values of environment variables into a text, for ``${NAME}`` or ``${NAME:-default}``.

    Raises
    ------
    ConfigError
        If a variable is not set and has no default, or holds a secret that would be shown.
    """
    secrets: dict[str, str] = {}

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"], match["default"])
        if found is None:
            raise ConfigError(f"{where}: the environment variable {match['name']} is not set")
        if found and names_secret(match["name"]):
            secrets[match["name"]] = found
        return found

    filled = _VARIABLE.sub(value, text)
    for name, secret in secrets.items():
        if secret in without_secrets(filled):  # a list of a stranger's would send it to any server
            raise ConfigError(
                f"{where}: {text}: {name} holds a secret; valid: as password or token of a URL, as in "
                f"?authz=${{{name}}}"
            )
    return filled


def _read_list(path: Path, where: str) -> list[_Entry]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{where}: the list of files {path} cannot be read: {error.strerror}") from error
    if path.suffix == ".txt":
        lines = [_COMMENT.sub("", line).strip() if not is_remote(line) else line.strip() for line in text.splitlines()]
        return [line for line in lines if line]
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {path} is not JSON: {error}") from error
    items: list[Any] = content if isinstance(content, list) else [None]
    lists = [item if isinstance(item, list) else [""] for item in items]
    if not all(isinstance(item, str | list | dict) for item in items) or not all(
        isinstance(word, str) for words in lists for word in words
    ):
        raise ConfigError(
            f"{where}: {path} must hold a list of strings, of lists of them (the replicas of a file), or of "
            "{path, adler32}"
        )
    return [tuple(item) if isinstance(item, list) else item for item in items]
