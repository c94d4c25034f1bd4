"""Writing the module of a step from a script."""

from __future__ import annotations

import ast
import re

from portico.lint.edits import Edits, text_of
from portico.lint.parts import Parts
from portico.lint.samples import Samples
from portico.lint.script import Script
from portico.lint.trace import Trace

__all__ = ["STEP", "module_text"]

STEP = "analyse"
"""The name of the step; its function is called so, too, unless the script has that name."""

_LINE = 100

_ABSENT = '''
class Absent:
    """The frame of another sample: whatever is made of it is absent, too."""

    def __getattr__(self, name):
        return self

    def __call__(self, *arguments, **options):
        return self

    def __getitem__(self, key):
        return self

    def __iter__(self):
        return iter(())
'''
_PRODUCTS = '''
def products({this}**results):
    """Return results by name: those in a dictionary or list by the variable and their key{but}."""
    found = {{}}
    for name, result in results.items():
        if isinstance(result, (dict, list, tuple)):
            for key, item in result.items() if isinstance(result, dict) else enumerate(result):
                parts = [str(part) for part in (key if isinstance(key, tuple) else (key,)){of}]
                found |= products({given}**{{"_".join([name, *parts]): item}})
        elif {test}:
            found[re.sub(r"[^A-Za-z0-9_.+-]", "_", name)] = result
    return found
'''
_EVERY = {"this": "", "but": "", "given": "", "of": ""}
_ONE = {
    "this": "this, /, ", "but": ", except this sample's name", "given": "this, ", "of": " if str(part) != this",
}  # fmt: skip
"""With several samples, a result has the same name in each, so that all can be drawn together."""
_KEEP = '''
    kept = {{}}

    def keep(name, result):
        """Return a result, and remember it by name."""
        if {test}:
            number, free = 1, name
            while free in kept:
                number += 1
                free = f"{{name}}_{{number}}"
            kept[free] = result
        return result
'''
_FRAME_OF = '''
    this_sample = sample.name

    def frame_of(name, frame=frame, this=this_sample):
        """Return the frame of the sample of this name in datasets.yaml: a chunk of it, if it is this one."""
        return frame if name == this else Absent()
'''


def module_text(
    script: Script, followed: Trace, samples: Samples, parts: Parts, by_hand: list[tuple[int, str]]
) -> tuple[str, str]:
    """Return the module, and the name of its function; its products are the results that the script books."""
    edits = Edits.of(script, followed, samples, parts)
    names = [*parts.products, *edits.products]
    several = not samples.one
    gathers = several or edits.keeps or _has_containers(names, followed, parts)
    test = "not isinstance(result, Absent)" if several else "result is not None"
    imports, outside, inside = _texts(script, parts, edits)
    if gathers and "import re" not in imports:
        imports.append("import re")
    blocks = [(_docstring(script, by_hand), False), ("\n" + "\n".join(imports), False)]
    helpers = [_ABSENT] if several else []
    helpers += [_PRODUCTS.format(test=test, **(_ONE if several else _EVERY))] if gathers else []
    blocks += [(_own(text, edits).strip("\n"), True) for text in helpers]
    blocks += outside
    begin = [f"def analyse(frame, sample):\n{_words(script)}"]
    begin += [_FRAME_OF.rstrip("\n")] if several else []
    begin += [_KEEP.format(test=test).rstrip("\n")] if edits.keeps else []
    gap = "\n" if several or edits.keeps else ""
    end = _return(names, gathers, edits, [edits.names["this_sample"]] if several else [])
    blocks.append(("\n".join([_own("\n".join(begin), edits), gap + "\n".join(inside).lstrip("\n"), end]), True))
    return _joined(blocks), edits.names[STEP]


def _own(text: str, edits: Edits) -> str:
    """Return text of ours with the names that are free in the script."""
    for name, free in edits.names.items():
        text = re.sub(rf"\b{name}\b", free, text) if free != name else text
    return text


def _texts(script: Script, parts: Parts, edits: Edits) -> tuple[list[str], list[tuple[str, bool]], list[str]]:
    """Return the imports, the module's other statements, each with whether it is a definition, and the step's."""
    imports, outside, inside = [], [], []
    for part in parts.parts:
        if not part.kept:
            continue
        text = text_of(part, script, edits.edits)
        if part.inside:
            inside.append(text)
        elif isinstance(part.node, (ast.Import, ast.ImportFrom)):
            imports.append(text.strip())
        else:
            outside.append((text, isinstance(part.node, (ast.FunctionDef, ast.ClassDef))))
    return imports, outside, inside


def _joined(blocks: list[tuple[str, bool]]) -> str:
    """Return blocks with two empty lines around definitions, and elsewhere an empty line where the script has one."""
    pieces, after_definition = [], False
    for number, (text, is_definition) in enumerate(blocks):
        is_apart = text.startswith("\n") or number == 2  # what follows the docstring and the imports
        gap = "\n\n\n" if is_definition or after_definition else "\n\n" if is_apart else "\n"
        pieces += [gap if number else "", text.lstrip("\n")]
        after_definition = is_definition
    return "".join(pieces).rstrip() + "\n"


def _docstring(script: Script, by_hand: list[tuple[int, str]]) -> str:
    lines = [f"The step made of {script.path.name} by portico lint --write."]
    if by_hand:
        lines += ["", "To do by hand; the lines are those of the script:", ""]
        lines += [f"- line {line}: {what}" for line, what in by_hand] + [""]
    text = "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{text}"""'


def _words(script: Script) -> str:
    return f'    """Book what {script.path.name} books, over one chunk of a sample."""'


def _has_containers(names: list[str], followed: Trace, parts: Parts) -> bool:
    scopes = [followed.scopes[0], *(followed.scopes[part.main] for part in parts.parts if part.main)]
    return any(isinstance(scope.names.get(name), (list, tuple, dict)) for scope in scopes for name in names)


def _return(names: list[str], gathers: bool, edits: Edits, first: list[str]) -> str:
    if gathers:
        given = first + [f"{name}={name}" for name in names] + ([f"**{edits.names['kept']}"] if edits.keeps else [])
        begin, items, end = f"{edits.names['products']}(", given, ")"
    else:
        begin, items, end = "{", [f'"{name}": {name}' for name in names], "}"
    line = f"    return {begin}{', '.join(items)}{end}"
    if len(line) <= _LINE:
        return line
    return "\n".join([f"    return {begin}", *(f"        {item}," for item in items), f"    {end}"])
