"""Selections declared in a file: cuts, the choice of a candidate, weights, histograms and a tree."""

from portico.selection.booking import book, event_weight
from portico.selection.load import load_selection
from portico.selection.model import Selection
from portico.selection.resolve import resolve

__all__ = ["Selection", "book", "event_weight", "load_selection", "resolve"]
