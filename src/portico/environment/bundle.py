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
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from portico.errors import ConfigError, nearest
from portico.step import Needs

__all__ = ["Bundle", "collect"]

_ROLES = {
    "frame": ("frame", "sample"), "points": ("point",), "summary": ("results", "samples"), "list": (),
}  # fmt: skip
_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


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
    """

    function: str
    needs: Needs
    options: tuple[str, ...]
    members: dict[str, Path]
    headers: dict[str, str]
    digest: str
    code: str
    archive: bytes

    def describe(self) -> dict[str, Any]:
        """Return what a worker needs besides the archive, ready for JSON."""
        return {
            "digest": self.digest,
            "headers": self.headers,
            "origins": {name: str(path) for name, path in self.members.items()},
        }


def collect(function: str, folder: Path, kind: str = "frame") -> Bundle:
    """Collect everything that ``module:function`` needs.

    The module is looked up in ``folder`` first, then among the installed packages. The bundle includes the modules
    that it imports, directly or indirectly, from the same folder (or the same installed package). ``kind`` is that of a
    function without a decorator.

    Raises
    ------
    ConfigError
        If the module, the function, a header or a file does not exist, or if a module is not valid Python.
    """
    module, _, name = function.partition(":")
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise ConfigError(
            f"function '{function}': '{module}' is a module of Python's standard library; rename {module}.py"
        )
    if not module or not name:
        raise ConfigError(f"function '{function}': write 'module:function', for example 'skim:skim'")
    root, package = _find_root(module, folder)
    sources = _modules(module, root, package)
    path, _ = sources[module]
    definition, needs = _find_function(ast.parse(sources[module][1]), name, function, path, Needs(kind))
    base = path.parent
    members = {_relative(path, root): path for path, _ in sources.values()}
    code = hashlib.sha256(function.encode())
    for relative, (_, text) in sorted((_relative(p, root), (p, t)) for p, t in sources.values()):
        code.update(f"\0{relative}\0{_normalised(text)}".encode())
    headers = {}
    for header in needs.headers:
        found = _header(base / header, function)
        members |= {_relative(p, root): p for p in found}
        headers[_relative(base / header, root)] = hashlib.sha256(b"\0".join(found.values())).hexdigest()
    for file in needs.files:
        members |= {_relative(p, root): p for p in _files(base / file, function)}
    contents = {relative: member.read_bytes() for relative, member in sorted(members.items())}
    digest = hashlib.sha256()
    for relative, content in contents.items():
        digest.update(f"\0{relative}\0".encode() + hashlib.sha256(content).digest())
        if not relative.endswith(".py"):
            code.update(f"\0{relative}\0".encode() + hashlib.sha256(content).digest())
    keywords = tuple(argument.arg for argument in definition.args.kwonlyargs)
    archive = _archive(contents)
    return Bundle(function, needs, keywords, members, headers, digest.hexdigest(), code.hexdigest(), archive)


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
        if candidate.is_file():
            return candidate.resolve()
    return None


def _modules(module: str, root: Path, package: str) -> dict[str, tuple[Path, str]]:
    """Return the file and text of a module and of all that it imports below the root."""
    found: dict[str, tuple[Path, str]] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        parents = [name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)]
        for candidate in (name, *parents):
            outside = package and candidate.partition(".")[0] != package
            path = _module_file(candidate, root)
            if candidate in found or outside or path is None or candidate.partition(".")[0] in sys.stdlib_module_names:
                continue
            try:
                text = path.read_text(encoding="utf-8")
                tree = ast.parse(text)
            except (SyntaxError, UnicodeDecodeError) as error:
                line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
                raise ConfigError(f"{path}{line}: not valid Python: {error}") from error
            found[candidate] = (path, text)
            queue.extend(_imports(tree, candidate, path.name == "__init__.py"))
    return found


def _imports(tree: ast.Module, module: str, is_package: bool) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in names if name]


def _find_function(
    tree: ast.Module, name: str, function: str, path: Path, needs: Needs
) -> tuple[ast.FunctionDef, Needs]:
    definitions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name not in definitions:
        raise ConfigError(f"{path}: no function '{name}'; {nearest(name, definitions)}")
    definition = definitions[name]
    for decorator in definition.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        called = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
        if called == "summary":
            needs = Needs("summary")
        elif called in {"step", "points"}:
            lists = _lists(decorator, called, function, path) if isinstance(decorator, ast.Call) else ()
            needs = Needs("frame" if called == "step" else "points", *lists)
    roles = _ROLES[needs.kind]
    if len(definition.args.posonlyargs + definition.args.args) != len(roles):
        words = ", ".join([*roles, "*", "..."])
        raise ConfigError(f"{path}:{definition.lineno}: '{name}' must be defined as {name}({words})")
    return definition, needs


def _lists(decorator: ast.Call, name: str, function: str, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    lists: dict[str, tuple[str, ...]] = {"headers": (), "files": ()}
    valid = ("headers", "files") if name == "step" else ("files",)
    for keyword in decorator.keywords:
        try:
            value = ast.literal_eval(keyword.value)
        except ValueError:
            value = None
        if (
            keyword.arg is None
            or keyword.arg not in valid
            or not isinstance(value, (list, tuple))
            or not all(isinstance(v, str) for v in value)
        ):
            raise ConfigError(
                f"{path}:{decorator.lineno}: @{name} of '{function}' takes "
                f"{' and '.join(f'{key}=[...]' for key in valid)}, written out as lists of strings"
            )
        lists[keyword.arg] = tuple(value)
    return lists["headers"], lists["files"]


def _header(path: Path, function: str) -> dict[Path, bytes]:
    """Return the header and what it includes in quotes, each with its content."""
    found: dict[Path, bytes] = {}
    queue = [path.resolve()]
    while queue:
        current = queue.pop(0)
        if current in found:
            continue
        if not current.is_file():
            raise ConfigError(f"{function}: no C++ header {current}")
        found[current] = current.read_bytes()
        included = (current.parent / name.decode() for name in _INCLUDE.findall(found[current]))
        queue += [candidate.resolve() for candidate in included if candidate.is_file()]
    return found


def _files(path: Path, function: str) -> list[Path]:
    if path.is_dir():
        return sorted(p.resolve() for p in path.rglob("*") if p.is_file())
    if not path.is_file():
        raise ConfigError(f"{function}: no file {path}")
    return [path.resolve()]


def _relative(path: Path, root: Path) -> str:
    try:
        return str(PurePosixPath(path.resolve().relative_to(root.resolve())))
    except ValueError as error:
        raise ConfigError(f"{path} lies outside {root}; only files below it can be shipped to workers") from error


def _normalised(text: str) -> str:
    """Return a module without comments, layout and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(getattr(body[0].value, "value", None), str):
                node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _archive(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for relative, content in contents.items():
            archive.writestr(zipfile.ZipInfo(relative, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def key_of(*parts: object) -> str:
    """Return the digest of a list of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
