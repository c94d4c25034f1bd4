"""The bundle: the modules, headers and files of one step, found without running any of them.

It has two digests. ``digest`` identifies the exact content and names its folder on the worker. ``code``
identifies the code that can change a result: it ignores comments, layout and docstrings.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from portico.environment.decorators import find_function, imported_names
from portico.environment.included import included
from portico.environment.library import build, compiler, library_name
from portico.environment.looked import Kept, is_file, note
from portico.environment.variables import variables_of
from portico.errors import ConfigError, nearest
from portico.step import Needs

__all__ = ["Bundle", "collect", "kind_of", "one_code"]

_kept: Kept[tuple[str, Path, str], Bundle] = Kept()  # a session plans the same steps again and again
_COLLECTED: ContextVar[dict[tuple[str, Path, str], Bundle] | None] = ContextVar("collected", default=None)


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that is shipped to a worker for one step.

    Parameters
    ----------
    function : str
        ``module:function``.
    needs : Needs
        The headers and files that the function declares, relative to the bundle's root.
    options : tuple of str
        Names of the function's keyword-only options.
    members : mapping of str to Path
        From the relative path in the bundle to the file that was read.
    headers : mapping of str to str
        From the relative path of each declared header to a digest of it and of all that it includes.
    digest : str
        Digest of the exact content.
    code : str
        Digest of the code that can change a result.
    archive : bytes
        The members as a zip file.
    included : mapping of str to str
        From the relative path of each file of C++ to a digest of it and of all that it includes.
    spelled : mapping of str to str
        From a file of C++ as the modules name it to its relative path.
    variables : mapping of str to str or None
        The environment variables that the code reads, as they are here.
    sources : mapping of str to str
        From the relative path of each declared C++ source to a digest of it and of all that it includes.
    library : str
        The library that is made of the sources, by its name in the archive; empty if each process compiles them.
    """

    function: str
    needs: Needs
    options: tuple[str, ...]
    members: dict[str, Path]
    headers: dict[str, str]
    digest: str
    code: str
    archive: bytes
    included: dict[str, str] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    library: str = ""

    @property
    def declared(self) -> dict[str, str]:
        """The files of C++ that a process includes, with their digests: the sources too, without a library of them."""
        return self.headers if self.library else self.headers | self.sources

    def with_library(self, say: Callable[[str], None] = lambda _: None) -> Bundle:
        """Return the bundle with the library of its C++ sources in the archive; it is compiled unless it is kept.

        Parameters
        ----------
        say : callable
            Takes a line for the user before something is compiled.

        Raises
        ------
        PorticoError
            As `portico.environment.library.build`.
        """
        if not self.library:
            return self
        library = build(self.library, list(self.sources), self.archive, self.function, say)
        return replace(self, archive=_zipped(((self.library, library),), self.archive))

    def describe(self) -> dict[str, Any]:
        """Return what a worker needs besides the archive, ready for JSON."""
        return {
            "digest": self.digest,
            "function": self.function,
            "needs": asdict(self.needs),
            "headers": self.headers,
            "included": self.included,
            "spelled": self.spelled,
            "variables": self.variables,
            "sources": self.sources,
            "library": self.library,
            "declared": self.declared,
            "origins": {name: str(path) for name, path in self.members.items()},
        }


@contextmanager
def one_code() -> Iterator[None]:
    """Read the code of each function once: while the block runs, `collect` returns what it returned first.

    What is saved meanwhile belongs to the next run, so that a run never mixes two versions of a module.
    """
    token = _COLLECTED.set({}) if _COLLECTED.get() is None else None
    try:
        yield
    finally:
        if token is not None:
            _COLLECTED.reset(token)


def collect(function: str, folder: Path, kind: str = "frame") -> Bundle:
    """Collect everything that ``module:function`` needs.

    The module is looked up in ``folder`` first, then among the installed packages. The bundle includes the modules
    that it imports, directly or indirectly, from the same folder (or the same installed package). ``kind`` is that of a
    function without a decorator.

    Raises
    ------
    ConfigError
        If the module, the function, a header, a source or a file does not exist, or if a module is not valid Python.
    """
    collected, key = _COLLECTED.get(), (function, folder, kind)
    if collected is not None and key in collected:
        return collected[key]
    found = _kept.get(key, lambda: _collect(*key))
    if collected is not None:
        collected[key] = found
    return found


def _collect(function: str, folder: Path, kind: str) -> Bundle:
    module, _, name = function.partition(":")
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise ConfigError(
            f"function '{function}': '{module}' is a module of Python's standard library; rename {module}.py"
        )
    if not module or not name:
        raise ConfigError(f"function '{function}': write 'module:function', for example 'skim:skim'")
    root, package = _find_root(module, folder)
    modules = _modules(module, root, package)
    trees = {name: (path, tree) for name, (path, _, tree) in modules.items()}
    definition, needs = find_function(module, name, trees, Needs(kind))
    base = trees[module][0].parent
    reached = included(trees, [base / name for name in (*needs.headers, *needs.sources)], root, function)
    files = [path for path, _ in trees.values()] + [p for file in needs.files for p in _files(base / file, function)]
    members = reached.members | {_relative(path, root): path for path in files}
    contents = {relative: path.read_bytes() for relative, path in sorted(members.items())} | reached.contents
    codes = {_relative(path, root): text for path, text, _ in modules.values()}
    texts = [content.decode(errors="replace") for content in reached.contents.values()]
    variables = variables_of([*codes.values(), *texts])
    headers, sources = (
        {(member := _relative(base / name, root)): reached.digests[member] for name in names}
        for names in (needs.headers, needs.sources)
    )
    made_by = compiler() if sources else None
    library = library_name(sources, made_by.identity) if made_by is not None else ""
    code = hashlib.sha256(f"{function}{library}".encode())
    for relative, text in sorted(codes.items()):
        code.update(f"\0{relative}\0{_normalised(text)}".encode())
    digest = hashlib.sha256(json.dumps([function, asdict(needs), reached.spelled, variables, library]).encode())
    for relative, content in sorted(contents.items()):
        digest.update(f"\0{relative}\0".encode() + hashlib.sha256(content).digest())
        if not relative.endswith(".py"):
            code.update(f"\0{relative}\0".encode() + hashlib.sha256(content).digest())
    if variables:
        code.update(json.dumps(variables, sort_keys=True).encode())
    return Bundle(
        function, needs, tuple(argument.arg for argument in definition.args.kwonlyargs), members,
        headers, digest.hexdigest(), code.hexdigest(), _archive(tuple(contents.items())),
        reached.digests, reached.spelled, variables, sources, library,
    )  # fmt: skip


def kind_of(function: str, folder: Path) -> str:
    """Return the kind of step that ``module:function`` is; see `collect`, of which this is a part."""
    if (found := (_COLLECTED.get() or {}).get((function, folder, "frame"))) is not None:
        return found.needs.kind
    module, _, name = function.partition(":")
    root, package = _find_root(module, folder)
    trees = {name: (path, tree) for name, (path, _, tree) in _modules(module, root, package).items()}
    return find_function(module, name, trees, Needs("frame"))[1].kind


def _find_root(module: str, folder: Path) -> tuple[Path, str]:
    """Return the folder that module names are relative to, and the package to stay within ('' for all)."""
    if _module_file(module, folder) is not None:
        return folder.resolve(), ""
    top = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin is not None:
        origin = Path(spec.origin).resolve()
        root = origin.parent.parent if spec.submodule_search_locations else origin.parent
        if _module_file(module, root) is not None:
            return root, top
    local = sorted(p.stem for p in folder.glob("*.py"))
    raise ConfigError(f"no module '{module}' in {folder} or among the installed packages; {nearest(module, local)}")


def _module_file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for candidate in (base.with_name(base.name + ".py"), base / "__init__.py"):
        if is_file(candidate):
            return candidate.resolve()
    return None


def _modules(module: str, root: Path, package: str) -> dict[str, tuple[Path, str, ast.Module]]:
    """Return file, text and syntax tree of a module and of all that it imports below the root."""
    found: dict[str, tuple[Path, str, ast.Module]] = {}
    queue, seen = [module], set[str]()
    while queue:
        name = queue.pop()
        parents = [name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)]
        for candidate in (name, *parents):
            top = candidate.partition(".")[0]
            if candidate in seen or (package and top != package) or top in sys.stdlib_module_names:
                continue
            seen.add(candidate)
            path = _module_file(candidate, root)
            if path is None:
                continue
            try:
                text = path.read_text(encoding="utf-8")
                tree = _parse(text)
            except (SyntaxError, UnicodeDecodeError) as error:
                line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
                raise ConfigError(f"{path}{line}: not valid Python: {error}") from error
            found[candidate] = (path, text, tree)
            queue.extend(_imports(tree, candidate, path.name == "__init__.py"))
    return found


# A run collects the bundle of each step several times. What follows from the text of a module alone is kept.
_parse = lru_cache(maxsize=1024)(ast.parse)


@lru_cache(maxsize=1024)
def _imports(tree: ast.Module, module: str, is_package: bool) -> tuple[str, ...]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            for name, path in imported_names(node, module, is_package):
                found += [path] if name == "*" else [path, path.rpartition(".")[0]]
    return tuple(found)


def _files(path: Path, function: str) -> list[Path]:
    note(path)
    if path.is_dir():
        for inside in (found := sorted(path.rglob("*"))):
            note(inside)
        return sorted(p.resolve() for p in found if p.is_file())
    if not path.is_file():
        raise ConfigError(f"{function}: no file {path}")
    return [path.resolve()]


def _relative(path: Path, root: Path) -> str:
    try:
        return str(PurePosixPath(path.resolve().relative_to(root.resolve())))
    except ValueError as error:
        raise ConfigError(f"{path} lies outside {root}; only files below it can be shipped to workers") from error


@lru_cache(maxsize=1024)
def _normalised(text: str) -> str:
    """Return a module without comments, layout and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(getattr(body[0].value, "value", None), str):
                node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _zipped(contents: tuple[tuple[str, bytes], ...], others: bytes = b"") -> bytes:
    """Return a zip file of some members, besides those of another one."""
    buffer = io.BytesIO(others)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for relative, content in contents:
            archive.writestr(zipfile.ZipInfo(relative, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED, 1)
    return buffer.getvalue()


_archive = lru_cache(maxsize=16)(_zipped)


def key_of(*parts: object) -> str:
    """Return the digest of a list of values that JSON can hold.

    The order of a mapping's keys does not count, that of mappings within it does: options of a step are passed by name,
    but a step may go through the categories in one of them.
    """
    return hashlib.sha256(as_text(*parts).encode()).hexdigest()


def as_text(*parts: object) -> str:
    """Return the text whose digest `key_of` returns: a JSON array."""
    ordered = [dict(sorted(part.items())) if isinstance(part, Mapping) else part for part in parts]
    return json.dumps(ordered, separators=(",", ":"))
