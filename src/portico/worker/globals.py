"""State that outlives a chunk: the global variables of the user's modules and the generators of random numbers.

Which chunks a process runs depends on the number of workers. A result that depends on what earlier chunks left behind
would depend on it too, so every chunk begins with the state that a new process has.
"""

from __future__ import annotations

import collections
import ctypes
import itertools
import random
import sys
import types
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path
from typing import Any

import numpy as np

from portico.worker.opened import watch

__all__ = ["Generators", "Globals"]

_ELEMENTS = 100_000  # of containers that are looked at, of one module
_BYTES = 2**26  # of an array that is looked at
_PICKLED = {"_io", "array", "builtins", "collections", "ctypes", "functools", "itertools", "types"}  # modules of types
_C = ctypes.CDLL(None)  # of the process
_ATOMS = (int, float, complex, str, bytes, bool, type(None), range, slice)


class Globals:
    """The global variables of the modules that are imported from a folder, as each import left them.

    Parameters
    ----------
    folder : Path
        Where modules of the user lie.
    """

    def __init__(self, folder: Path) -> None:
        self._prefix = f"{folder}/"
        self._taken: dict[str, dict[str, Any]] = {}
        self._hook = FileFinder.path_hook((partial(_Loader, self._take), SOURCE_SUFFIXES))  # type: ignore[arg-type]
        sys.path_hooks.insert(0, self._open)
        watch(folder)

    def _open(self, folder: str) -> Any:
        if not f"{folder}/".startswith(self._prefix):
            raise ImportError
        return self._hook(folder)

    def close(self) -> None:
        """Drop the modules, so that they are imported again, and see no later imports."""
        sys.path_hooks.remove(self._open)
        self.drop()

    def drop(self) -> None:
        """Drop the modules: the next import makes them as a new process would."""
        for name in self._modules():
            del sys.modules[name]
        self._taken.clear()

    def take(self) -> None:
        """Take the state as it is as that after the import."""
        for name in self._modules():
            self._take(name)

    def changed(self) -> list[str]:
        """Return the variables that have changed since they were imported, as ``module.name``."""
        changes, modules = [], self._modules()
        for name, before in self._taken.items():
            now = self._state(modules[name]) if name in modules else before
            keys = sorted(before.keys() | now.keys())
            changes += [f"{name}.{key}" for key in keys if before.get(key) != now.get(key)]
        return changes

    def _modules(self) -> dict[str, types.ModuleType]:
        return {
            name: module for name, module in list(sys.modules.items())
            if (getattr(module, "__file__", None) or "").startswith(self._prefix)
        }  # fmt: skip

    def _take(self, name: str) -> None:
        self._taken[name] = self._state(sys.modules[name])

    def _state(self, module: types.ModuleType) -> dict[str, Any]:
        look = _Look(module.__name__, self._prefix)
        return {
            key: look.at(value) for key, value in list(vars(module).items())
            if not (key.startswith("__") and key.endswith("__")) and not isinstance(value, types.ModuleType)
        }  # fmt: skip


class _Loader(SourceFileLoader):
    """Imports a module, and says so."""

    def __init__(self, imported: Callable[[str], None], name: str, path: str) -> None:
        super().__init__(name, path)
        self._imported = imported

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the module."""
        super().exec_module(module)
        self._imported(module.__name__)


class _Same:
    """Equal only to another one of the same object, which it keeps alive."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._thing is other._thing

    def __hash__(self) -> int:
        return id(self._thing)


class _Look:
    """Takes values of the user's variables such that equal ones have equal contents."""

    def __init__(self, module: str, prefix: str) -> None:
        self._module, self._prefix, self._left = module, prefix, _ELEMENTS
        self._seen: dict[int, Any] = {}  # kept alive, since another object might get the same id

    def at(self, value: Any) -> Any:
        """Return what can be compared later: contents as far as they are simple, otherwise the object itself."""
        if isinstance(value, float):
            return repr(value)  # NaN is equal to itself here
        if isinstance(value, _ATOMS):
            return type(value).__name__, value
        self._left -= 1
        if self._left < 0 or id(value) in self._seen:
            return _Same(value)
        if (plain := self._plain(value)) is not None:
            return plain
        members = self._members(value)
        if members is None:
            return _Same(value)
        self._seen[id(value)] = value
        return [type(value).__name__, [self.at(member) for member in members]]

    def _plain(self, value: Any) -> Any:
        """Return the contents of what is not a container of Python's."""
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            if value.nbytes > _BYTES:
                return (_Same(value), value.shape)
            return ("array", value.shape, value.dtype.str, zlib.adler32(np.ascontiguousarray(value).tobytes()))
        if isinstance(value, (random.Random, np.random.RandomState)):
            return value.getstate() if isinstance(value, random.Random) else _bits(value.get_state(legacy=False))
        if isinstance(value, (np.random.Generator, np.random.BitGenerator)):
            return _bits((value.bit_generator if isinstance(value, np.random.Generator) else value).state)
        if isinstance(value, itertools.count):
            return repr(value)
        return None

    def _members(self, value: Any) -> Iterable[Any] | None:
        """Return what a container, an object, or a function or class of the user's, holds; None if nobody looks."""
        if isinstance(value, (type, types.FunctionType)):
            return self._defined(value)
        if isinstance(value, (staticmethod, classmethod)):
            return (value.__func__,)
        if isinstance(value, types.GeneratorType):
            frame = value.gi_frame
            return () if frame is None else (frame.f_lasti, dict(frame.f_locals))
        of_the_user = self._is_of_the_user(type(value).__module__)
        attributes = object.__getstate__(value) if of_the_user else None
        if isinstance(value, (list, tuple, collections.deque)):
            return (attributes, *value)
        if isinstance(value, (set, frozenset)):
            return (attributes, *sorted(value, key=repr))
        if isinstance(value, (dict, types.MappingProxyType)):
            return (attributes, *itertools.chain.from_iterable(list(value.items())))
        if isinstance(value, np.ndarray):
            return list(value.flat)
        return (attributes,) if of_the_user else _reduced(value)

    def _defined(self, value: Any) -> Iterable[Any] | None:
        """Return what a class or function holds, unless it is looked at where it is defined."""
        home = getattr(value, "__module__", None) or ""
        of_others = not self._is_of_the_user(home)
        if home != self._module and (of_others or vars(sys.modules[home]).get(value.__name__) is value):
            return None
        if isinstance(value, type):
            return [part for item in sorted(vars(value).items()) for part in item if _counts(item[0])]
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        return [value.__dict__, value.__defaults__, value.__kwdefaults__, *cells]

    def _is_of_the_user(self, module: str) -> bool:
        return (getattr(sys.modules.get(module), "__file__", None) or "").startswith(self._prefix)


def _reduced(value: Any) -> Iterable[Any] | None:
    """Return from what pickle would make an object of Python's own types again, or a generator or histogram of ROOT."""
    home = type(value).__module__
    if home == "cppyy.gbl":
        import ROOT

        if not isinstance(value, (ROOT.TRandom, ROOT.TH1)):
            return None
    elif home not in _PICKLED:
        return None
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # a lock or an open file
        return None
    return (reduced,) if isinstance(reduced, str) else reduced


def _counts(name: str) -> bool:
    return not (name.startswith("__") and name.endswith("__"))


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _bits(state: Any) -> Any:
    """Return the state of a generator of numpy's with the bytes of its arrays: to print them takes milliseconds."""
    if isinstance(state, Mapping):
        return {name: _bits(value) for name, value in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state


class Generators:
    """The global generators of random numbers, of Python, numpy and ROOT, and the defaults of ROOT's histograms."""

    def __init__(self) -> None:
        self._taken, self._modules, self._defaults = self._states(), len(sys.modules), _defaults()

    def restore(self) -> list[str]:
        """Give the generators the state that they had; return the names of those that were in another.

        Some packages draw from Python's when they are imported. Where a module has been imported since the last time,
        this one is not named.
        """
        import ROOT

        ROOT.TH1.StatOverflows(self._defaults[0])
        ROOT.TH1.SetDefaultSumw2(self._defaults[1])
        _C.srand(1)  # as a process begins; nothing tells whether anybody has drawn
        _C.srand48(1)
        now, moved, modules = self._states(), [], len(sys.modules)
        imported, self._modules = modules > self._modules, modules
        if now["random"] != self._taken["random"]:
            random.setstate(self._taken["random"])
            moved += [] if imported else ["random"]
        if _bits(now["numpy.random"]) != _bits(self._taken["numpy.random"]):
            np.random.set_state(self._taken["numpy.random"])  # noqa: NPY002 (the one that user code may use)
            moved.append("numpy.random")
        if now["ROOT.gRandom"] != self._taken["ROOT.gRandom"]:
            ROOT.portico.SetRandomState(self._taken["ROOT.gRandom"])
            moved.append("ROOT.gRandom")
        return moved

    @staticmethod
    def _states() -> dict[str, Any]:
        import ROOT

        state = str(ROOT.portico.RandomState())
        of_numpy = np.random.get_state(legacy=False)  # noqa: NPY002 (the one that user code may use)
        return {"random": random.getstate(), "numpy.random": of_numpy, "ROOT.gRandom": state}


def _defaults() -> tuple[bool, bool]:
    """Return whether histograms count overflows in their means, and keep sums of squared weights from the start."""
    import ROOT

    return bool(ROOT.portico.CountsOverflows()), bool(ROOT.TH1.GetDefaultSumw2())
