"""Simulates one sample in a folder of its own, outside of the analysis: what `hnl simulate` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hnl.processes import MODES, event_expression
from portico.analysis.analysis import load_analysis
from portico.errors import ConfigError
from portico.files.atomic import write_atomic
from portico.workflow.run import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.runfolder.load import Run
    from portico.workflow.chunk_loop import Reporter

__all__ = ["simulate_sample"]

FAST_CHUNK, FULL_CHUNK = 5000, 1000  # events a file, without and with pile-up: 12 and 35 MB


def simulate_sample(
    output: Path, entries: int, parameters: Mapping[str, Any], *, kind: str | None = None, written_as: str = "rntuple",
    on: str = "local", workers: int | None = None, reporter: Reporter | None = None,
) -> Run:  # fmt: skip
    """Write the events of one sample to ROOT files of a few thousand events; what is done already is kept.

    Parameters
    ----------
    output : Path
        Folder of the analysis and its run folder ``run``.
    entries : int
        Events to make. Another number makes all events anew, the first ones the same.
    parameters : mapping
        Of the sample, as in `hnl.simulate`; ``process``, ``mode`` and ``seed`` among them.
    kind : {"data", "signal", "background"}, optional
        By default ``signal`` for the process of that name, else ``background``.
    written_as : {"rntuple", "ttree"}
        Format of the files.
    on, workers, reporter
        As in `portico.run`.

    Raises
    ------
    ConfigError
        If the parameters are wrong, or the folder holds other events.
    PorticoError
        As `portico.run`.
    """
    description = json.loads((Path(__file__).parents[1] / "pools" / "pools.json").read_text(encoding="utf-8"))
    try:
        event_expression(dict(parameters), description)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    name = "_".join(str(parameters[key]) for key in ("process", "meson", "origin") if key in parameters)
    sample = {"kind": kind or ("signal" if parameters["process"] == "signal" else "background"), "entries": entries,
              "parameters": dict(parameters)}  # fmt: skip
    crowded = parameters.get("pileup", MODES[parameters["mode"]]) > 0.0
    step = {"name": "simulate", "function": "hnl.simulate:simulate", "options": {"format": written_as},
            "chunk": f"{FULL_CHUNK if crowded else FAST_CHUNK} entries"}  # fmt: skip
    path = _write_analysis(output, {"name": "hnl-simulate", "dataset": {"samples": {name: sample}}, "steps": [step]})
    return run(load_analysis(path), folder=output / "run", on=on, workers=workers, reporter=reporter)


def _write_analysis(output: Path, content: dict[str, Any]) -> Path:
    """Write the analysis, unless the folder is that of other events."""
    text = yaml.safe_dump(content, sort_keys=False)
    path = output / "analysis.yaml"
    if path.exists() and _without_entries(path.read_text(encoding="utf-8")) != _without_entries(text):
        raise ConfigError(f"{output}: holds an analysis or events made with other options; give another --output")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be made: {error.strerror}; give another --output") from None
    with write_atomic(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path


def _without_entries(text: str) -> list[str]:
    """Return the lines of an analysis but for the number of events, which may change."""
    return [line for line in text.splitlines() if not line.lstrip().startswith("entries:")]
