"""What ``selection.yaml`` may say about corrections and look-ups."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from portico.config import Model

__all__ = ["Correction", "Lookup"]


class Correction(Model):
    """A correction of a file of correctionlib, schema version 2.

    Parameters
    ----------
    file : str
        JSON, also compressed with gzip; relative to the folder of the selection.
    name : str, optional
        Of the correction or compound correction in the file; by default the name of the function.
    range : str
        What becomes of a number outside of all bins: ``refuse`` ends the run with an error, ``clamp`` takes the nearest
        bin. It holds for all bins of the correction, whatever the file says. An unknown word, and not-a-number, are
        refused in either case.
    """

    file: str
    name: str | None = None
    range: Literal["refuse", "clamp"] = "refuse"


class Lookup(Model):
    """A value for each event, from a table. It is found by run, luminosity block and event, never by position.

    Parameters
    ----------
    file : str
        ``.root`` with a TTree or RNTuple, ``.parquet``, or ``.json`` with a list for each column; relative to the
        folder of the selection.
    value : str
        The column of values.
    key : tuple of str
        The columns of run, luminosity block and event: whole numbers of any type. A negative integer is the bit pattern
        of a large one.
    tree : str, optional
        Of a ROOT file; by default its only one.
    missing : "refuse" or float
        What an event has that is not in the table: an error, or this value.
    """

    file: str
    value: str
    key: tuple[str, str, str] = ("run", "lumi", "event")
    tree: str | None = None
    missing: Literal["refuse"] | Annotated[float, Field(allow_inf_nan=False)] = "refuse"
