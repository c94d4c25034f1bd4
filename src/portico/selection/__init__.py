"""Selections declared in a file: which candidates, which one of an event, with which weights, into which histograms."""

from portico.selection.booking import book, event_weight
from portico.selection.model import Selection, load_selection
from portico.selection.resolve import resolve

__all__ = ["Selection", "book", "event_weight", "load_selection", "resolve"]
