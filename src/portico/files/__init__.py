"""Input files: their content, and retries where a server does not answer."""

from __future__ import annotations

from portico.files.objects import StoredObject, objects
from portico.files.remote import is_remote, may_pass, no_connection, retried, tune_xrootd
from portico.files.summaries import raise_errors, summarise_each
from portico.files.summary import Column, Friend, TreeSummary, column_changes, summarise, trees
from portico.files.version import version_of

__all__ = [
    "Column",
    "Friend",
    "StoredObject",
    "TreeSummary",
    "column_changes",
    "is_remote",
    "may_pass",
    "no_connection",
    "objects",
    "raise_errors",
    "retried",
    "summarise",
    "summarise_each",
    "trees",
    "tune_xrootd",
    "version_of",
]
