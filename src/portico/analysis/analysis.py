"""An analysis: a dataset and steps in order, from ``analysis.yaml``."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from portico.analysis.chunks import ChunkSize
from portico.analysis.dataset import Dataset, load_dataset, with_variables
from portico.analysis.plotting import PlotStyle
from portico.config import Model, parse, read_yaml
from portico.errors import ConfigError, closest, nearest
from portico.files import is_remote
from portico.files.placement import Placement
from portico.files.storage import normal

__all__ = ["DATASET", "POINTS", "Analysis", "StepEntry", "analyses_like", "load_analysis"]

_FILE = "analysis.yaml"
_LOCK = "lock"
DATASET = "dataset"
"""The input of steps that read the samples themselves."""

POINTS = "points"
"""The name of the points of a step among its results, instead of a sample's."""


def _checked_size(size: object) -> object:
    """Refuse sizes of chunks that are neither text nor a whole number; true is 1 in Python."""
    if isinstance(size, bool) or not isinstance(size, (str, int, float)) or (isinstance(size, float) and size % 1 != 0):
        raise ValueError("write for example '50 MB' or '20000 entries'")
    return size


class StepEntry(Model):
    """A step in an analysis.

    Parameters
    ----------
    name : str
        Names its folder and its results.
    function : str
        ``module:function``; the module lies beside ``analysis.yaml`` or is installed.
    input : str
        ``dataset``, or the name of an earlier step: the trees it wrote, or for a summary its results.
    tree : str, optional
        Which of the earlier step's trees, if it wrote several.
    points : str, optional
        Of a step over points, instead of an input: ``STEP/FILE``, a JSON list that an earlier summary step left, or
        ``module:function``, a function of options that returns the list.
    chunk : str or int, optional
        Target size, such as ``50 MB``, ``20000 entries`` or ``4 points``.
    options : mapping
        Keyword arguments of the function; of a step over points also of the function that returns the list.
    files : mapping of str to str
        Further keyword arguments, of which the function gets the path: ``STEP/FILE`` is a file that an earlier summary
        step left; ``./NAME`` a file or folder of the user's, relative to ``analysis.yaml``, or an absolute path.
    samples : tuple of str
        The samples that it runs on, ``*`` in a name standing for any letters; all of its input's by default.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")
    function: str
    input: str = DATASET
    tree: str | None = None
    points: str | None = None
    chunk: str | int | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    samples: tuple[str, ...] = ()

    @property
    def after(self) -> tuple[str, ...]:
        """The earlier steps that it needs."""
        trees = [] if self.input == DATASET else [self.input]
        return (*trees, *(reference.partition("/")[0] for reference in self.references.values()))

    @property
    def lists_points(self) -> bool:
        """Whether a function returns its points."""
        return self.points is not None and ":" in self.points

    @field_validator("chunk", mode="before")
    @classmethod
    def _size(cls, size: object) -> object:
        return None if size is None else _checked_size(size)

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name.lower() == _LOCK:
            raise ValueError(f"'{_LOCK}' is one of portico's own files in the run folder; choose another name")
        return name

    @property
    def own_files(self) -> dict[str, str]:
        """The files of the user that it reads, by option."""
        return {option: text for option, text in self.files.items() if text.startswith(("./", "../", "/"))}

    @property
    def references(self) -> dict[str, str]:
        """What it reads of earlier summary steps, ``STEP/FILE`` by the key that names it."""
        files = {f"files: {option}": text for option, text in self.files.items() if option not in self.own_files}
        return files if self.points is None or self.lists_points else {**files, "points": self.points}


class _AnalysisFile(Model):
    """The keys of ``analysis.yaml``.

    Parameters
    ----------
    name : str
        Names the run folder by default, ``runs/NAME``.
    dataset : str or mapping, optional
        The file with the samples, relative to this one, or its content; not needed where all steps run over points.
    chunk : str or int
        Target size of a chunk where a step does not give its own, such as ``50 MB`` or ``20000 entries``. If it is in
        bytes, generated samples, which have no size yet, have chunks of 10,000 entries.
    store : str, optional
        Folder or ``root://`` URL where trees are written; the run folder if it is not given.
    steps : tuple of StepEntry
        In order; a step reads samples, or what an earlier one left.
    blind : mapping of str to tuple of (float, float)
        By name of a product, ``*`` standing for any letters: intervals of its axis in which data are not shown.
    plot : PlotStyle
        Groups of samples and the look of figures.
    storage : Placement
        Storage sites that are allowed, blocked or preferred where files have several replicas.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    dataset: str | dict[str, Any] | None = None
    chunk: str | int = "50 MB"
    store: str | None = None
    steps: tuple[StepEntry, ...] = Field(min_length=1)
    blind: dict[str, tuple[tuple[float, float], ...]] = Field(default_factory=dict)
    plot: PlotStyle = Field(default_factory=PlotStyle)
    storage: Placement = Field(default_factory=Placement)

    _size = field_validator("chunk", mode="before")(_checked_size)

    @field_validator("blind")
    @classmethod
    def _rising(cls, blind: dict[str, tuple[tuple[float, float], ...]]) -> dict[str, tuple[tuple[float, float], ...]]:
        for pattern, intervals in blind.items():
            if not all(low < high for low, high in intervals):
                raise ValueError(f"'{pattern}': write an interval as [low, high], with low < high")
        return blind


class Analysis(Model):
    """A dataset and the steps over it.

    Parameters
    ----------
    name : str
        Names the run folder by default.
    path : Path
        The file that it was read from; modules, headers and files are relative to its folder.
    dataset : Dataset
        The samples; none of an analysis whose steps run over points only.
    steps : tuple of StepEntry
        In order.
    chunk : str or int
        Target size of a chunk where a step does not give its own.
    store : str, optional
        Folder or ``root://`` URL where trees are written; the run folder if it is not given.
    blind : mapping of str to tuple of (float, float)
        By name of a product, ``*`` standing for any letters: intervals of its axis in which data are not shown.
    plot : PlotStyle
        Groups of samples and the look of figures.
    storage : Placement
        Storage sites that are allowed, blocked or preferred where files have several replicas.
    """

    name: str
    path: Path
    dataset: Dataset
    steps: tuple[StepEntry, ...]
    chunk: str | int
    store: str | None = None
    blind: dict[str, tuple[tuple[float, float], ...]] = Field(default_factory=dict)
    plot: PlotStyle = Field(default_factory=PlotStyle)
    storage: Placement = Field(default_factory=Placement)

    @property
    def folder(self) -> Path:
        """Where modules are looked for."""
        return self.path.parent

    @property
    def run_folder(self) -> Path:
        """The run folder unless the user gives another."""
        return Path("runs") / self.name

    def steps_named(self, names: Iterable[str]) -> list[StepEntry]:
        """Return the steps of these names in the order of the analysis; all of them if no name is given.

        Raises
        ------
        ConfigError
            If there is no such step.
        """
        chosen, valid = tuple(names), [step.name for step in self.steps]
        for name in chosen:
            if name not in valid:
                raise ConfigError(f"{self.path}: no step '{name}'; {nearest(name, valid)}")
        return [step for step in self.steps if not chosen or step.name in chosen]

    def with_options(self, step: str, **options: Any) -> Analysis:
        """Return the analysis with other options of one step; those that are not named stay as they are.

        Raises
        ------
        ConfigError
            If there is no such step.
        """
        self.steps_named([step])
        steps = [
            entry.model_copy(update={"options": {**entry.options, **options}}) if entry.name == step else entry
            for entry in self.steps
        ]
        return self.model_copy(update={"steps": tuple(steps)})

    def samples_of(self, step: StepEntry) -> tuple[str, ...]:
        """Return the samples that a step runs on: its own choice, or that of its input; `POINTS` over points."""
        entries = {entry.name: entry for entry in self.steps}
        while not step.samples and step.input in entries:
            step = entries[step.input]
        return (POINTS,) if step.points is not None else step.samples or tuple(self.dataset.samples)

    def chunk_size(self, step: StepEntry) -> ChunkSize:
        """Return the target size of a step's chunks."""
        return ChunkSize.parse(self.chunk if step.chunk is None else step.chunk)


def load_analysis(where: str | Path, *, store: str | None = None) -> Analysis:
    """Read an analysis.

    Parameters
    ----------
    where : str or Path
        An ``analysis.yaml``, a folder that holds one, or the name of an installed package that does.
    store : str, optional
        Folder or ``root://`` URL where trees are written, instead of the one in the file.

    Raises
    ------
    ConfigError
        If the file is missing or wrong.
    InputError
        If the dataset's files are missing.
    """
    path = _find(where)
    content = parse(_AnalysisFile, read_yaml(path), str(path))
    names: list[str] = []
    for step in content.steps:
        if step.name in {*names, DATASET}:
            raise ConfigError(
                f"{path}: two steps are named '{step.name}'"
                if step.name in names
                else f"{path}: no step may be named 'dataset'"
            )
        if step.input not in {*names, DATASET}:
            raise ConfigError(
                f"{path}: step '{step.name}': input '{step.input}' is not an earlier step; "
                + nearest(step.input, [DATASET, *names])
            )
        if step.input == DATASET and step.points is None and content.dataset is None:
            raise ConfigError(f"{path}: step '{step.name}' reads samples, but the key 'dataset' is missing")
        _check_references(path, step, names)
        try:
            ChunkSize.parse(content.chunk if step.chunk is None else step.chunk)
        except ConfigError as error:
            raise ConfigError(f"{path}: step '{step.name}': {error}") from None
        names.append(step.name)
    if content.dataset is None:
        dataset = Dataset(samples={})
    elif isinstance(content.dataset, str):
        dataset = load_dataset(path.parent / content.dataset)
    else:
        dataset = load_dataset(path, content.dataset)
    steps = tuple(step.model_copy(update={"samples": dataset.matching(step.samples)}) for step in content.steps)
    content.plot.check(tuple(dataset.samples), str(path))
    if store is not None:
        store = normal(store)
    elif content.store is not None:
        store = _store(content.store, path)
    return Analysis(
        name=content.name, path=path, dataset=dataset, steps=steps, chunk=content.chunk, store=store,
        blind=content.blind, plot=content.plot, storage=content.storage,
    )  # fmt: skip


def _store(text: str, path: Path) -> str:
    store = with_variables(text, f"{path}: store")
    return normal(store if is_remote(store) else path.parent / Path(store).expanduser())


def _check_references(path: Path, step: StepEntry, earlier: list[str]) -> None:
    where = f"{path}: step '{step.name}'"
    if step.points is not None and (step.input != DATASET or step.tree is not None or step.samples):
        raise ConfigError(f"{where}: a step over points reads no events; remove 'input', 'tree' and 'samples'")
    for key, reference in step.references.items():
        name, _, file = reference.partition("/")
        if not name or not file or "/" in file or file.startswith("."):
            example = "'fit/weights.root'" if key != "points" else "'search/points.json', or module:function"
            raise ConfigError(
                f"{where}: {key}: '{reference}' is not a file of a step; write STEP/FILE, for example {example}"
                + (", or ./NAME for your own file" if key != "points" else "")
            )
        if name not in earlier:
            raise ConfigError(
                f"{where}: {key}: '{reference}': '{name}' is not an earlier step; {nearest(name, earlier)}"
            )
    for option in step.files:
        if option in step.options:
            raise ConfigError(f"{where}: files: '{option}' is in options too; give it once")


def _find(where: str | Path) -> Path:
    path = Path(where)
    if path.is_file():
        return path.resolve()
    if (path / _FILE).is_file():
        return (path / _FILE).resolve()
    if not path.exists() and str(where).isidentifier():
        spec = importlib.util.find_spec(str(where))
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            if (Path(folder) / _FILE).is_file():
                return (Path(folder) / _FILE).resolve()
    what = f"has no {_FILE}" if path.is_dir() else "no such file or folder"
    close = "" if path.is_dir() else closest(str(where), analyses_like(""))
    near = f"did you mean '{close}'? " if close else ""
    raise ConfigError(f"{where}: {what}; {near}give an {_FILE} or its folder, or make one with: portico init NAME")


def analyses_like(begin: str) -> list[str]:
    """Return the folders, here or where ``begin`` leads, that begin so and hold an analysis."""
    folder, _, name = begin.rpartition("/")
    base = Path(folder or ("/" if begin.startswith("/") else "."))
    with suppress(OSError):
        there = sorted(path.name for path in base.iterdir() if path.name.startswith(name) and (path / _FILE).is_file())
        return [begin[: len(begin) - len(name)] + found for found in there]
    return []
