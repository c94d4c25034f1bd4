"""C++ functions of a resolved selection: definitions and weights, and apart from them the choice of candidates.

The loop over candidates evaluates cuts in order and defines a quantity just before the first cut that uses it.
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

__all__ = ["argument_type", "choice", "functions", "groups", "literal", "parameters"]

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


def choice(resolved: Resolved, called: str | None, of_sample: str) -> str:
    """Return the function ``portico_choose``, without its namespace; a changed cut changes nothing else.

    Parameters
    ----------
    resolved, called, of_sample
        As for `functions`.
    """
    return _Functions(resolved).choice(called, of_sample)


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

    def choice(self, called: str | None, of_sample: str) -> str:
        return "\n".join([*self._names(called, of_sample), self._choose()])

    def _names(self, called: str | None, of_sample: str) -> list[str]:
        constants = [f"constexpr auto {value(n)} = {literal(number)};" for n, number in self._r.constants.items()]
        uses = [f"using {of_sample}::portico_parameters;", *([f"namespace {FUNCTIONS} = {called};"] if called else [])]
        return [_HEAD, *uses, *constants]

    # ---- columns as arguments and as values of one candidate

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

    # ---- the choice

    def _choose(self) -> str:
        r = self._r
        columns, definitions = r.needed(r.choice_expressions())
        vectors = {column: f"{self._argument(column)}.size()" for column in columns if column in r.of_candidate}
        body = [
            f"portico::Choices portico_choices({len(r.rules)}, {len(r.selections)});",
            f"const std::size_t portico_size = {next(iter(vectors.values()), '0')};",
            *(f"portico::require_size({size}, portico_size, {quoted(column)});" for column, size in vectors.items()),
            self._definitions(self._split(definitions)[0]),
            "int portico_reached = 0;",
        ]
        reach = "portico_choices.reach_all(++portico_reached);"
        body += [
            f"{line_directive(cut.where)}if (!({parenthesised(cut)})) return portico_choices;\n{reach}"
            for cut in r.event.values()
        ]
        each = "for (std::size_t portico_i = 0; portico_i < portico_size; ++portico_i)"
        if r.match:
            used, defined = r.needed([r.match])
            body.append(
                f"portico_choices.matched.resize(portico_size);\nbool portico_any = false;\n{each} {{\n"
                f"{self._candidate(used, '[portico_i]')}\n{self._definitions(self._split(defined)[1])}\n"
                f"{line_directive(r.match.where)}portico_any |= portico_choices.matched[portico_i] = "
                f"bool({parenthesised(r.match)});\n}}\nif (!portico_any) return portico_choices;\n{reach}"
            )
        if self._shared_choice:
            body.append(f"portico::Shared portico_shared({len(r.rules)}, portico_size);")
        body.append(f"{each} {{\n{self._candidate(columns, '[portico_i]')}\n{self._loop()}\n}}")
        if self._shared_choice:
            flags = ", ".join("true" if flag else "false" for flag in (r.inclusive_in_categories, r.per_event))
            body.append(f"portico_choices.take(portico_shared, {flags});")
        body.append("return portico_choices;")
        return _function("portico_choose", "portico::Choices", self._arguments(columns), "\n".join(body))

    def _loop(self) -> str:
        r, known, lines = self._r, set[str](), list[str]()

        def define(expressions: Sequence[Expression]) -> str:
            names = [n for n in self._split(r.needed(expressions)[1])[1] if n not in known]
            known.update(names)
            return self._definitions(names)

        for number, cut in enumerate(r.preselection.values(), 1):
            lines.append(f"{define([cut])}\n{line_directive(cut.where)}if (!({parenthesised(cut)})) continue;")
            lines.append(f"portico_choices.reach_all(portico_reached + {number});")
        scores = [e for score, prefer in r.rules.values() for e in (score, prefer) if e is not None]
        lines.append(define([*scores, *(cut for cuts in r.categories.values() for cut in cuts.values())]))
        for number, (score, prefer) in enumerate(r.rules.values()):
            lines.append(f"{line_directive(score.where)}const double portico_score{number} = {parenthesised(score)};")
            if prefer is not None:
                lines.append(
                    f"{line_directive(prefer.where)}const bool portico_prefer{number} = {parenthesised(prefer)};"
                )

        def offers(best: str) -> str:
            preferred = [f"portico_prefer{n}" if prefer else "true" for n, (_, prefer) in enumerate(r.rules.values())]
            scored = ((f"{best.format(n)}.offer(portico_i, {p}, portico_score{n});") for n, p in enumerate(preferred))
            return " ".join(scored)

        for s, name in enumerate(r.selections):
            if s == 0 and r.inclusive_in_categories:
                continue
            cuts = list(r.categories[name].values()) if s else []
            opened = ""
            for number, cut in enumerate(cuts, len(r.preselection) + 1):
                reached = f"portico_choices.reach({s}, portico_reached + {number});"
                opened += f"{line_directive(cut.where)}if ({parenthesised(cut)}) {{ {reached}\n"
            taken = f"portico_shared.put(portico_i, {s});" if s and self._shared_choice else ""
            own = "" if s and r.per_event else offers(f"portico_choices.best[{{}} * {len(r.selections)} + {s}]")
            lines.append(f"{opened}++portico_choices.passing[{s}]; {taken} {own}{' }' * len(cuts)}")
        if self._shared_choice:
            reached = f"portico_choices.reach(0, portico_reached + {len(r.preselection) + 1});"
            counted = f"{reached} ++portico_choices.passing[0];" if r.inclusive_in_categories else ""
            lines.append(f"if (portico_shared.category[portico_i]) {{ {counted} {offers('portico_shared.best[{}]')} }}")
        return "\n".join(lines)

    @property
    def _shared_choice(self) -> bool:
        """Whether the candidates of all categories compete."""
        return self._r.per_event or self._r.inclusive_in_categories

    # ---- values of the chosen candidates

    def _evaluate(self, expressions: Sequence[Expression]) -> tuple[list[str], str]:
        """Return the columns, and the code that defines what the expressions use for candidate ``portico_index``."""
        columns, definitions = self._r.needed(expressions)
        return columns, f"{self._candidate(columns, '.at(portico_index)')}\n{self._definitions(definitions)}\n"

    def _define(self, name: str) -> str:
        columns, body = self._evaluate([name_expression(name)])
        function, arguments, body = mapped("define", name), self._arguments(columns), f"{body}return {value(name)};"
        if name not in self._r.of_candidate:
            return _function(function, "auto", arguments, body)
        inside = (
            f"const auto portico_value = [&](int portico_index) {{\n{body}\n}};\n"
            "RVec<std::decay_t<decltype(portico_value(0))>> portico_result;\n"
            f"{_EACH} portico_result.push_back(portico_value(portico_index));\nreturn portico_result;"
        )
        return _function(function, "auto", _with_chosen(arguments), inside)

    def _weight(self, weight: ResolvedWeight, expressions: Sequence[Expression], *, varied: bool) -> str:
        """Return the function of the nominal weight, or of all its variations together."""
        columns, body = self._evaluate(expressions)
        name, arguments = mapped("varied" if varied else "weight", weight.name), self._arguments(columns)
        values = [f"{line_directive(e.where)}double{parenthesised(e)}" for e in expressions]
        scalar = "RVec<double>" if varied else "double"
        if not weight.of_candidate:
            returned = ",\n".join(values)
            returned = f"{scalar}{{{returned}}}" if varied else returned
            return _function(name, scalar, arguments, f"{body}return {returned};")
        kind = "RVec<RVec<double>>" if varied else "RVec<double>"
        start = f"{kind} portico_result({len(values)});" if varied else f"{kind} portico_result;"
        pushes = "\n".join(
            f"portico_result{f'[{n}]' if varied else ''}.push_back(\n{one});" for n, one in enumerate(values)
        )
        inside = f"{start}\n{_EACH} {{\n{body}{pushes}\n}}\nreturn portico_result;"
        return _function(name, kind, _with_chosen(arguments), inside)

    def _values(self, group: str, names: Sequence[str]) -> str:
        """Return the function of a group's values: all of the first chosen candidate, then all of the next."""
        columns, body = self._evaluate([name_expression(name) for name in names])
        values = "\n".join(f"portico_result.push_back({value(name)});" for name in names)
        inside = (
            f"RVec<double> portico_result;\nportico_result.reserve(portico_chosen.size() * {len(names)});\n"
            f"{_EACH} {{\n{body}{values}\n}}\nreturn portico_result;"
        )
        return _function(mapped("values", group), "RVec<double>", _with_chosen(self._arguments(columns)), inside)

    def _nominal(self, column: str, expression: Expression) -> str:
        """Return the function of a column's corrected values."""
        columns, body = self._evaluate([expression])
        kind = argument_type(self._r, column)
        inside = (
            f"{kind} portico_result;\n{self._every(column)} {{\n{body}portico_result.push_back(\n"
            f"{line_directive(expression.where)}{parenthesised(expression)});\n}}\nreturn portico_result;"
        )
        return _function(mapped("nominal", column), kind, self._arguments(sorted({*columns, column})), inside)

    def _shape(self, shape: ResolvedShape) -> str:
        """Return the function of all variations of a shape's columns: by column, then by variation."""
        expressions = [e for tags in shape.columns.values() for e in tags.values()]
        columns, body = self._evaluate(expressions)
        first = next(iter(shape.columns))
        element = element_type(self._r.columns[first])
        pushes = "\n".join(
            f"portico_result[{c}][{t}].push_back(\n{line_directive(e.where)}{parenthesised(e)});"
            for c, tags in enumerate(shape.columns.values())
            for t, e in enumerate(tags.values())
        )
        kind = f"RVec<RVec<RVec<{element}>>>"
        several = len(shape.columns) > 1
        inside = (
            f"{kind} portico_result({len(shape.columns)}, RVec<RVec<{element}>>({len(shape.tags)}));\n"
            f"{self._every(first)} {{\n{body}{pushes}\n}}\nreturn portico_result{'' if several else '[0]'};"
        )
        returned = kind if several else f"RVec<RVec<{element}>>"
        return _function(mapped("shape", shape.name), returned, self._arguments(columns), inside)

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


def _function(name: str, returned: str, arguments: str, body: str) -> str:
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
