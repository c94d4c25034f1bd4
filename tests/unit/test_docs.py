"""The pages: links lead somewhere, code compiles, commands and exit statuses are those of the program."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest
import yaml

from portico.cli import cli
from portico.worker.task import FailureKind
from portico.workflow.chunk_states import TRANSITIONS
from tests.unit.test_house import LAYERS

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "SECURITY.md",
    *(REPOSITORY / "docs").glob("*.md"),
    *(REPOSITORY / "examples").rglob("*.md"),
]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


CONTEXT = click.Context(cli)
COMMANDS = {name: cli.get_command(CONTEXT, name) for name in cli.list_commands(CONTEXT)}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@every_page
def test_code_is_valid(page: Path) -> None:
    for language, code in re.findall(r"```(python|yaml)\n(.*?)```", page.read_text(), flags=re.DOTALL):
        if language == "python":
            ast.parse(code)
        else:
            yaml.safe_load(code)


@every_page
def test_commands_and_options_exist(page: Path) -> None:
    for command, rest in re.findall(
        r"portico (run|status|report|inspect|init|completion|\w+)((?: [^\s`|&]+)*)[`\n]", page.read_text()
    ):
        if command in COMMANDS:
            options = {name for parameter in COMMANDS[command].params for name in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", rest)) <= options, command


def test_every_promise_names_a_test() -> None:
    rows = re.findall(r"^\| (.+?) \| .+ \| (.+) \|$", (REPOSITORY / "docs" / "trust.md").read_text(), re.MULTILINE)
    assert len(rows) > 20
    for kind, tests in rows:
        if kind == "kind":
            continue
        assert "::" in tests, kind
        for path, name in re.findall(r"`([^`]+)::(\w+)`", tests):
            assert f"\ndef {name}(" in (REPOSITORY / path).read_text(), f"{kind}: {path}::{name}"


def test_all_commands_are_in_the_readme() -> None:
    text = (REPOSITORY / "README.md").read_text()
    for name in COMMANDS:
        assert re.search(rf"`portico {name}\b", text), name


def test_step_of_the_readme_is_that_of_the_example() -> None:
    example = ast.parse((REPOSITORY / "examples" / "dimuon" / "dimuon.py").read_text())
    code = next(
        c
        for c in re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
        if "def dimuon" in c
    )
    shown = ast.unparse(ast.parse(code).body[0]).splitlines()
    function = next(node for node in example.body if isinstance(node, ast.FunctionDef) and node.name == "dimuon")
    written = ast.unparse(function).splitlines()
    # The example returns the spectrum of the picture as well.
    assert [line for line in shown if "return" not in line] == [
        line for line in written if "return" not in line and '"""' not in line
    ]


def test_lock_names_versions_and_nothing_else() -> None:
    lines = [
        line for line in (REPOSITORY / "requirements-lock.txt").read_text().splitlines() if not line.startswith("#")
    ]
    assert lines == sorted(lines, key=lambda line: line.split("==")[0])
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.+!]*", line) for line in lines)
    assert not [line for line in lines if re.match(r"torch|nvidia|portico", line)]


# ---- architecture

ARCHITECTURE = REPOSITORY / "docs" / "architecture.md"
SRC = REPOSITORY / "src"


def _place(path: str) -> Path:
    """Return the file or folder that the page on the architecture names."""
    inside = SRC if path.startswith("hnl/") else SRC / "portico"
    return inside / path if (inside / path).exists() else REPOSITORY / path


def _names(body: list[ast.stmt], prefix: str = "") -> set[str]:
    found = set()
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(prefix + node.name)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(prefix + node.target.id)
        if isinstance(node, ast.ClassDef):
            found |= _names(node.body, f"{node.name}.")
    return found


def test_architecture_names_what_exists() -> None:
    words = re.findall(r"`([\w./]+(?:/|\.py|\.h|\.j2|\.yaml|\.md|\.toml))(?::([\w.]+))?`", ARCHITECTURE.read_text())
    assert len(words) > 100
    for path, name in words:
        if "NAME" in path or path in {"selection.yaml", "datasets.yaml", "analysis.yaml"}:
            continue
        assert _place(path).exists(), path
        if name:
            assert name in _names(ast.parse(_place(path).read_text()).body), f"{path}:{name}"


def test_architecture_lists_every_package_and_the_layers() -> None:
    text = ARCHITECTURE.read_text()
    packages = {
        f"`{folder.relative_to(root)}/`"
        for root, tops in ((SRC / "portico", "*"), (SRC, "hnl/*"))
        for file in root.glob(f"{tops}/__init__.py")
        for folder in (file.parent, *(inner.parent for inner in file.parent.glob("*/__init__.py")))
    }
    modules = {f"`{file.name}`" for file in (SRC / "portico").glob("*.py")} - {"`_version.py`"}
    assert {word for word in packages | modules if word not in text} == set()
    drawn = re.findall(r"```layers\n(.*?)```", text, re.DOTALL)[0].splitlines()
    assert [set(line.split()) for line in reversed(drawn)] == [set(layer) for layer in LAYERS]


def test_architecture_draws_the_states_of_a_chunk() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+): (.+)$", ARCHITECTURE.read_text(), re.MULTILINE)
    assert [(start.replace("_", " "), cause, end.replace("_", " ")) for start, end, cause in drawn] == [
        (start, cause, end) for (start, cause), end in TRANSITIONS.items()
    ]


def test_page_on_failures_has_every_kind() -> None:
    table = re.findall(r"^\| `(\w+)` \|", (REPOSITORY / "docs" / "faults.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(FailureKind)
