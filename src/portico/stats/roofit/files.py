"""Objects of RooWorkspaces in ROOT files, each file opened once. Runs in a process of its own."""

from __future__ import annotations

from typing import Any, Final

from portico import root
from portico.errors import InputError, nearest_of_many

__all__ = ["Files", "choices", "opened", "unknown_classes"]

_OF_COMBINE: Final = "a class that ROOT does not have, such as those of Combine, cannot be read"


class Files:
    """RooWorkspaces of the files of a card.

    Parameters
    ----------
    where : str
        The card, for messages.
    """

    def __init__(self, where: str) -> None:
        self._root, self._where = root.load(), where
        self._spaces: dict[tuple[str, str], Any] = {}
        self._opened: dict[str, Any] = {}

    def _wrong(self, what: str, line: int) -> InputError:
        return InputError(f"{self._where}{f', line {line}' if line else ''}: {what}")

    def _space(self, path: str, name: str, line: int) -> Any:
        if (path, name) in self._spaces:
            return self._spaces[path, name]
        if path not in self._opened:
            if (file := opened(path)) is None:
                raise self._wrong(f"{path}: cannot be read: shapes are read from ROOT files", line)
            if unknown := unknown_classes(file):
                raise self._wrong(f"{path} has objects of {', '.join(unknown)}: {_OF_COMBINE}", line)
            self._opened[path] = file
        found = self._opened[path].Get(name)
        if not found or not found.InheritsFrom("RooWorkspace"):
            names = [key.GetName() for key in self._opened[path].GetListOfKeys()]
            raise self._wrong(f"{path} has no RooWorkspace '{name}'; {nearest_of_many(name, names, 'objects')}", line)
        self._spaces[path, name] = found
        return found

    def object(self, path: str, space: str, name: str, line: int, kind: str) -> Any:
        """Return a copy of an object.

        Parameters
        ----------
        path, space, name : str
        line : int
            Of the card, for messages.
        kind : {"data", "shape", "arg"}

        Raises
        ------
        InputError
            If it is not there, or of a class that ROOT does not have.
        """
        of = self._space(path, space, line)
        found = {"data": of.data, "shape": lambda n: of.pdf(n) or of.data(n), "arg": of.arg}[kind](name)
        if not found:
            every = {"data": of.allData, "shape": of.allPdfs, "arg": of.components}[kind]()
            names = [str(entry.GetName()) for entry in every]
            what = {"data": "data", "shape": "pdf", "arg": "parameter"}[kind]
            raise self._wrong(f"{path}:{space} has no {what} '{name}'; {nearest_of_many(name, names, 'objects')}", line)
        if kind == "shape" and found.InheritsFrom("RooDataSet"):
            raise self._wrong(f"{path}:{space}: '{name}' are events, no function and no histogram", line)
        if found.InheritsFrom("RooAbsData"):
            return found
        if several := choices(found):
            raise self._wrong(f"{path}:{space}: '{several}' is a RooMultiPdf, a choice of shapes: not read here", line)
        return found.cloneTree() if not found.InheritsFrom("RooRealVar") else found.Clone()

    def optional(self, path: str, space: str, name: str) -> Any:
        """Return a copy of a function or parameter, or None."""
        found = self._space(path, space, 0).arg(name)
        if not found:
            return None
        return found.cloneTree() if not found.InheritsFrom("RooRealVar") else found.Clone()


def choices(function: Any) -> str:
    """Return the name of a RooMultiPdf that a function depends on; empty if there is none."""
    return next((str(of.GetName()) for of in function.getComponents() if of.ClassName() == "RooMultiPdf"), "")


def opened(path: str) -> Any:
    """Return an open ROOT file; None if it cannot be read."""
    try:
        file = root.load().TFile.Open(path)
    except OSError:
        return None
    return None if not file or file.IsZombie() else file


def unknown_classes(file: Any) -> list[str]:
    """Return the classes of the objects in a file that ROOT has not."""
    classes = root.load().TClass
    found = []
    for info in file.GetStreamerInfoList():
        name = str(info.GetName())
        if not info.InheritsFrom("TStreamerInfo") or "<" in name:
            continue
        known = classes.GetClass(name, True, True)
        if not known or not known.IsLoaded():
            found.append(name)
    return sorted(set(found))
