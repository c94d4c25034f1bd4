"""The keys of ``selection.yaml`` for corrections and look-ups."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from portico.config import Model

__all__ = ["Correction", "Lookup"]


class Correction(Model):
    """A correction from a correctionlib file of schema version 2.

    Parameters
    ----------
    file : str
        JSON, optionally compressed with gzip; relative to the folder of the selection.
    name : str, optional
        Name of the correction or compound correction in the file; by default the name of the function.
    range : str
        Treatment of numbers outside all bins: ``refuse`` ends the run with an error, ``clamp`` uses the nearest bin.
        It applies to all bins of the correction and overrides the file. Unknown strings and not-a-number are always
        refused.
    """

    file: str
    name: str | None = None
    range: Literal["refuse", "clamp"] = "refuse"


class Lookup(Model):
    """A value for each event, looked up in a table by run, luminosity block and event, never by position.

    Parameters
    ----------
    file : str
        ``.root`` with a TTree or RNTuple, ``.parquet``, or ``.json`` with a list for each column; relative to the
        folder of the selection.
    value : str
        The column of values.
    key : tuple of str
        The columns of run, luminosity block and event: integers of any numeric type. A negative integer is the bit
        pattern of a large one.
    tree : str, optional
        The tree of a ROOT file; by default the only one.
    missing : "refuse" or float
        Treatment of events without an entry: an error, or this value.
    """

    file: str
    value: str
    key: tuple[str, str, str] = ("run", "lumi", "event")
    tree: str | None = None
    missing: Literal["refuse"] | Annotated[float, Field(allow_inf_nan=False)] = "refuse"
