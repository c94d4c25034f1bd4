"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import portico

SRC = Path(__file__).resolve().parents[2] / "src"
PLUGINS = SRC.parent / "plugins" / "distrdf"
FILES = sorted([*SRC.rglob("*.py"), *PLUGINS.rglob("*.py")])

MODULE_LINES = 400
FUNCTION_LINES = 60
IMPORT_SECONDS = 0.3

# Lowest first. A module imports only from lines above its own, or from its own line.
LAYERS = (
    ("cpp", "errors", "shown", "_version"),
    ("config", "step", "root"),
    ("files",),
    ("analysis", "columns"),
    ("results",),
    ("runfolder",),
    ("environment",),
    ("worker",),
    ("clusters", "monitor"),
    ("executors",),
    ("doctor", "lint", "workflow"),
    ("corrections",),
    ("selection", "compare", "stats", "plot"),
    ("report",),
    ("interactive", "scaling"),
    ("cli",),
)

PUBLIC = {
    "Analysis", "Dataset", "Fill", "PorticoError", "Progress", "Results", "Run", "Sample", "Session", "__version__",
    "connect", "load", "load_analysis", "load_dataset", "points", "run", "session", "step", "summary",
}  # fmt: skip

QUESTIONS = {"What", "How", "Whether", "Where", "Who", "Why"}
PRIVATE = re.compile(
    r"\b(to be had|what lacks|lacking|outlives?|entrust\w*|passed over|anew|beneath|another place|told)\b"
    r"|(?<!there )(?<!There )\b(?:is|are) no (?!(?:longer|more|other|such)\b)[a-zA-Z]+"
)


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def module_of(file: Path) -> str:
    parts = file.relative_to(SRC if file.is_relative_to(SRC) else PLUGINS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file) for file in FILES}


def for_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(node: ast.AST, *, inside_functions: bool = True) -> Iterator[str]:
    """Modules that are imported when the code runs."""
    for child in ast.iter_child_nodes(node):
        if for_typing(child) or (
            not inside_functions and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        ):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports hide where a name comes from"
            base = child.module or ""
            yield from (f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in child.names)
        else:
            yield from imports(child, inside_functions=inside_functions)


def room(module: str) -> str:
    return module.split(".")[1]


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(file)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_modules_are_short() -> None:
    lines = {module_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {module: count for module, count in lines.items() if count > MODULE_LINES} == {}, "split them"


def test_functions_are_short() -> None:
    lines = {
        f"{module_of(file)}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for file in FILES
        for node in functions(file)
    }
    assert {name: count for name, count in lines.items() if count > FUNCTION_LINES} == {}, "split them"


def test_imports_go_downwards() -> None:
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    upward, foreign = [], []
    for module, file in zip(map(module_of, FILES), FILES, strict=True):
        found = {name for name in imports(tree(file)) if name.split(".")[0] in {"portico", "portico_distrdf", "hnl"}}
        if module.split(".")[0] != "portico":
            continue
        foreign += [f"{module} imports {name}" for name in found if name.split(".")[0] != "portico"]
        if module != "portico":
            assert room(module) in level, f"say in LAYERS where {room(module)} belongs"
            below = level[room(module)]
            upward += [f"{module} imports {n}" for n in found if n.startswith("portico.") and level[room(n)] > below]
    assert foreign == [], "portico knows nothing of hnl or of plugins"
    assert upward == [], "see LAYERS"


def test_there_is_no_import_cycle() -> None:
    import graphlib

    graph = {module_of(file): {name for name in imports(tree(file)) if name in MODULES} for file in FILES}
    for module, needs in graph.items():
        needs.discard(module)
    graphlib.TopologicalSorter(graph).prepare()


def test_root_is_not_imported_with_a_module() -> None:
    early = {
        module_of(file): heavy
        for file in FILES
        if (heavy := {name.split(".")[0] for name in imports(tree(file), inside_functions=False)} & {"ROOT", "cppyy"})
    }
    assert early == {}


def test_only_the_command_line_prints() -> None:
    calls = [
        f"{module_of(file)}:{node.lineno}"
        for file in FILES
        if not module_of(file).startswith("portico.cli")
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert calls == []


def test_minuit_does_not_print() -> None:
    """At its default level it writes warnings, which are handled here, to the output of the program."""
    loud = [
        f"{module_of(file)}:{of.lineno}"
        for file in FILES
        for of in functions(file)
        if " = Minuit(" in ast.unparse(of) and "minuit.print_level" not in ast.unparse(of)
    ]
    assert loud == []


def test_words_are_plain() -> None:
    """Module docstrings begin with what the module is or does, and messages use the field's words."""
    root = SRC.parent
    files = sorted(file for folder in ("src", "bench", "tools", "tests") for file in (root / folder).rglob("*.py"))
    riddles = {str(file): first for file in files if (first := docstring(file).partition(" ")[0]) in QUESTIONS}
    assert riddles == {}, "begin with what the module is or does"
    private = [f"{module_of(file)}: {text}" for file in FILES for text in texts(file) if PRIVATE.search(text)]
    assert private == [], "use plain words"


def docstring(file: Path) -> str:
    return ast.get_docstring(tree(file)) or ""


def texts(file: Path) -> Iterator[str]:
    """Texts in the code that are not docstrings: messages, mostly."""
    quoted = {id(node.value) for node in ast.walk(tree(file)) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in quoted:
            yield node.value


def test_public_names_are_frozen() -> None:
    assert set(portico.__all__) == PUBLIC
    assert portico.__all__ == sorted(portico.__all__)
    for name in portico.__all__:
        assert getattr(portico, name) is not None
    assert set(dir(portico)) >= PUBLIC
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(portico, "nothing")  # noqa: B009


def test_packages_say_that_they_are_typed() -> None:
    packages = (SRC / "portico", SRC / "hnl", PLUGINS / "portico_distrdf")
    assert all((package / "py.typed").exists() for package in packages)


def test_importing_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; began = time.process_time(); import portico; print(time.process_time() - began)\n"
        "heavy = {'ROOT', 'cppyy', 'numpy', 'matplotlib', 'hist', 'uproot', 'pydantic', 'dask'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    times = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
        times.append(float(done.stdout))
    assert min(times) < IMPORT_SECONDS, times
