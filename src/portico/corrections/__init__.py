"""Functions that expressions may call: corrections of correctionlib, and look-ups of a value by run, lumi and event."""

from __future__ import annotations

from portico.corrections.compiled import declare
from portico.corrections.model import Correction, Lookup

__all__ = ["Correction", "Lookup", "declare"]
