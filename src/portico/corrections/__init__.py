"""Temporary."""
from pathlib import Path
from typing import Any, Mapping
from portico.config import Model

class Correction(Model):
    file: str

class Lookup(Model):
    file: str

def declare(functions: Mapping[str, Any], folder: Path) -> str:
    return ""
