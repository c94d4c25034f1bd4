"""Conversion of RDataFrame scripts to analyses: what would not work in a step, and a first analysis."""

from __future__ import annotations

from portico.lint.check import check
from portico.lint.finding import Finding
from portico.lint.script import Script, read_script
from portico.lint.write import Written, write

__all__ = ["Finding", "Script", "Written", "check", "read_script", "write"]
