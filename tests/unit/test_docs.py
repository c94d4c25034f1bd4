"""The pages: links lead somewhere, code compiles, commands and exit statuses are those of the program."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.specifiers import SpecifierSet
from pydantic import TypeAdapter, ValidationError

from docs.extensions.fields import fields_of, meanings, named
from portico.analysis.analysis import StepEntry, _AnalysisFile
from portico.analysis.dataset import Sample, _DatasetFile, _Files
from portico.cli import cli
from portico.clusters.site import Site
from portico.compare import Mapping
from portico.selection.model import Selection
from portico.worker.task import FailureKind
from portico.workflow.chunk_states import TRANSITIONS
from tests.messages import is_said
from tests.pages import DOCS, PAGES, REPOSITORY, blocks
from tests.unit.test_house import LAYERS

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
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.code)
        elif block.language == "yaml":
            check_yaml(yaml.safe_load(block.code))


FILES = (_AnalysisFile, _DatasetFile, Site, Selection, Mapping)


def check_yaml(content: Any) -> None:
    """Check that an example is a part of a file that Portico reads; Prometheus has its own."""
    if isinstance(content, list):
        for entry in content:
            StepEntry.model_validate(entry)
        return
    if "scrape_configs" in content:
        return
    reasons = []
    for model in FILES:
        if set(content) <= set(model.model_fields):
            try:
                for key, value in content.items():
                    TypeAdapter(model.model_fields[key].annotation).validate_python(value)
            except ValidationError as error:
                reasons.append(str(error))
            else:
                for name, fields in content.get("samples", {}).items():
                    plain = {key: value for key, value in fields.items() if key not in _Files.model_fields}
                    Sample.model_validate({**plain, "name": name})
                return
    raise AssertionError(f"{list(content)} is not part of a file of portico: {reasons}")


def test_yaml_that_is_wrong_is_found() -> None:
    for wrong in ({"steps": [{"nam": "x"}]}, {"cors": 4}, {"weights": {"pileup": {"expr": "1"}}}):
        with pytest.raises(AssertionError):
            check_yaml(wrong)


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


def test_locked_versions_install_on_the_oldest_python() -> None:
    oldest = "3.11.2"  # of Debian 12
    looked_at, others = 0, []
    for line in (REPOSITORY / "requirements-lock.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        with suppress(PackageNotFoundError):
            about = metadata(name)
            if about["Version"] == version and not line.startswith("#"):
                looked_at += 1
                others += [] if SpecifierSet(about.get("Requires-Python", "")).contains(oldest) else [line]
    assert looked_at > 100
    assert others == []


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


# ---- what the site makes of the code

def test_every_key_of_a_file_is_described() -> None:
    page = (DOCS / "reference-yaml.md").read_text()
    blocks = re.findall(r"```\{configuration\} (\S+)\n(?::without: (.+)\n)?```", page)
    assert len(blocks) > 15
    titles = set(re.findall(r"^### (\w+)$", page, re.MULTILINE))
    for name, hidden in blocks:
        model = named(name)
        without = list(named(hidden)) if ":" in hidden else hidden.split()
        assert set(without) <= set(model.model_fields), name
        fields = fields_of(model, without)
        assert [field.name for field in fields if not field.meaning] == [], name
        # A docstring that describes more than there is has not followed the code.
        assert set(meanings(model)) <= set(model.model_fields), name
        linked = {word for field in fields for word in re.findall(r"\[(\w+)\]\(#", field.kind)}
        assert linked <= titles, name


def test_every_model_of_a_file_is_on_the_page() -> None:
    page = (DOCS / "reference-yaml.md").read_text()
    for model in (Selection, Site, _AnalysisFile, _DatasetFile, Mapping):
        assert f"{{configuration}} {model.__module__}:{model.__name__}\n" in page


def test_public_names_are_found() -> None:
    page = (DOCS / "reference-python.md").read_text()
    modules = re.findall(r"```\{public-names\} (\S+)\n", page)
    assert modules[0] == "portico"
    for module in modules:
        for name in importlib.import_module(module).__all__:
            value = getattr(importlib.import_module(module), name)
            assert inspect.getdoc(value) or not callable(value), f"{module}.{name}"


def test_messages_of_troubleshooting_are_those_of_the_program() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    messages = re.findall(r"^`(.+)`\n: ", page, re.MULTILINE)
    assert len(messages) > 40
    assert [message for message in messages if not is_said(message)] == []
    assert not is_said("no such message as this one")


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set(re.findall(r"^([\w-]+)$", (DOCS / "index.md").read_text(), re.MULTILINE))
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} == listed


def test_every_picture_is_on_a_page() -> None:
    text = "".join(page.read_text() for page in PAGES)
    pictures = list((DOCS / "images").iterdir())
    assert [picture.name for picture in pictures if f"images/{picture.name})" not in text] == []
    assert sum(picture.stat().st_size for picture in pictures) < 1_200_000
