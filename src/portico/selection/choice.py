"""The C++ of the choice of candidates, apart from all else, so that a changed cut compiles nothing but this.

The loop over candidates evaluates cuts in order and defines a quantity just before the first cut that uses it. Beside
the function that makes the choice of one event there is one that only looks, for many events in one call, at what comes
before the categories: few events have a candidate that passes that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import count

from portico.cpp import line_directive, mapped, quoted
from portico.selection.functions import Generator, argument_type, declared, parenthesised
from portico.selection.resolved import Expression, Resolved, element_type

__all__ = ["choice", "column_value"]

_UNSIGNED = ("std::uint32_t", "std::uint32_t", "std::uint64_t")
_GIVEN = "*static_cast<const portico_parameters *>(portico_given)"
_NUMBERS = "const double *portico_number"
# A comparison with a number, which is all of its right side: an int or a double, of decimal digits.
_COMPARED = re.compile(
    r"((?<![-+*/%&|^<>=!])(?:[<>]=?|[=!]=)\s*)"
    r"(-?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?|-?(?:0|[1-9]\d{0,8}))(?=\s*(?:\)|&&|\|\|))"
)
_NO_CODE = re.compile(r"[\"']|//|/\*")
_EACH = "for (std::size_t portico_i = 0; portico_i < portico_size; ++portico_i)"


def choice(
    resolved: Resolved, called: str | None, of_sample: str, columns: Sequence[str]
) -> tuple[str, str, tuple[float, ...]]:
    """Return the functions that look and those that choose, without their namespace; the second enters both.

    The third are the numbers that cuts compare with. They are not part of the text, so that cuts that differ in nothing
    but these are compiled once.

    Parameters
    ----------
    resolved, called, of_sample
        As for `portico.selection.functions.functions`.
    columns : sequence of str
        The columns by number.
    """
    return _Choice(resolved, columns).text(called, of_sample)


def column_value(resolved: Resolved, column: str, pointer: str) -> str:
    """Return the value of a column of the input as expressions see it: run, luminosity block and event are unsigned."""
    if column not in resolved.key_types:
        return f"*static_cast<const {argument_type(resolved, column)} *>({pointer})"
    kind = resolved.key_types[column]
    to = dict(zip(resolved.key_types, _UNSIGNED, strict=True))[column]
    return f"portico::Unsigned<{to}, {kind}>{{}}(*static_cast<const {kind} *>({pointer}))"


class _Choice(Generator):
    def __init__(self, resolved: Resolved, columns: Sequence[str]) -> None:
        super().__init__(resolved)
        self._numbers = {column: number for number, column in enumerate(columns)}
        self._used, self._defined = resolved.needed(resolved.choice_expressions())
        self._compared: dict[tuple[str, str], int] = {}  # the position of the first number of a cut
        self._with: list[float] = []
        self._sizes = {c: f"{self._argument(c)}.size()" for c in self._used if c in resolved.of_candidate}

    def text(self, called: str | None, of_sample: str) -> tuple[str, str, tuple[float, ...]]:
        scan = [] if self._r.shapes else self._scan()  # which may move candidates across cuts
        entered = f"portico::Choice{{portico_choose_one, {'portico_scan' if scan else 'nullptr'}}}"
        enter = f"static const bool portico_entered = portico::enter(portico_namespace, {entered});"
        choose = f"{self._choose()}\n{enter}"
        return "\n".join([*self._names(called, of_sample), *scan]), choose, tuple(self._with)

    def _cut(self, cut: Expression) -> str:
        """Return a cut in parentheses, with the numbers that it compares with out of an array."""
        code = parenthesised(cut)
        if _NO_CODE.search(code):
            return code
        key = cut.where, code
        if key not in self._compared:
            self._compared[key] = len(self._with)
            self._with += [float(found[2]) for found in _COMPARED.finditer(code)]
        places = count(self._compared[key])

        def place(found: re.Match[str]) -> str:
            number = f"portico_number[{next(places)}]"
            return found[1] + (f"static_cast<int>({number})" if found[2].lstrip("-").isdigit() else number)

        return _COMPARED.sub(place, code)

    # ---- the choice in one event

    def _choose(self) -> str:
        r = self._r
        body = [
            f"const std::size_t portico_size = {self._size()};",
            f"portico_choices.reset({len(r.rules)}, {len(r.selections)}, portico_size);",
            *(f"portico::require_size({size}, portico_size, {quoted(c)});" for c, size in self._sizes.items()),
        ]
        if r.match:
            body.append("portico_choices.match();")
        body += self._before(self._defined, "return;", "portico_choices.matched[portico_i] = ")
        if self._shared_choice:
            body.append("portico_choices.share();")
        body.append(f"{_EACH} {{\n{self._candidate(self._used, '[portico_i]')}\n{self._loop()}\n}}")
        if self._shared_choice:
            flags = ", ".join("true" if flag else "false" for flag in (r.inclusive_in_categories, r.per_event))
            body.append(f"portico_choices.take({flags});")
        fixed = [_NUMBERS, "portico::Choices &portico_choices"]
        arguments = ", ".join([*fixed, *filter(None, [self._arguments(self._used)])])
        function = declared("portico_choose", "void", arguments, "\n".join(body))
        values = [column_value(r, c, f"portico_columns[{self._numbers[c]}]") for c in self._used]
        given = ", ".join(["portico_number", "portico_choices", *values])
        return (
            f"{function}\nvoid portico_choose_one(const void *portico_given, {_NUMBERS}, "
            "portico::Columns portico_columns, portico::Choices &portico_choices) {\n"
            f"portico_choose{{{_GIVEN}}}({given});\n}}"
        )

    def _size(self) -> str:
        return next(iter(self._sizes.values()))

    def _before(self, defined: Sequence[str], leave: str, matched: str = "") -> list[str]:
        """Return the cuts on the event, and the matching of candidates, with what to do about an event that fails.

        A quantity of the event is defined just before the first cut that uses it, or after all of them: ``list[0]``
        may be used after a cut on the length of the list.
        """
        r, reach, of_event = self._r, "portico_choices.reach_all(++portico_reached);", self._split(defined)[0]
        body, known = ["int portico_reached = 0;"], set[str]()
        for cut in r.event.values():
            names = [name for name in r.needed([cut])[1] if name not in known]
            known.update(names)
            body.append(self._definitions(names))
            body.append(f"{line_directive(cut.where)}if (!({self._cut(cut)})) {leave}\n{reach}")
        body.append(self._definitions([name for name in of_event if name not in known]))
        if r.match:
            used, names = r.needed([r.match])
            body.append(
                f"bool portico_any = false;\n{_EACH} {{\n"
                f"{self._candidate(used, '[portico_i]')}\n{self._definitions(self._split(names)[1])}\n"
                f"{line_directive(r.match.where)}portico_any |= {matched}bool({self._cut(r.match)});\n}}\n"
                f"if (!portico_any) {leave}\n{reach}"
            )
        return body

    def _define(self, expressions: Sequence[Expression], known: set[str]) -> str:
        """Return the definitions of a candidate that expressions need and that are not known yet."""
        names = [n for n in self._split(self._r.needed(expressions)[1])[1] if n not in known]
        known.update(names)
        return self._definitions(names)

    def _preselection(self, known: set[str]) -> list[str]:
        lines = []
        for number, cut in enumerate(self._r.preselection.values(), 1):
            lines.append(f"{self._define([cut], known)}\n{line_directive(cut.where)}if (!({self._cut(cut)})) continue;")
            lines.append(f"portico_choices.reach_all(portico_reached + {number});")
        return lines

    def _loop(self) -> str:
        r, known = self._r, set[str]()
        lines = self._preselection(known)
        scores = [e for score, prefer in r.rules.values() for e in (score, prefer) if e is not None]
        lines.append(self._define([*scores, *(cut for cuts in r.categories.values() for cut in cuts.values())], known))
        for number, (score, prefer) in enumerate(r.rules.values()):
            lines.append(f"{line_directive(score.where)}const double portico_score{number} = {parenthesised(score)};")
            if prefer is not None:
                lines.append(
                    f"{line_directive(prefer.where)}const bool portico_prefer{number} = {parenthesised(prefer)};"
                )

        def offers(call: str) -> str:
            preferred = [f"portico_prefer{n}" if prefer else "true" for n, (_, prefer) in enumerate(r.rules.values())]
            scored = (f"portico_i, {p}, portico_score{n});" for n, p in enumerate(preferred))
            return " ".join(f"portico_choices.{call.format(n)}, {one}" for n, one in enumerate(scored))

        for s, name in enumerate(r.selections):
            if s == 0 and r.inclusive_in_categories:
                continue
            cuts = list(r.categories[name].values()) if s else []
            opened = ""
            for number, cut in enumerate(cuts, len(r.preselection) + 1):
                reached = f"portico_choices.reach({s}, portico_reached + {number});"
                opened += f"{line_directive(cut.where)}if ({self._cut(cut)}) {{ {reached}\n"
            taken = f"portico_choices.put(portico_i, {s});" if s and self._shared_choice else ""
            own = "" if s and r.per_event else offers(f"offer({{}}, {s}")
            lines.append(f"{opened}portico_choices.pass({s}); {taken} {own}{' }' * len(cuts)}")
        if self._shared_choice:
            reached = f"portico_choices.reach(0, portico_reached + {len(r.preselection) + 1});"
            counted = f"{reached} portico_choices.pass(0);" if r.inclusive_in_categories else ""
            lines.append(f"if (portico_choices.category[portico_i]) {{ {counted} {offers('offer_shared({}')} }}")
        return "\n".join(lines)

    @property
    def _shared_choice(self) -> bool:
        """Whether the candidates of all categories compete."""
        return self._r.per_event or self._r.inclusive_in_categories

    # ---- a look at many events

    def _scan(self) -> list[str]:
        r, vectors = self._r, self._r.of_candidate
        looked = [*r.event.values(), *([r.match] if r.match else []), *r.preselection.values()]
        needed, defined = r.needed(looked)
        arguments = [
            f"const portico::Span<{element_type(r.columns[c])}> &{self._argument(c)}" if c in vectors
            else f"const {argument_type(r, c)} &{self._argument(c)}" for c in self._used
        ]  # fmt: skip
        unequal = " || ".join(f"{size} != portico_size" for size in list(self._sizes.values())[1:])
        inside = [self._candidate([c for c in needed if c in vectors], "[portico_i]"), *self._preselection(set())]
        body = [
            f"const std::size_t portico_size = {self._size()};",
            *([f"if ({unequal}) return -1;"] if unequal else []),  # the choice refuses it with words
            "portico::Depth portico_choices;", *self._before(defined, "return portico_choices.depth;"),
            f"{_EACH} {{", *inside, "return -1;", "}",
            "return portico_choices.depth;",
        ]  # fmt: skip
        lists = ", ".join(str(self._numbers[column]) for column in self._sizes)
        equal = f"portico::are_equally_long(portico_at, {{{lists}}}, portico_first, portico_last)"
        given = "portico_given, portico_number, portico_at, portico_first, portico_last, portico_depth"
        look = declared("portico_look", "int", ", ".join([_NUMBERS, *arguments]), "\n".join(body))
        quick = f"if ({equal}) return portico_scan_equal({given});"
        return [look, *self._scan_lists(), *self._scan_function("portico_scan", [quick], self._at)]

    def _scan_lists(self) -> list[str]:
        """Return the function that looks at lists of the same lengths, which are read where they are needed alone."""
        lists = [c for c in self._used if c in self._r.of_candidate]
        before = [f"const auto *portico_begin = portico_at[{self._numbers[lists[0]]}]->offsets(portico_first);"]
        for column in lists:
            values = f"portico_at[{self._numbers[column]}]->values<{element_type(self._r.columns[column])}>()"
            before.append(f"const auto *{mapped('values', column)} = {values};")
        where = "portico_begin[portico_entry - portico_first]"
        size = f"portico_begin[portico_entry - portico_first + 1] - {where}"

        def at(column: str) -> str:
            if column not in self._r.of_candidate:
                return self._at(column)
            kind = element_type(self._r.columns[column])
            return f"portico::Span<{kind}>{{{mapped('values', column)} + {where}, {size}}}"

        return ["__attribute__((flatten))", *self._scan_function("portico_scan_equal", before, at)]

    def _scan_function(self, name: str, before: Sequence[str], at: Callable[[str], str]) -> list[str]:
        given = ", ".join(["portico_number", *(at(column) for column in self._used)])
        return [
            f"void {name}(const void *portico_given, {_NUMBERS}, portico::Cursor *const *portico_at,",
            "std::uint64_t portico_first, std::uint64_t portico_last, std::int16_t *portico_depth) {", *before,
            f"const portico_look portico_one{{{_GIVEN}}};",
            "for (auto portico_entry = portico_first; portico_entry < portico_last; ++portico_entry)",
            f"portico_depth[portico_entry - portico_first] = portico_one({given});", "}",
        ]  # fmt: skip

    def _at(self, column: str) -> str:
        """Return the value of a column in an entry."""
        cursor = f"portico_at[{self._numbers[column]}]->"
        if column in self._r.of_candidate:
            return f"{cursor}list<{element_type(self._r.columns[column])}>(portico_entry)"
        return column_value(self._r, column, f"{cursor}at(portico_entry)")
