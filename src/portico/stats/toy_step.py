"""Toys on any executor: an analysis of one step over points, each of which is a block of toys of one strength.

The model is shipped beside the step. Such a run resumes like any other: existing toys are kept, and more toys or
strengths are added to them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from portico.analysis.analysis import POINTS, load_analysis
from portico.config import parse_json
from portico.errors import ConfigError, FitError
from portico.executors.base import Executor
from portico.files.atomic import write_atomic
from portico.results.view import Results
from portico.stats.asymptotic import ModelProfiles, asymptotic_limit
from portico.stats.limit import Limit
from portico.stats.model import Model
from portico.stats.model_file import AnyModel, read_model
from portico.stats.roofit.model import RooFitModel
from portico.stats.roofit.profiles import RooFitProfiles
from portico.stats.roofit.toys import RooFitToys, received, shipped
from portico.stats.toy_limits import OutOfRange, ToyStatistics, limit_of, statistics_of
from portico.stats.toys import ModelToys, ToySource, check, throw_toy, with_expectation
from portico.stats.workspace import Workspace
from portico.stats.workspace_profiles import PyhfProfiles
from portico.stats.workspace_toys import PyhfToys
from portico.workflow.chunk_loop import Reporter
from portico.workflow.run import run

__all__ = ["blocks_of", "run_toys", "strengths", "throw", "toy_limit"]

STEP: Final = "toys"
NAME: Final = "portico-toys"
_CHUNK: Final = 50  # toys
_RATIO: Final = 1.25  # of one strength to the one before
_BELOW, _ABOVE = 0.75, 1.5  # how far strengths reach beyond the asymptotic limits, which are too low for few events
_EXTENSIONS: Final = 8
_ADDED: Final = 2  # strengths for each extension
_MODULE: Final = '''"""Toys of the model beside this file; written by portico, and again with each run."""

from pathlib import Path

from portico import points
from portico.stats.toy_step import blocks_of, throw


def blocks(*, mus, toys, seed, chunk):
    return blocks_of(mus, toys, seed, chunk)


@points(files={files})
def toys(block, *, measurement="", blind=False):
    return throw(block, Path(__file__).parent / "model.json", measurement, blind)
'''


def run_toys(
    model: AnyModel | Path | str,
    mus: Sequence[float],
    toys: int,
    folder: Path | str,
    *,
    on: str = "local",
    workers: int | None = None,
    seed: int = 1,
    blind: bool = False,
    chunk: int = _CHUNK,
    reporter: Reporter | None = None,
    executor: Executor | None = None,
) -> list[ToyStatistics]:
    """Throw toys of both hypotheses for each strength, on any executor.

    Parameters
    ----------
    model : Model, Workspace or RooFitModel, or Path
        The model, or the file that holds it; see `portico.stats.model_file.read_model`.
    mus : sequence of float
        Strengths, above 0. The toys of a strength depend on its place in the sequence, so append to it.
    toys : int
        Of each hypothesis, for each strength; more may be asked for later.
    folder : Path
        Where the analysis is written; its run folder is ``run`` in it.
    on, workers, reporter, executor
        As in `portico.workflow.run.run`.
    seed : int
        Equal seeds give equal toys.
    blind : bool
        Find expected limits only; also where the model says that data are observed.
    chunk : int
        Toys for a task, which should take some seconds. With another one toys are thrown anew, and are the same.

    Returns
    -------
    list of ToyStatistics
        In the order of `mus`.

    Raises
    ------
    ConfigError
        If the folder holds another analysis, or an option is wrong.
    FitError
        If fits to the data do not converge, or those to more than 1% of the toys.
    PorticoError
        As `portico.workflow.run.run`.
    """
    known = read_model(Path(model)) if isinstance(model, (Path, str)) else model
    _check_options(mus, toys, seed, chunk)
    source = source_of(known, blind=blind)
    observed = [source.observed_statistic(mu) if source.observed else None for mu in mus]  # fails here, if it does
    _write(Path(folder), known, mus, toys, seed=seed, blind=blind, chunk=chunk)
    done = run(
        load_analysis(Path(folder)), folder=Path(folder) / "run", on=on, workers=workers, reporter=reporter,
        executor=executor,
    )  # fmt: skip
    results = done[STEP][POINTS]
    return [_collected(results, index, mu, observed[index]) for index, mu in enumerate(mus)]


def toy_limit(
    model: AnyModel | Path | str,
    folder: Path | str,
    *,
    toys: int = 1000,
    mus: Sequence[float] = (),
    cl: float = 0.95,
    **options: Any,
) -> Limit:
    """Find upper limits with toys, on any executor.

    Parameters
    ----------
    model, folder
        As in `run_toys`, as the further options are.
    toys : int
        Of each hypothesis, for each strength. The expected limit at -2 standard deviations is where one toy in 900
        remains, it needs ten thousands for a precision of a few percent.
    mus : sequence of float
        Strengths to test; by default some around the asymptotic limits, extended until CLs crosses its level.
    cl : float
        Confidence level, between 0 and 1.

    Raises
    ------
    OutOfRange
        If limits are not between the given strengths.
    ConfigError, FitError, PorticoError
        As `run_toys`.
    """
    if not 0 < cl < 1:
        raise ConfigError(f"confidence level = {cl!r}; it must lie between 0 and 1")
    known = read_model(Path(model)) if isinstance(model, (Path, str)) else model
    chosen = list(mus) or strengths(known, cl=cl, blind=bool(options.get("blind")))
    for _ in range(_EXTENSIONS):
        scan = run_toys(known, chosen, toys, folder, **options)
        try:
            limit = limit_of(scan, cl=cl)
        except OutOfRange as error:
            if mus:
                raise
            last, factor = (max(chosen), _RATIO) if error.higher else (min(chosen), 1 / _RATIO)
            chosen += [_rounded(last * factor**n) for n in range(1, _ADDED + 1)]
            continue
        failed, reporter = sum(of.failed for of in scan), options.get("reporter")
        if failed and reporter is not None:
            reporter.warn(f"the fits to {failed} of {2 * toys * len(scan)} toys did not converge; they are left out")
        return limit
    raise FitError(f"no limit found for mu from {min(chosen):g} to {max(chosen):g}; is there signal where data are?")


def strengths(model: AnyModel, *, cl: float = 0.95, blind: bool = False) -> list[float]:
    """Return strengths around the asymptotic limits, to three digits: equal ones for equal models.

    Raises
    ------
    FitError
        If there are no asymptotic limits.
    """
    limit = asymptotic_limit(_profiles(model, blind=blind), cl=cl)
    hidden = blind or (isinstance(model, Model) and not model.observed)
    known = [*limit.expected, *([] if hidden or limit.observed is None else [limit.observed])]
    low, high = _BELOW * min(known), _ABOVE * max(known)
    number = math.ceil(math.log(high / low) / math.log(_RATIO))
    return [_rounded(mu) for mu in np.geomspace(low, high, number + 1)]


def _profiles(model: AnyModel, *, blind: bool) -> ModelProfiles | PyhfProfiles | RooFitProfiles:
    if isinstance(model, Workspace):
        return PyhfProfiles(model, blind=blind)
    if isinstance(model, RooFitModel):
        return RooFitProfiles(model, blind=blind)
    return ModelProfiles(with_expectation(model))


def source_of(model: AnyModel, *, blind: bool = False) -> ToySource:
    """Return the source of toys of a model."""
    if isinstance(model, RooFitModel):
        return RooFitToys(model, blind=blind)
    if isinstance(model, Workspace):
        return PyhfToys(model, blind=blind)
    return ModelToys(model, blind=blind)


def blocks_of(mus: Sequence[float], toys: int, seed: int, chunk: int) -> list[dict[str, Any]]:
    """Return the points of the step: blocks of at most ``chunk`` toys of one strength and one hypothesis."""
    return [
        {"mu": mu, "index": index, "signal": signal, "seed": seed, "first": first, "toys": min(chunk, toys - first)}
        for index, mu in enumerate(mus)
        for signal in (False, True)
        for first in range(0, toys, chunk)
    ]


def throw(block: Mapping[str, Any], model: Path, measurement: str = "", blind: bool = False) -> list[float]:
    """Throw the toys of a block: what the step returns for a point.

    Parameters
    ----------
    block : mapping
        One of `blocks_of`.
    model : Path
    measurement : str
    blind : bool

    Returns
    -------
    list of float
        The statistic of each toy, which is not a number where a fit did not converge.
    """
    source = _source(str(model), measurement, blind)
    first, settings = block["first"], {name: block[name] for name in ("signal", "seed", "index")}
    return [throw_toy(source, block["mu"], number, **settings) for number in range(first, first + block["toys"])]


@lru_cache(maxsize=1)
def _source(path: str, measurement: str, blind: bool) -> ToySource:
    """Read a model once for all chunks of a process: its path changes with its content."""
    file = Path(path)
    model = received(parse_json(file.read_bytes()), file.parent) or read_model(file, (), measurement)
    return source_of(model, blind=blind)


def _check_options(mus: Sequence[float], toys: int, seed: int, chunk: int) -> None:
    if not mus:
        raise ConfigError("no signal strengths to throw toys for")
    if seed < 0 or chunk < 1:
        raise ConfigError(f"seed = {seed}, chunk = {chunk}; give a seed of 0 or more, and a chunk of 1 toy or more")
    try:
        for mu in mus:
            check(mu, toys)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _write(
    folder: Path, model: AnyModel, mus: Sequence[float], toys: int, *, seed: int, blind: bool, chunk: int
) -> None:
    """Write the analysis with its one step, unless the folder holds another analysis."""
    import json

    import yaml

    path = folder / "analysis.yaml"
    if path.exists() and f"name: {NAME}\n" not in path.read_text(encoding="utf-8"):
        raise ConfigError(f"{path}: belongs to another analysis; give toys a separate folder")
    options = {"mus": list(map(float, mus)), "toys": toys, "seed": seed, "chunk": chunk, "blind": blind}
    if isinstance(model, Workspace):
        options["measurement"] = model.measurement
    step = {"name": STEP, "function": "toy_module:toys", "points": "toy_module:blocks", "options": options}
    text = yaml.safe_dump({"name": NAME, "steps": [step]}, sort_keys=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}; give another folder") from None
    files: list[str] = []
    if isinstance(model, RooFitModel):
        content, files = shipped(model, folder)
    else:
        content = json.dumps(model.spec) if isinstance(model, Workspace) else model.model_dump_json()
    module = _MODULE.format(files=json.dumps(["model.json", *files]))
    for name, written in (("model.json", content), ("toy_module.py", module), ("analysis.yaml", text)):
        with write_atomic(folder / name) as aside:
            aside.write_text(written, encoding="utf-8")


def _collected(results: Results, index: int, mu: float, observed: float | None) -> ToyStatistics:
    """Put the blocks of one strength together."""
    thrown: dict[bool, list[float]] = {False: [], True: []}
    for block, values in zip(results["points"], results["values"], strict=True):
        if block["index"] == index:
            thrown[block["signal"]] += values
    return statistics_of(mu, observed, np.array(thrown[False]), np.array(thrown[True]))


def _rounded(mu: float) -> float:
    return float(f"{mu:.3g}")
