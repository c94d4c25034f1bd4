"""C++ functions of a resolved selection but for the choice of candidates: definitions, weights, values.

Functions are defined outside their classes, so that they are compiled here and not again at each use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from portico.cpp import line_directive, mapped, quoted
from portico.selection.expression import FUNCTIONS, SAMPLE, value
from portico.selection.resolved import (
    Expression,
    Resolved,
    ResolvedHistogram,
    ResolvedShape,
    ResolvedWeight,
    element_type,
    name_expression,
)

__all__ = ["Generator", "argument_type", "declared", "functions", "groups", "literal", "parameters", "parenthesised"]

_HEAD = """
using std::abs; using std::sqrt; using std::pow; using std::exp; using std::log; using std::hypot;
using std::cos; using std::sin; using std::tan; using std::cosh; using std::sinh; using std::atan2; using std::isnan;
using std::min; using std::max; using std::fmod; using std::floor;
using portico::abs; using portico::min; using portico::max;
using ROOT::RVec;
"""
_EACH = "for (const int portico_index : portico_chosen)"


def parameters(resolved: Resolved) -> str:
    """Return the struct ``portico_parameters`` of the sample's parameters, without its namespace."""
    members = "".join(f" double {value(name)};" for name in resolved.parameters)
    return f"struct portico_parameters {{{members} }};"


def functions(resolved: Resolved, called: str | None, of_sample: str) -> str:
    """Return the functions of a selection but for the choice, without their namespace.

    Parameters
    ----------
    resolved : Resolved
        The selection.
    called : str, optional
        The namespace of the corrections and look-ups that it calls.
    of_sample : str
        The namespace of the text that `parameters` returns.

    Returns
    -------
    str
        Functions of columns, all with names that begin with ``portico_``: ``define_NAME``, ``weight_NAME``,
        ``varied_NAME``, ``values_GROUP``, ``nominal_COLUMN`` and ``shape_NAME`` as needed; ``total`` and ``ofevent``,
        the weights.
    """
    return _Functions(resolved).text(called, of_sample)


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


class Generator:
    """What generators of functions share: the names that expressions use, columns as arguments, definitions."""

    def __init__(self, resolved: Resolved) -> None:
        self._r = resolved

    def _names(self, called: str | None, of_sample: str) -> list[str]:
        constants = [f"constexpr auto {value(n)} = {literal(number)};" for n, number in self._r.constants.items()]
        uses = [f"using {of_sample}::portico_parameters;", *([f"namespace {FUNCTIONS} = {called};"] if called else [])]
        return [_HEAD, *uses, *constants]

    def _arguments(self, columns: Iterable[str]) -> str:
        return ", ".join(f"const {argument_type(self._r, c)} &{self._argument(c)}" for c in columns)

    def _argument(self, column: str) -> str:
        return mapped("all", column) if column in self._r.of_candidate else value(column)

    def _candidate(self, columns: Iterable[str], element: str) -> str:
        pairs = ((value(c), self._argument(c)) for c in columns if c in self._r.of_candidate)
        return " ".join(f"const auto &{one} = {every}{element};" for one, every in pairs)

    def _definitions(self, names: Iterable[str]) -> str:
        pairs = ((value(name), self._r.definitions[name]) for name in names)
        return "\n".join(f"{line_directive(e.where)}const auto {name} = {parenthesised(e)};" for name, e in pairs)

    def _split(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the definitions of the event, and those of the candidate."""
        return [n for n in names if n not in self._r.of_candidate], [n for n in names if n in self._r.of_candidate]


class _Functions(Generator):
    def text(self, called: str | None, of_sample: str) -> str:
        r, parts = self._r, self._names(called, of_sample)
        parts += [self._define(name) for name in r.output_definitions]
        for weight in r.weights:
            parts.append(self._weight(weight, [weight.nominal], varied=False))
            if weight.varied:
                parts.append(self._weight(weight, list(weight.varied.values()), varied=True))
        parts += [self._values(group, [f.column for f in filled]) for group, filled in groups(r).items()]
        parts += [self._nominal(column, e) for shape in r.shapes for column, e in shape.nominal.items()]
        parts += [self._shape(shape) for shape in r.shapes if shape.tags]
        return "\n".join([*parts, self._total()])

    # ---- values of the chosen candidates

    def _evaluate(self, expressions: Sequence[Expression]) -> tuple[list[str], str]:
        """Return the columns, and the code that defines what the expressions use for candidate ``portico_index``."""
        columns, definitions = self._r.needed(expressions)
        return columns, f"{self._candidate(columns, '.at(portico_index)')}\n{self._definitions(definitions)}\n"

    def _sizes(self, columns: Iterable[str], first: str) -> str:
        """Return the code that requires columns of candidates to have the length of another one."""
        others = [column for column in columns if column in self._r.of_candidate and column != first]
        sizes = {column: f"{self._argument(column)}.size()" for column in (*others, first)}
        return "".join(f"portico::require_size({sizes[c]}, {sizes[first]}, {quoted(c)});\n" for c in others)

    def _define(self, name: str) -> str:
        columns, body = self._evaluate([name_expression(name)])
        function, arguments, body = mapped("define", name), self._arguments(columns), f"{body}return {value(name)};"
        if name not in self._r.of_candidate:
            return declared(function, "auto", arguments, body)
        inside = (
            f"const auto portico_value = [&](int portico_index) {{\n{body}\n}};\n"
            "RVec<std::decay_t<decltype(portico_value(0))>> portico_result;\n"
            f"{_EACH} portico_result.push_back(portico_value(portico_index));\nreturn portico_result;"
        )
        return declared(function, "auto", _with_chosen(arguments), inside)

    def _weight(self, weight: ResolvedWeight, expressions: Sequence[Expression], *, varied: bool) -> str:
        """Return the function of the nominal weight, or of all its variations together."""
        columns, body = self._evaluate(expressions)
        name, arguments = mapped("varied" if varied else "weight", weight.name), self._arguments(columns)
        values = [f"{line_directive(e.where)}double{parenthesised(e)}" for e in expressions]
        scalar = "RVec<double>" if varied else "double"
        if not weight.of_candidate:
            returned = ",\n".join(values)
            returned = f"{scalar}{{{returned}}}" if varied else returned
            return declared(name, scalar, arguments, f"{body}return {returned};")
        kind = "RVec<RVec<double>>" if varied else "RVec<double>"
        start = f"{kind} portico_result({len(values)});" if varied else f"{kind} portico_result;"
        pushes = "\n".join(
            f"portico_result{f'[{n}]' if varied else ''}.push_back(\n{one});" for n, one in enumerate(values)
        )
        inside = f"{start}\n{_EACH} {{\n{body}{pushes}\n}}\nreturn portico_result;"
        return declared(name, kind, _with_chosen(arguments), inside)

    def _values(self, group: str, names: Sequence[str]) -> str:
        """Return the function of a group's values: all of the first chosen candidate, then all of the next."""
        columns, body = self._evaluate([name_expression(name) for name in names])
        values = "\n".join(f"portico_result.push_back({value(name)});" for name in names)
        inside = (
            f"RVec<double> portico_result;\nportico_result.reserve(portico_chosen.size() * {len(names)});\n"
            f"{_EACH} {{\n{body}{values}\n}}\nreturn portico_result;"
        )
        return declared(mapped("values", group), "RVec<double>", _with_chosen(self._arguments(columns)), inside)

    def _nominal(self, column: str, expression: Expression) -> str:
        """Return the function of a column's corrected values."""
        columns, body = self._evaluate([expression])
        kind = argument_type(self._r, column)
        inside = (
            f"{self._sizes(columns, column)}{kind} portico_result;\n{self._every(column)} {{\n{body}"
            f"portico_result.push_back({self._shaped(column, expression)});\n}}\nreturn portico_result;"
        )
        return declared(mapped("nominal", column), kind, self._arguments(sorted({*columns, column})), inside)

    def _shape(self, shape: ResolvedShape) -> str:
        """Return the function of all variations of a shape's columns: by column, then by variation."""
        expressions = [e for tags in shape.columns.values() for e in tags.values()]
        columns, body = self._evaluate(expressions)
        first = next(iter(shape.columns))
        columns = sorted({*columns, first})
        element = element_type(self._r.columns[first])
        pushes = "\n".join(
            f"portico_result[{c}][{t}].push_back({self._shaped(column, e)});"
            for c, (column, tags) in enumerate(shape.columns.items())
            for t, e in enumerate(tags.values())
        )
        kind = f"RVec<RVec<RVec<{element}>>>"
        several = len(shape.columns) > 1
        inside = (
            f"{self._sizes(columns, first)}{kind} portico_result({len(shape.columns)}, "
            f"RVec<RVec<{element}>>({len(shape.tags)}));\n"
            f"{self._every(first)} {{\n{body}{pushes}\n}}\nreturn portico_result{'' if several else '[0]'};"
        )
        returned = kind if several else f"RVec<RVec<{element}>>"
        return declared(mapped("shape", shape.name), returned, self._arguments(columns), inside)

    def _shaped(self, column: str, expression: Expression) -> str:
        element, code = element_type(self._r.columns[column]), parenthesised(expression)
        return f"\n{line_directive(expression.where)}portico::shaped<{element}>({code}, {quoted(column)})"

    def _every(self, column: str) -> str:
        size = f"{self._argument(column)}.size()"
        return f"for (std::size_t portico_index = 0; portico_index < {size}; ++portico_index)"

    def _total(self) -> str:
        event = [mapped("factor", f.name) for f in self._r.weights if not f.of_candidate]
        candidate = [mapped("factor", f.name) for f in self._r.weights if f.of_candidate]
        arguments = ", ".join([*(f"double {name}" for name in event), *(f"const RVec<double> &{n}" for n in candidate)])
        product = " * ".join(["portico_normalisation", *event, *(f"{name}[portico_k]" for name in candidate)])
        return (
            "struct portico_total {\ndouble portico_normalisation;\n"
            f"RVec<double> operator()({_with_chosen(arguments)}) const {{\nRVec<double> portico_result;\n"
            "for (std::size_t portico_k = 0; portico_k < portico_chosen.size(); ++portico_k) "
            f"portico_result.push_back({product});\nreturn portico_result;\n}}\n}};\n"
            "struct portico_ofevent {\ndouble portico_normalisation;\n"
            f"double operator()({', '.join(f'double {name}' for name in event)}) const "
            f"{{ return {' * '.join(['portico_normalisation', *event])}; }}\n}};"
        )


def declared(name: str, returned: str, arguments: str, body: str) -> str:
    """Return a function of the sample's parameters and of columns: a class that is called."""
    head = f"{returned} operator()({arguments}) const;"
    return (
        f"struct {name} {{ portico_parameters {SAMPLE}; {head} }};\n"
        f"{returned} {name}::operator()({arguments}) const {{\n{body}\n}}"
    )


def _with_chosen(arguments: str) -> str:
    return f"const RVec<int> &portico_chosen{', ' if arguments else ''}{arguments}"


def parenthesised(expression: Expression) -> str:
    """Return an expression in parentheses, so that no operator around it binds stronger."""
    return f"({expression.names.code})"


def literal(number: float) -> str:
    """Return a C++ literal of exactly this number."""
    if isinstance(number, float) and math.isinf(number):
        return f"{'-' if number < 0 else ''}std::numeric_limits<double>::infinity()"
    return repr(number)
