"""The methods of ROOT by which Python code declares C++, and their replacements in a process that runs steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["replace_methods"]

_METHODS = {
    "TInterpreter": {
        "Declare": "_declare", "LoadText": "_statement", "ProcessLine": "_line", "ProcessLineSynch": "_line",
        "Calc": "_statement", "LoadFile": "_load", "LoadMacro": "_load", "ExecuteMacro": "_execute", "Load": "_library",
        "AddIncludePath": "_include_folder",
    },
    "TROOT": {
        "ProcessLine": "_line", "ProcessLineSync": "_line", "ProcessLineFast": "_line", "LoadMacro": "_load",
        "Macro": "_execute",
    },
    "TApplication": {"ProcessLine": "_line", "ProcessFile": "_execute"},
    "TMacro": {"Load": "_macro", "Exec": "_macro"},
    "TSystem": {"Load": "_library", "CompileMacro": "_compile"},
    "TUnixSystem": {"Load": "_library"},
}  # fmt: skip
"""The methods by which Python declares C++, by class of ROOT, and the method that stands in for each."""


def replace_methods(handler: Any) -> None:
    """Let methods of ``handler`` stand in for those of ROOT, whose first argument becomes ROOT's own, bound method."""
    import cppyy

    for name, methods in _METHODS.items():
        klass = getattr(cppyy.gbl, name)
        for method, stand_in in methods.items():
            setattr(klass, method, _stand_in(vars(klass)[method], getattr(handler, stand_in)))


def _stand_in(original: Any, handler: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        bound = original.__get__(self, type(self))
        return handler(partial(bound, **options) if options else bound, *arguments)

    return method
