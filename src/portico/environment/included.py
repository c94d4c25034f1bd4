"""C++ that a step reaches: headers, macros and libraries that its modules name, and what these include.

Files of the system, of ROOT and of portico are left out: versions stand for them. All others enter the key and travel
with the bundle, in which each has one place; an ``#include`` that would not find it there is written differently.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from portico.environment.looked import is_file
from portico.environment.strings import strings_of
from portico.errors import ConfigError
from portico.root import root_folder

__all__ = ["INCLUDE", "OUTSIDE", "Included", "file_name", "included", "is_of_the_system"]

INCLUDE = re.compile(r'^([ \t]*#[ \t]*(?:include|import)[ \t]*)(?:"([^"\n]+)"|<([^>\n]+)>)', re.MULTILINE)
"""A directive; its groups are what stands before the name, and the name in quotes or in brackets."""

OUTSIDE = "_outside"
"""The folder of a bundle for files that lie outside of the analysis, by their absolute path."""

_BY_MACRO = re.compile(r"^[ \t]*#[ \t]*include[ \t]*([A-Za-z_]\w*)", re.MULTILINE)
_COMMAND = re.compile(r"^\s*\.[LxXU]\s+(\S.*)$", re.MULTILINE)
_FILE = re.compile(
    r"(?P<file>\S.*?\.(?:hh?|hpp|hxx|H|C|cc|cpp|cxx|c|cu|icc|inl|ipp|so|dylib|pcm))(?:\+{1,2}\w*)?(?:\(.*\))?;?"
)
_LIBRARY = re.compile(r"(?:\S*/)?lib[\w.-]+|\S+_(?:C|cc|cpp|cxx|h)")
_QUOTED = re.compile(r'"([^"\n\\]+)"|R__LOAD_LIBRARY\(\s*([^")\s]+)\s*\)')
_ADD_FOLDER = {"AddIncludePath", "SetIncludePath", "add_include_path", "AddDynamicPath", "SetDynamicPath",
               "add_library_path", "SetMacroPath"}  # fmt: skip
_FOLDER = re.compile(r"(?:-I\s*)?([^\s:]+)")
_FOLDER_COMMAND = re.compile(r"^\s*\.(?:include|I)\s+(\S+)", re.MULTILINE)
_SEARCHED = ("ROOT_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "CPATH", "LD_LIBRARY_PATH")  # lists of folders
_BINARY = {".so", ".dylib", ".pcm", ".rootmap"}
_SYSTEM = (
    "/usr/include", "/usr/lib", "/usr/lib64", "/usr/local", "/usr/share", "/lib", "/lib64", "/etc", "/opt", "/cvmfs",
    "/nix",
)  # fmt: skip


@dataclass(slots=True)
class Included:
    """Files of C++, by their names in the bundle.

    Parameters
    ----------
    members : dict of str to Path
        The files that were read.
    contents : dict of str to bytes
        Their contents, with the ``#include`` lines that the bundle needs.
    digests : dict of str to str
        Digest of each and of all that it includes.
    spelled : dict of str to str
        From a file as Python code names it to its name in the bundle.
    """

    members: dict[str, Path] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)


def file_name(text: str) -> str:
    """Return the file that a string names to ROOT, without ``+`` and arguments; empty if it names none."""
    found = _FILE.fullmatch(text.strip()) if len(text) < 1000 and "\n" not in text else None
    return found["file"] if found else ""


def included(
    modules: Mapping[str, tuple[Path, ast.Module]], declared: Sequence[Path], root: Path, function: str
) -> Included:
    """Find the C++ files that modules name, and those that they and the declared ones include.

    Names are relative to the folder of the module, to ``root``, to the working directory, or to the folders in which
    ROOT searches: those that the modules add, and of environment variables.

    Parameters
    ----------
    modules : mapping of str to (Path, ast.Module)
        The modules, by name.
    declared : sequence of Path
        The headers and sources that the step declares.
    root : Path
        The folder that names in the bundle are relative to.
    function : str
        The step, for messages.

    Raises
    ------
    ConfigError
        If a declared file does not exist, or a file includes another by a macro.
    """
    listed = [os.environ.get(name, "").split(":") for name in _SEARCHED]
    search = _Search(root, [root, Path.cwd(), *(Path(folder) for of in listed for folder in of if folder)])
    for file in declared:
        if not is_file(file):
            raise ConfigError(f"{function}: no C++ file {file}")
        search.add(file)
    for path, text in strings_of(modules, _ADD_FOLDER):
        search.folders += [path.parent / folder for folder in _FOLDER.findall(text)]
    for path, text in strings_of(modules):
        search.folders += [path.parent / folder for folder in _FOLDER_COMMAND.findall(text)]
    for path, text in strings_of(modules):
        for name in _named(text):
            search.spell(name, path.parent)
    return search.result()


def _named(text: str) -> Iterator[str]:
    """Yield the files that a string of Python names: in directives, in commands to ROOT, or as a whole."""
    yield from (match[2] or match[3] for match in INCLUDE.finditer(text))
    for command in _COMMAND.findall(text):
        yield file_name(command) or command.strip()
    if whole := file_name(text):
        yield whole
    elif "\n" not in text and _LIBRARY.fullmatch(text):
        yield f"{text}.so"


class _Search:
    """The files that were found, and those that still have to be read."""

    def __init__(self, root: Path, folders: list[Path]) -> None:
        self.folders = folders
        self._root = root.resolve()
        self._result = Included()
        self._includes: dict[str, list[str]] = {}

    def spell(self, name: str, folder: Path) -> None:
        """Add the file that code in ``folder`` means by a name, if there is one."""
        if (path := self._find(name, [folder])) is not None:
            self._result.spelled.setdefault(name, self.add(path))

    def add(self, path: Path) -> str:
        """Add a file and all that it includes; return its name in the bundle."""
        real = path.resolve()
        folders = [Path(os.path.abspath(path)).parent, real.parent]  # noqa: PTH100 (the first is that of a link)
        member = self._member(real)
        if member in self._result.members:
            return member
        content = real.read_bytes()
        self._result.members[member], self._result.contents[member] = real, content
        self._includes[member] = []
        if real.suffix in _BINARY:
            self._add_companions(real)
            return member
        text = content.decode("utf-8", "surrogateescape")
        if by_macro := _BY_MACRO.search(text):
            raise ConfigError(
                f"{path}: #include {by_macro[1]} is a macro, and what it includes cannot be read; write the file's name"
            )
        text = INCLUDE.sub(lambda match: self._directive(match, member, folders), text)
        for quoted, bare in _QUOTED.findall(text):
            for name in _named(quoted or bare):
                if (found := self._find(name, folders)) is not None:
                    self._includes[member].append(self.add(found))
        self._result.contents[member] = text.encode("utf-8", "surrogateescape")
        return member

    def _directive(self, match: re.Match[str], member: str, folders: list[Path]) -> str:
        found = self._find(match[2] or match[3], folders)
        if found is None:
            return match[0]
        target = self.add(found)
        self._includes[member].append(target)
        here = os.path.dirname(member)  # noqa: PTH120 (names in a bundle)
        if os.path.normpath(os.path.join(here, match[2] or "")) == target:  # noqa: PTH118
            return match[0]
        return f'{match[1]}"{os.path.relpath(target, here or ".")}"'

    def _add_companions(self, library: Path) -> None:
        """Add the dictionaries of a library, which ROOT looks for beside it."""
        stem = library.stem
        for name in (f"{stem}_rdict.pcm", f"{stem}.rootmap", f"{stem.removeprefix('lib')}_rdict.pcm"):
            if is_file(beside := library.with_name(name)):
                self._includes[self._member(library)].append(self.add(beside))

    def _find(self, name: str, folders: list[Path]) -> Path | None:
        name = os.path.expanduser(os.path.expandvars(name))  # noqa: PTH111 (as ROOT does)
        for base in (*folders, *self.folders):
            path = base / name
            if is_file(path):
                real = path.resolve()
                return path if real.is_relative_to(self._root) or not is_of_the_system(real) else None
        return None

    def _member(self, real: Path) -> str:
        if real.is_relative_to(self._root):
            return real.relative_to(self._root).as_posix()
        return f"{OUTSIDE}{real.as_posix()}"

    def result(self) -> Included:
        """Return what was found, with digests."""
        own = {member: hashlib.sha256(path.read_bytes()).hexdigest() for member, path in self._result.members.items()}
        for member in own:
            reached, queue = {member}, [member]
            while queue:
                new = set(self._includes[queue.pop()]) - reached
                reached |= new
                queue += new
            texts = [f"{name}={own[name]}" for name in (member, *sorted(reached - {member}))]
            self._result.digests[member] = hashlib.sha256("\0".join(texts).encode()).hexdigest()
        return self._result


@cache
def _system_folders() -> tuple[Path, ...]:
    home = root_folder()
    root = [home] if home is not None else []
    named = [Path(os.environ[name]) for name in ("ROOTSYS", "CONDA_PREFIX") if os.environ.get(name)]
    prefixes = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1]]
    # Of another environment, which a .pth file or PYTHONPATH adds to this one.
    installed = [Path(entry) for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
    return tuple(path.resolve() for path in (*map(Path, _SYSTEM), *root, *named, *prefixes, *installed))


def is_of_the_system(path: Path) -> bool:
    """Return whether a file belongs to the system, ROOT, Python or portico, for which versions stand."""
    return any(path.is_relative_to(folder) for folder in _system_folders())
