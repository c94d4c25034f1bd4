"""A first analysis made of a script: ``analysis.yaml``, ``datasets.yaml`` and the module of its step."""

from __future__ import annotations

import ast
import keyword
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from portico.environment.included import INCLUDE
from portico.errors import ConfigError, PorticoError
from portico.lint.check import check
from portico.lint.module import STEP, module_text
from portico.lint.parts import Parts, parts_of
from portico.lint.samples import dataset_text, samples_of
from portico.lint.script import Script
from portico.lint.trace import Trace, trace

__all__ = ["Written", "write"]

_DONE = {"from-spec", "snapshot", "threads", "arguments", "local-path"}
"""Rules whose findings are dealt with, or are about files."""

_ANALYSIS = """\
# Made of {script} by portico lint --write. Portico's documentation lists the keys on the page 'YAML files'.
name: {name}
dataset: datasets.yaml
steps:
  - name: {step}
    function: {module}:{function} # module:function; the module lies beside this file
"""


@dataclass(frozen=True, slots=True)
class Written:
    """A first analysis.

    Parameters
    ----------
    files : tuple of Path
        What was written.
    by_hand : tuple of (int, str)
        What is left to do, with the line of the script that it comes from.
    """

    files: tuple[Path, ...]
    by_hand: tuple[tuple[int, str], ...]


def write(script: Script, folder: Path) -> Written:
    """Make a folder with a first analysis of a script.

    Parameters
    ----------
    script : Script
        The script; it is not run.
    folder : Path
        The folder, which must not exist.

    Raises
    ------
    ConfigError
        If the folder exists, or the script makes no frame of files.
    PorticoError
        If the folder cannot be written.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: exists already and is not overwritten; choose another name")
    followed = trace(script.tree)
    samples, parts = samples_of(script, followed, folder), parts_of(script.tree, followed)
    if not samples.labels:
        raise ConfigError(
            f"{script.path}: makes no RDataFrame of a TTree, an RNTuple or a number of events where it can be "
            "followed, so that nothing can be made of it; portico init makes an analysis to start from"
        )
    if not parts.products and not parts.lost:
        raise ConfigError(
            f"{script.path}: books no result, such as Histo1D, on a frame that can be followed (attributes of "
            "classes are not), so that there is nothing to return; portico init makes an analysis to start from"
        )
    by_hand = [*samples.by_hand, *_left(script, followed, parts)]
    by_hand = sorted(dict.fromkeys(by_hand))
    name, module = _names(script, folder)
    text, function = module_text(script, followed, samples, parts, by_hand)
    contents = {
        "analysis.yaml": _ANALYSIS.format(
            script=script.path.name, name=name, step=STEP, module=module, function=function
        ),
        "datasets.yaml": dataset_text(samples, script),
        f"{module}.py": text,
    }
    written = []
    try:
        folder.mkdir(parents=True)
        for file, content in contents.items():
            (folder / file).write_text(content, encoding="utf-8")
            written.append(folder / file)
        written += _copy_beside(script, parts, followed, folder)
    except OSError as error:
        raise PorticoError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return Written(tuple(written), tuple(by_hand))


def _names(script: Script, folder: Path) -> tuple[str, str]:
    """Return the names of the analysis, which is that of its folder as with portico init, and of its module."""
    stem = re.sub(r"\W", "_", script.path.stem, flags=re.ASCII).strip("_") or "script"
    module = stem if not stem[0].isdigit() else f"step_{stem}"
    if module in sys.stdlib_module_names or keyword.iskeyword(module) or module.lower() in {"portico", "hnl", "root"}:
        module = f"{module}_step"
    name = re.sub(r"[^A-Za-z0-9_-]", "_", folder.resolve().name).lstrip("_-")
    return name or stem, module


def _left(script: Script, followed: Trace, parts: Parts) -> list[tuple[int, str]]:
    """Return what the findings leave to do in the statements that are kept."""
    kept = [(part.node.lineno, part.node.end_lineno or part.node.lineno) for part in parts.parts if part.kept]
    found = []
    for one in check(script, followed):
        if one.rule == "foreach":
            found.append((one.line, f"{one.what}, which is left out: {one.fix}"))
        elif one.rule not in _DONE and any(first <= one.line <= last for first, last in kept):
            found.append((one.line, f"{one.what}: {one.fix}"))
        if one.rule == "arguments" and any(first <= one.line <= last for first, last in kept):
            found.append((one.line, f"{one.what} have their defaults: {one.fix}"))
    for part in parts.parts:
        if (
            part.kept
            and isinstance(part.node, ast.FunctionDef)
            and any(id(n) in parts.lost for n in ast.walk(part.node))
        ):
            what = f"{part.node.name} is kept as a whole: take out of it what draws, prints and saves"
            found.append((part.node.lineno, what))
    several = len(followed.evaluator.sources) > 1
    nodes = [node for part in parts.parts if part.kept and several for node in ast.walk(part.node)]
    calls = [node for node in nodes if isinstance(node, ast.Call) and _is_opaque(node)]
    what = "gets what is absent for other samples: call it only if its argument is not an Absent"
    return [*found, *((node.lineno, f"{ast.unparse(node.func)} {what}") for node in calls)]


def _is_opaque(node: ast.Call) -> bool:
    """Whether a call passes frames or results to ROOT, which does not know what is absent."""
    return ast.unparse(node.func).endswith(("VariationsFor", "AsRNode"))


def _copy_beside(script: Script, parts: Parts, followed: Trace, folder: Path) -> list[Path]:
    """Copy the modules and headers that lie beside the script and that it names."""
    here, names = script.path.parent, set()
    for part in parts.parts:
        for node in ast.walk(part.node) if part.kept else ():
            if isinstance(node, ast.Import):
                names |= {f"{alias.name.replace('.', '/')}.py" for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(f"{node.module.replace('.', '/')}.py")
    for call in followed.evaluator.members:
        for text in call.arguments:
            if isinstance(text, str):
                names |= {match[2] for match in INCLUDE.finditer(text) if match[2]}
    copied = []
    for name in sorted(names):
        source, target = here / name, folder / name
        inside = not Path(name).is_absolute() and target.resolve().is_relative_to(folder.resolve())
        if inside and source.is_file() and not target.exists() and source.resolve() != script.path.resolve():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            copied.append(target)
    return copied
