"""C++ functions of a resolved selection: the choice of candidates, definitions, weights.

The loop over candidates evaluates cuts in order and defines a quantity just before the first cut that uses it.
Functions are defined outside their classes, so that they are compiled here and not again at each use.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence

from portico.selection.resolve import (
    Expression,
    Resolved,
    ResolvedHistogram,
    ResolvedShape,
    ResolvedWeight,
    element_type,
    name_expression,
)

__all__ = ["argument_type", "functions", "groups", "literal"]

_HEAD = """
using std::abs; using std::sqrt; using std::pow; using std::exp; using std::log; using std::hypot;
using std::cos; using std::sin; using std::tan; using std::cosh; using std::sinh; using std::atan2; using std::isnan;
using std::min; using std::max; using std::fmod; using std::floor;
using ROOT::RVec;
"""


def functions(resolved: Resolved, imports: Mapping[str, str]) -> str:
    """Return the functions of a selection, without their namespace.

    Parameters
    ----------
    resolved : Resolved
        The selection.
    imports : mapping of str to str
        Namespaces of the corrections and lookups, by name.

    Returns
    -------
    str
        ``Parameters``; ``Choose``; ``Define_NAME``, ``Weight_NAME``, ``Weight_NAME_varied``, ``Values_GROUP`` and
        ``Shape_NAME`` as needed; ``Total`` and ``OfEvent``, the weights.
    """
    return _Functions(resolved).text(imports)


def argument_type(resolved: Resolved, column: str) -> str:
    """Return the C++ type of a function's argument for a column."""
    element = element_type(resolved.columns[column])
    return resolved.columns[column] if element is None else f"RVec<{element}>"


def groups(resolved: Resolved) -> dict[str, list[ResolvedHistogram]]:
    """Return the histograms that are filled together: ``varied`` for every variation as well, ``plain`` without."""
    found: dict[str, list[ResolvedHistogram]] = {}
    for filled in resolved.histograms:
        found.setdefault("varied" if filled.varied and resolved.has_variations else "plain", []).append(filled)
    return found


class _Functions:
    def __init__(self, resolved: Resolved) -> None:
        self._r = resolved

    def text(self, imports: Mapping[str, str]) -> str:
        r = self._r
        parts = [_HEAD, *(f"using {namespace}::{name};" for name, namespace in imports.items())]
        parts += [f"constexpr auto {name} = {literal(value)};" for name, value in r.constants.items()]
        members = "".join(f" double {name};" for name in r.parameters)
        parts += [f"struct Parameters {{{members} }};", self._choose()]
        parts += [self._define(name) for name in r.output_definitions]
        for weight in r.weights:
            parts.append(self._weight(weight, "", [weight.nominal]))
            if weight.varied:
                parts.append(self._weight(weight, "_varied", list(weight.varied.values())))
        parts += [self._values(group, [f.column for f in filled]) for group, filled in groups(r).items()]
        parts += [self._nominal(column, e) for shape in r.shapes for column, e in shape.nominal.items()]
        parts += [self._shape(shape) for shape in r.shapes if shape.tags]
        return "\n".join([*parts, self._total()])

    # ---- columns as arguments and as values of one candidate

    def _arguments(self, columns: Iterable[str]) -> str:
        return ", ".join(f"const {argument_type(self._r, c)} &{self._argument(c)}" for c in columns)

    def _argument(self, column: str) -> str:
        return f"{column}_all" if column in self._r.of_candidate else column

    def _candidate(self, columns: Iterable[str], element: str) -> str:
        return " ".join(f"const auto &{c} = {c}_all{element};" for c in columns if c in self._r.of_candidate)

    def _definitions(self, names: Iterable[str]) -> str:
        pairs = ((name, self._r.definitions[name]) for name in names)
        return "\n".join(f"{line_directive(e)}const auto {name} = {parenthesised(e)};" for name, e in pairs)

    def _split(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the definitions of the event, and those of the candidate."""
        return [n for n in names if n not in self._r.of_candidate], [n for n in names if n in self._r.of_candidate]

    # ---- the choice

    def _choose(self) -> str:
        r = self._r
        columns, definitions = r.needed(r.choice_expressions())
        vectors = [column for column in columns if column in r.of_candidate]
        size = f"{vectors[0]}_all.size()" if vectors else "0"
        body = [
            f"portico::Choices choices({len(r.rules)}, {len(r.selections)});",
            f"const std::size_t size = {size};",
            *(f'portico::require_size({c}_all.size(), size, "{c}");' for c in vectors[1:]),
            self._definitions(self._split(definitions)[0]),
            "int reached = 0;",
        ]
        body += [
            f"{line_directive(cut)}if (!({parenthesised(cut)})) return choices;\nchoices.reach_all(++reached);"
            for cut in r.event.values()
        ]
        if r.match:
            used, defined = r.needed([r.match])
            body.append(
                "choices.matched.resize(size);\nbool any = false;\nfor (std::size_t i = 0; i < size; ++i) {\n"
                f"{self._candidate(used, '[i]')}\n{self._definitions(self._split(defined)[1])}\n"
                f"{line_directive(r.match)}any |= choices.matched[i] = bool({parenthesised(r.match)});\n}}\n"
                "if (!any) return choices;\nchoices.reach_all(++reached);"
            )
        body.append(f"for (std::size_t i = 0; i < size; ++i) {{\n{self._candidate(columns, '[i]')}\n{self._loop()}\n}}")
        body.append("return choices;")
        inside = "\n".join(body)
        return _function("Choose", "portico::Choices", self._arguments(columns), inside)

    def _loop(self) -> str:
        r, known, lines = self._r, set[str](), list[str]()

        def define(expressions: Sequence[Expression]) -> str:
            names = [n for n in self._split(r.needed(expressions)[1])[1] if n not in known]
            known.update(names)
            return self._definitions(names)

        for number, cut in enumerate(r.preselection.values(), 1):
            lines.append(f"{define([cut])}\n{line_directive(cut)}if (!({parenthesised(cut)})) continue;")
            lines.append(f"choices.reach_all(reached + {number});")
        scores = [e for score, prefer in r.rules.values() for e in (score, prefer) if e is not None]
        lines.append(define([*scores, *(cut for cuts in r.categories.values() for cut in cuts.values())]))
        for number, (score, prefer) in enumerate(r.rules.values()):
            lines.append(f"{line_directive(score)}const double score{number} = {parenthesised(score)};")
            if prefer is not None:
                lines.append(f"{line_directive(prefer)}const bool prefer{number} = {parenthesised(prefer)};")
        for s, name in enumerate(r.selections):
            cuts = list(r.categories[name].values()) if s else []
            opened = ""
            for number, cut in enumerate(cuts, len(r.preselection) + 1):
                opened += f"{line_directive(cut)}if ({parenthesised(cut)}) {{ choices.reach({s}, reached + {number});\n"
            offers = " ".join(
                f"choices.best[{n * len(r.selections) + s}].offer(i, {f'prefer{n}' if prefer else 'true'}, score{n});"
                for n, (_, prefer) in enumerate(r.rules.values())
            )
            lines.append(f"{opened}++choices.passing[{s}]; {offers}{' }' * len(cuts)}")
        return "\n".join(lines)

    # ---- values of the chosen candidates

    def _evaluate(self, expressions: Sequence[Expression]) -> tuple[list[str], str]:
        """Return the columns, and the code that defines everything that the expressions use for ``index``."""
        columns, definitions = self._r.needed(expressions)
        return columns, f"{self._candidate(columns, '.at(index)')}\n{self._definitions(definitions)}\n"

    def _define(self, name: str) -> str:
        columns, body = self._evaluate([name_expression(name)])
        arguments = self._arguments(columns)
        if name not in self._r.of_candidate:
            return _function(f"Define_{name}", "auto", arguments, f"{body}return {name};")
        inside = (
            f"const auto value = [&](int index) {{\n{body}return {name};\n}};\n"
            "RVec<std::decay_t<decltype(value(0))>> result;\n"
            "for (const int index : chosen) result.push_back(value(index));\nreturn result;"
        )
        return _function(f"Define_{name}", "auto", _with_chosen(arguments), inside)

    def _weight(self, weight: ResolvedWeight, suffix: str, expressions: Sequence[Expression]) -> str:
        """Return the function of the nominal weight, or of all its variations together."""
        columns, body = self._evaluate(expressions)
        name, arguments = f"Weight_{weight.name}{suffix}", self._arguments(columns)
        values = [f"{line_directive(e)}double{parenthesised(e)}" for e in expressions]
        scalar = "RVec<double>" if suffix else "double"
        if not weight.of_candidate:
            returned = ",\n".join(values)
            returned = f"{scalar}{{{returned}}}" if suffix else returned
            return _function(name, scalar, arguments, f"{body}return {returned};")
        kind = "RVec<RVec<double>>" if suffix else "RVec<double>"
        start = f"{kind} result({len(values)});" if suffix else f"{kind} result;"
        pushes = "\n".join(
            f"result{f'[{n}]' if suffix else ''}.push_back(\n{value});" for n, value in enumerate(values)
        )
        inside = f"{start}\nfor (const int index : chosen) {{\n{body}{pushes}\n}}\nreturn result;"
        return _function(name, kind, _with_chosen(arguments), inside)

    def _values(self, group: str, names: Sequence[str]) -> str:
        """Return the function of a group's values: all of the first chosen candidate, then all of the next."""
        columns, body = self._evaluate([name_expression(name) for name in names])
        values = "\n".join(f"result.push_back({name});" for name in names)
        inside = (
            f"RVec<double> result;\nresult.reserve(chosen.size() * {len(names)});\n"
            f"for (const int index : chosen) {{\n{body}{values}\n}}\nreturn result;"
        )
        return _function(f"Values_{group}", "RVec<double>", _with_chosen(self._arguments(columns)), inside)

    def _nominal(self, column: str, expression: Expression) -> str:
        """Return the function of a column's corrected values."""
        columns, body = self._evaluate([expression])
        kind = argument_type(self._r, column)
        inside = (
            f"{kind} result;\nfor (std::size_t index = 0; index < {column}_all.size(); ++index) {{\n"
            f"{body}result.push_back(\n{line_directive(expression)}{parenthesised(expression)});\n}}\nreturn result;"
        )
        return _function(f"Nominal_{column}", kind, self._arguments(sorted({*columns, column})), inside)

    def _shape(self, shape: ResolvedShape) -> str:
        """Return the function of all variations of a shape's columns: by column, then by variation."""
        expressions = [e for tags in shape.columns.values() for e in tags.values()]
        columns, body = self._evaluate(expressions)
        first = next(iter(shape.columns))
        element = element_type(self._r.columns[first])
        pushes = "\n".join(
            f"result[{c}][{t}].push_back(\n{line_directive(e)}{parenthesised(e)});"
            for c, tags in enumerate(shape.columns.values())
            for t, e in enumerate(tags.values())
        )
        kind = f"RVec<RVec<RVec<{element}>>>"
        several = len(shape.columns) > 1
        inside = (
            f"{kind} result({len(shape.columns)}, RVec<RVec<{element}>>({len(shape.tags)}));\n"
            f"for (std::size_t index = 0; index < {first}_all.size(); ++index) {{\n{body}{pushes}\n}}\n"
            f"return result{'' if several else '[0]'};"
        )
        returned = kind if several else f"RVec<RVec<{element}>>"
        return _function(f"Shape_{shape.name}", returned, self._arguments(columns), inside)

    def _total(self) -> str:
        event = [f for f in self._r.weights if not f.of_candidate]
        candidate = [f for f in self._r.weights if f.of_candidate]
        arguments = "".join(f", double {f.name}_" for f in event) + "".join(
            f", const RVec<double> &{f.name}_" for f in candidate
        )
        product = " * ".join(["normalisation", *(f"{f.name}_" for f in event), *(f"{f.name}_[k]" for f in candidate)])
        of_event = " * ".join(["normalisation", *(f"{f.name}_" for f in event)])
        event_arguments = ", ".join(f"double {f.name}_" for f in event)
        return (
            "struct Total {\ndouble normalisation;\n"
            f"RVec<double> operator()(const RVec<int> &chosen{arguments}) const {{\nRVec<double> result;\n"
            f"for (std::size_t k = 0; k < chosen.size(); ++k) result.push_back({product});\nreturn result;\n}}\n}};\n"
            "struct OfEvent {\ndouble normalisation;\n"
            f"double operator()({event_arguments}) const {{ return {of_event}; }}\n}};"
        )


def _function(name: str, returned: str, arguments: str, body: str) -> str:
    head = f"{returned} operator()({arguments}) const;"
    return (
        f"struct {name} {{ Parameters sample; {head} }};\n"
        f"{returned} {name}::operator()({arguments}) const {{\n{body}\n}}"
    )


def _with_chosen(arguments: str) -> str:
    return f"const RVec<int> &chosen{', ' if arguments else ''}{arguments}"


def line_directive(expression: Expression) -> str:
    """Return a directive that makes the compiler's messages name the key of the expression."""
    return f"\n#line 1 {json.dumps('in ' + expression.where)}\n"


def parenthesised(expression: Expression) -> str:
    """Return an expression in parentheses, so that no operator around it binds stronger."""
    return f"({expression.text})"


def literal(value: float) -> str:
    """Return a C++ literal of exactly this number."""
    if isinstance(value, float) and math.isinf(value):
        return f"{'-' if value < 0 else ''}std::numeric_limits<double>::infinity()"
    return repr(value)
