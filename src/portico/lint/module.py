"""The module of a step that is made of a script."""

from __future__ import annotations

import ast
import re

from portico.lint.edits import Edits, text_of
from portico.lint.parts import Parts
from portico.lint.samples import Samples
from portico.lint.script import Script
from portico.lint.trace import Trace

__all__ = ["FUNCTION", "module_text"]

FUNCTION = "analyse"
"""The name of the step and of its function."""

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
def products(**results):
    """Return results by name; those in a dictionary or list are named by the variable and their key."""
    found = {{}}
    for name, result in results.items():
        if isinstance(result, (dict, list, tuple)):
            items = result.items() if isinstance(result, dict) else enumerate(result)
            found |= products(**{{f"{{name}}_{{key}}": item for key, item in items}})
        elif {test}:
            found[re.sub(r"[^A-Za-z0-9_.+-]", "_", name)] = result
    return found
'''
_KEEP = '''
    kept = {{}}

    def keep(name, result):
        """Return a result, and remember it by name."""
        if {test}:
            number = sum(one == name or one.startswith(f"{{name}}_") for one in kept)
            kept[f"{{name}}_{{number + 1}}" if number else name] = result
        return result
'''
_FRAME_OF = '''
    def frame_of(name, frame=frame, this=sample.name):
        """Return the frame of the sample of this name in datasets.yaml: a chunk of it, if it is this one."""
        return frame if name == this else Absent()
'''


def module_text(
    script: Script, followed: Trace, samples: Samples, parts: Parts, by_hand: list[tuple[int, str]]
) -> str:
    """Return the module; the products of its step are the results that the script books."""
    edits = Edits.of(script, followed, samples, parts)
    outside, inside = [], []
    imports = []
    for part in parts.parts:
        if not part.kept:
            continue
        text = text_of(part, script, edits.edits)
        if isinstance(part.node, (ast.Import, ast.ImportFrom)) and not part.inside:
            imports.append(text.strip())
        elif part.inside:
            inside.append(text)
        else:
            is_block = isinstance(part.node, (ast.FunctionDef, ast.ClassDef))
            outside.append(f"\n\n\n{text.strip()}\n\n\n" if is_block else f"{text}\n")
    names = [*parts.products, *edits.products]
    several = not samples.one
    gathers = several or edits.keeps or _has_containers(names, followed, parts)
    test = "not isinstance(result, Absent)" if several else "result is not None"
    if gathers and "import re" not in imports:
        imports.append("import re")
    pieces = [_docstring(script, by_hand), "\n\n", "\n".join(imports), "\n"]
    pieces += ["\n", _ABSENT] if several else []
    pieces += ["\n", _PRODUCTS.format(test=test), "\n\n"] if gathers else []
    pieces += [*outside, "\n\n", f"def {FUNCTION}(frame, sample):\n", _words(script), _FRAME_OF if several else ""]
    pieces += [_KEEP.format(test=test) if edits.keeps else "", "\n" if several or edits.keeps else ""]
    pieces += [text + "\n" for text in ["".join(inside[:1]).lstrip("\n"), *inside[1:]]]
    pieces.append(_return(names, gathers, edits.keeps))
    return _tidy("".join(pieces))


def _docstring(script: Script, by_hand: list[tuple[int, str]]) -> str:
    lines = [f'"""The step made of {script.path.name} by portico lint --write.']
    if by_hand:
        lines += ["", "To do by hand; the lines are those of the script:", ""]
        lines += [f"- line {line}: {what}" for line, what in by_hand]
    text = "\n".join(lines).replace("\\", "\\\\")
    return text.replace('"""', "'''").replace("'''", '"""', 1) + ('\n"""' if by_hand else '"""')


def _words(script: Script) -> str:
    return f'    """Book what {script.path.name} books, over one chunk of a sample."""\n'


def _has_containers(names: list[str], followed: Trace, parts: Parts) -> bool:
    scopes = [followed.scopes[0], *(followed.scopes[part.main] for part in parts.parts if part.main)]
    return any(isinstance(scope.names.get(name), (list, tuple, dict)) for scope in scopes for name in names)


def _return(names: list[str], gathers: bool, keeps: bool) -> str:
    if gathers:
        given = [f"{name}={name}" for name in names] + (["**kept"] if keeps else [])
        return _wrapped("products(", given, ")")
    return _wrapped("{", [f'"{name}": {name}' for name in names], "}")


def _wrapped(begin: str, items: list[str], end: str) -> str:
    line = f"    return {begin}{', '.join(items)}{end}\n"
    if len(line) <= _LINE:
        return line
    return "".join([f"    return {begin}\n", *(f"        {item},\n" for item in items), f"    {end}\n"])


def _tidy(text: str) -> str:
    """Return text with at most two empty lines in a row, and one end."""
    while "\n\n\n\n" in text:
        text = text.replace("\n\n\n\n", "\n\n\n")
    return re.sub(r"\n\n+(?=    \S)", "\n\n", text).rstrip() + "\n"
