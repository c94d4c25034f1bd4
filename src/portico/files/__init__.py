"""Input files: their content, and retries where a server does not answer."""

from __future__ import annotations

from portico.files.remote import is_remote, may_pass, no_connection, retried, tune_xrootd
from portico.files.summary import (
    Column,
    TreeSummary,
    column_changes,
    summarise,
    summarise_all,
    summarise_each,
    trees,
    version_of,
)

__all__ = [
    "Column",
    "TreeSummary",
    "column_changes",
    "is_remote",
    "may_pass",
    "no_connection",
    "retried",
    "summarise",
    "summarise_all",
    "summarise_each",
    "trees",
    "tune_xrootd",
    "version_of",
]
