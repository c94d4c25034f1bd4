"""Rules about the code around the frames: C++, threads, variables, options, files."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from portico.environment.included import INCLUDE, file_name, is_of_the_system
from portico.files import is_remote
from portico.lint.evaluate import MemberCall
from portico.lint.finding import Finding
from portico.lint.script import Script
from portico.lint.trace import Trace
from portico.lint.values import UNKNOWN
from portico.root import root_folder

__all__ = ["DECLARES", "RULES"]

DECLARES = ("gInterpreter.Declare", "gInterpreter.ProcessLine", "gROOT.ProcessLine", "gROOT.LoadMacro", "gSystem.Load",
            "gSystem.CompileMacro", "gInterpreter.AddIncludePath", "gSystem.AddIncludePath", "cppyy.cppdef",
            "cppyy.include", "cppyy.load_library")  # fmt: skip
"""The calls that give C++ to ROOT, by the end of their path."""

_READERS = ("numpy.loadtxt", "numpy.load", "numpy.genfromtxt", "uproot.open", "pandas.read_csv", "open",
            "ROOT.TFile.Open", "ROOT.TFile", "correctionlib.CorrectionSet.from_file")  # fmt: skip
_PRIVATE = re.compile(r"^(?:file:)?(?:~|/home/|/Users/|/afs/|/tmp/|/root/|/var/|/private/|/scratch/|/data/)")
_STATIC = re.compile(r"\bstatic\s+(?!const\b|constexpr\b|inline\b|assert)(?:[\w:<>,]+\s+)+(\w+)\s*(?:=|;|\{)")
_COUNTER = re.compile(
    r"^(?:unsigned |long |std::atomic<)?(?:int|long|double|float|size_t)>? +(\w+)(?: *= *[\w.]+)?;", re.MULTILINE
)


def _calls(followed: Trace, ends: tuple[str, ...]) -> Iterator[MemberCall]:
    seen: set[int] = set()
    for call in followed.evaluator.members:
        if id(call.node) not in seen and any(call.path == end or call.path.endswith(f".{end}") for end in ends):
            yield call
        seen.add(id(call.node))


def _includes(script: Script, followed: Trace) -> Iterator[Finding]:
    for call in _calls(followed, DECLARES):
        text = call.arguments[0] if call.arguments else UNKNOWN
        if text is UNKNOWN:
            if (guess := _unknown_include(call)) and not _is_formatted_code(call):
                what = f"which file {guess} is, is not known before the script runs"
                why = "the file is not shipped to workers, and changes of it go unnoticed: a step stops with an error"
                fix = 'write its path as a literal, or name it in @step(headers=["include/..."])'
                yield Finding("error", "include", call.node.lineno, what, why, fix)
            continue
        for name in _named(call, str(text)):
            if not _is_found(name, script.path.parent):
                what = f"{name} is found neither beside the script nor in the working directory"
                why = "a worker does not find it either"
                fix = 'correct the path; with @step(headers=["include/..."]) it is relative to the module'
                yield Finding("error", "include", call.node.lineno, what, why, fix)


def _unknown_include(call: MemberCall) -> str:
    """Return the source of what names a file, if a call whose text is not known does."""
    node = call.node.args[0] if call.node.args else None
    if node is None:
        return ""
    source = ast.unparse(node)
    of_file = call.path.endswith(("LoadMacro", "Load", "CompileMacro", "load_library", "cppyy.include"))
    return source if of_file or "include" in source else ""


def _is_formatted_code(call: MemberCall) -> bool:
    """Whether the text is code of which only parts are not known, with whole directives."""
    texts = [n.value for n in ast.walk(call.node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    whole = [text for text in texts if INCLUDE.search(text)]
    return any("\n" in text for text in texts) and (bool(whole) or not any("include" in text for text in texts))


def _named(call: MemberCall, text: str) -> list[str]:
    """Return the files that C++ or a command names; of headers in angle brackets none: they are of libraries."""
    if call.path.endswith(("Declare", "ProcessLine", "cppdef")):
        command = re.fullmatch(r"\s*\.[LxX]\s+(\S.*?)\s*", text)
        if command:
            return [name] if (name := file_name(command[1])) else []
        return [match[2] for match in INCLUDE.finditer(text) if match[2]]
    if call.path.endswith("IncludePath"):
        return []
    return [name] if (name := file_name(text)) and not name.endswith(".so") else []


def _is_found(name: str, folder: Path) -> bool:
    name = os.path.expanduser(os.path.expandvars(name))  # noqa: PTH111 (as ROOT does)
    if any((base / name).is_file() for base in (folder, Path.cwd())) or is_of_the_system(Path(name)):
        return True
    return _of_root(name)


def _of_root(name: str) -> bool:
    """Whether a header is one of ROOT's, or of the system."""
    home = root_folder()
    root = [home / "include"] if home is not None else []
    named = [Path(os.environ["ROOTSYS"]) / "include"] if os.environ.get("ROOTSYS") else []
    paths = [Path(one) for one in os.environ.get("ROOT_INCLUDE_PATH", "").split(":") if one]
    return any((folder / name).is_file() for folder in (*root, *named, *paths, Path("/usr/include")))


def _threads(_: Script, followed: Trace) -> Iterator[Finding]:
    for call in _calls(followed, ("EnableImplicitMT",)):
        why = "threads add up in an order that changes from run to run; a step has one, and chunks run side by side"
        yield Finding("note", "threads", call.node.lineno, "EnableImplicitMT() has no effect in a step", why,
                      "remove it; portico run --workers N sets how many chunks run at a time")  # fmt: skip


def _globals(script: Script, followed: Trace) -> Iterator[Finding]:
    why = "each chunk may run in another process, which has a variable of its own, and begins with its first value"
    for function in ast.walk(script.tree):
        if isinstance(function, ast.FunctionDef):
            inner = list(ast.walk(function))
            stored = {one.id for one in inner if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
            for node in inner:
                if isinstance(node, ast.Global) and (names := [name for name in node.names if name in stored]):
                    what = f"a function changes the global variable{'s' if len(names) > 1 else ''} {', '.join(names)}"
                    fix = "pass it as an argument; count events with Count, Sum or a histogram"
                    yield Finding("warning", "global", node.lineno, what, why, fix)
    for call in _calls(followed, DECLARES):
        text = call.arguments[0] if call.arguments else UNKNOWN
        if isinstance(text, str) and call.path.endswith(("Declare", "cppdef")):
            for match in (*_STATIC.finditer(text), *_COUNTER.finditer(text)):
                fix = "make it const if it never changes; else count with Count, Sum or a histogram"
                what = f"the C++ variable {match[1]} keeps its value from event to event"
                line = _line_of(call, match[0])
                yield Finding("warning", "global", line, what, f"{why}, or with that of an earlier chunk", fix)


def _line_of(call: MemberCall, text: str) -> int:
    """Return the line of a text in a call's literal."""
    for node in ast.walk(call.node):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and text in node.value:
            lines = node.value[: node.value.index(text) + len(text) - len(text.lstrip())].count("\n")
            is_whole = (node.end_lineno or node.lineno) - node.lineno == node.value.count("\n")
            return node.lineno + (lines if is_whole else 0)
    return call.node.lineno


def _options(script: Script, _: Trace) -> Iterator[Finding]:
    for node in ast.walk(script.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".parse_args", ".parse_known_args")):
            what = "options of the command line"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.argv":
            what = "sys.argv"
        else:
            continue
        fix = "make them keyword arguments of the step, with values under 'options' in analysis.yaml"
        why = "a step runs in a worker's process, which has other arguments"
        yield Finding("warning", "arguments", node.lineno, what, why, fix)
        return


def _spec(_: Script, followed: Trace) -> Iterator[Finding]:
    for source in followed.evaluator.sources:
        if source.kind == "spec":
            why = "in a step, the frame is that of one chunk of one sample"
            what = "FromSpec reads samples and files from its own file"
            fix = (
                "list the samples in datasets.yaml, with the metadata under 'parameters', where rdfsampleinfo_ finds "
                "it; --write does so"
            )
            yield Finding("warning", "from-spec", source.line, what, why, fix)
        elif source.kind == "other" and source.node is not None:
            yield Finding("error", "not-files", source.line, f"{ast.unparse(source.node.func)} reads no ROOT file",
                          "the input of a step is a TTree, an RNTuple, or a number of generated events",
                          "write it to a ROOT file first")  # fmt: skip


def _local_files(_: Script, followed: Trace) -> Iterator[Finding]:
    for source in followed.evaluator.sources:
        local = [name for name in source.files or () if _PRIVATE.match(name)]
        if local:
            more = f" and {len(local) - 1} more" if len(local) > 1 else ""
            why = "workers on other machines cannot read this folder"
            fix = "put the files on a shared disk or server, and their paths or root:// URLs into datasets.yaml"
            yield Finding("warning", "local-path", source.line, f"{local[0]}{more}", why, fix)
    for call in _calls(followed, _READERS):
        name = call.arguments[0] if call.arguments else UNKNOWN
        modes = [*call.arguments[1:2], call.keywords.get("mode", "r")]
        writes = any(isinstance(mode, str) and re.search(r"w|a|x|recreate|update|new", mode, re.I) for mode in modes)
        if not isinstance(name, str) or writes or is_remote(name) or is_of_the_system(Path(name)):
            continue
        if _PRIVATE.match(name):
            yield Finding("warning", "local-path", call.node.lineno, f"{name} is read by its path",
                          "workers on other machines cannot read it, and changes of it go unnoticed",
                          'copy it beside the module, and name it in @step(files=["..."])')  # fmt: skip


def _unseen(_: Script, followed: Trace) -> Iterator[Finding]:
    if followed.gave_up:
        what = "the script takes too long to follow: what comes after this line may not have been looked at"
        why = "loops are followed turn by turn, up to a limit for the whole script"
        fix = "look at a copy with shorter loops"
        yield Finding("warning", "unfinished", followed.gave_up, what, why, fix)
    elif not followed.evaluator.sources and not followed.graph.calls:
        why = "only the code around frames could be looked at"
        fix = "name the script that makes the RDataFrame, or books its results"
        yield Finding("note", "no-frame", 1, "no RDataFrame is made or used here", why, fix)


RULES: tuple[Callable[[Script, Trace], Iterator[Finding]], ...] = (
    _includes, _threads, _globals, _options, _spec, _local_files, _unseen,
)  # fmt: skip
