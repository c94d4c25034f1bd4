"""Functions that expressions may call: corrections from correctionlib, and look-ups by run, lumi and event."""

from __future__ import annotations

from portico.corrections.compiled import declare
from portico.corrections.model import Correction, Lookup

__all__ = ["Correction", "Lookup", "declare"]
