"""A resolved selection as a graph of RDataFrame, typed: nothing is left for RDataFrame's own compiler.

Booking is one call, at the speed of C++, in every chunk after the first of a process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from portico.selection.functions import argument_type, literal
from portico.selection.resolve import Expression, Factor, Filled, Resolved, element_type, mention

__all__ = ["graph"]

_CHOICES = '{"portico_choices"}'


def graph(resolved: Resolved) -> str:
    """Return the function that books a selection, to be put into the namespace of its functions.

    Parameters
    ----------
    resolved : Resolved
        What to book.

    Returns
    -------
    str
        ``portico::Booked book(RNode, double normalisation, const std::vector<double> &parameters)``.
    """
    return _Graph(resolved).text()


class _Graph:
    def __init__(self, resolved: Resolved) -> None:
        self._r = resolved
        self._shifted = {column: f"portico_varied_{column}" for shift in resolved.shifts for column in shift.columns}

    def _inputs(self, columns: Iterable[str]) -> str:
        return _strings(self._shifted.get(column, column) for column in columns)

    def text(self) -> str:
        parameters = ", ".join(f"parameters.at({n})" for n in range(len(self._r.parameters)))
        body = [f"const Parameters sample{{{parameters}}};"]
        for name, kind in zip(self._r.key_types, ("std::uint32_t", "std::uint32_t", "std::uint64_t"), strict=True):
            convert = f"portico::Unsigned<{kind}, {self._r.key_types[name]}>{{}}"
            body.append(f'node = node.Redefine("{name}", {convert}, {{"{name}"}});')
        body += [*self._book_shifts(), *self._book_choice(), *self._book_values(), *self._book_histograms()]
        body.append("return {tree, report, counts, histograms, varied};")
        inside = "\n".join(body)
        arguments = "ROOT::RDF::RNode node, double normalisation, const std::vector<double> &parameters"
        return f"portico::Booked book({arguments}) {{\n{inside}\n}}"

    def _book_shifts(self) -> list[str]:
        lines = []
        for shift in self._r.shifts:
            columns = self._r.needed(e for tags in shift.columns.values() for e in tags.values())[0]
            for column in shift.columns:
                made, inputs = f"portico::Same<{argument_type(self._r, column)}>{{}}", [column]
                if column in shift.nominal:
                    inputs = sorted({*self._r.needed([shift.nominal[column]])[0], column})
                    made = f"Nominal_{column}{{sample}}"
                lines.append(f'node = node.Define("{self._shifted[column]}", {made}, {_strings(inputs)});')
            if shift.tags:
                names = [self._shifted[column] for column in shift.columns]
                target = _strings(names) if len(names) > 1 else json.dumps(names[0])
                varied = f"{target}, Shift_{shift.name}{{sample}}, {_strings(columns)}, {_strings(shift.tags)}"
                lines.append(f'node = node.Vary({varied}, "{shift.name}");')
        return lines

    def _book_choice(self) -> list[str]:
        r = self._r
        columns = r.needed(r.of_choice())[0]
        lines = [f'node = node.Define("portico_choices", Choose{{sample}}, {self._inputs(columns)});']
        event = [factor for factor in r.factors if not factor.of_candidate]
        lines += [line for factor in event for line in self._book_factor(factor)]
        names = _strings(f"portico_weight_{factor.name}" for factor in event)
        lines.append(f'node = node.Define("portico_event_weight", OfEvent{{normalisation}}, {names});')
        before = [*r.event, *(["generator matched"] if r.match else []), *r.preselection]
        stages = [
            [*before, *r.categories.get(selection, {}), "best candidate"] for selection in r.selections
        ]
        cuts = "{" + ", ".join(_strings(stage) for stage in stages) + "}"
        lines.append(
            "std::vector<ROOT::RDF::RResultPtr<portico::Histograms>> histograms;\n"
            "std::vector<ROOT::RDF::Experimental::RResultMap<portico::Histograms>> varied;\n"
            f"auto counts = portico::count(node, {_strings(r.selections)}, {_strings(r.rules)}, {cuts});"
        )
        for number, label in enumerate(before, 1):
            lines.append(f'node = node.Filter(portico::Reached{{{number}}}, {_CHOICES}, {json.dumps(label)});')
        lines += [
            f'node = node.Filter(portico::Made{{}}, {_CHOICES}, "best candidate");',
            "auto report = node.Report();",
            f'node = node.Define("portico_selection", portico::MadeBy{{0}}, {_CHOICES});',
            f'node = node.Define("portico_chosen", portico::ChosenBy{{0}}, {_CHOICES});',
        ]
        return lines

    def _book_factor(self, factor: Factor) -> list[str]:
        chosen = ["portico_chosen"] if factor.of_candidate else []
        column = f"portico_weight_{factor.name}"

        def inputs(expressions: Iterable[Expression]) -> str:
            columns = self._r.needed(expressions)[0]
            return _strings([*chosen, *(self._shifted.get(c, c) for c in columns)])

        lines = [f'node = node.Define("{column}", Weight_{factor.name}{{sample}}, {inputs([factor.nominal])});']
        if factor.varied:
            varied = f"Weight_{factor.name}_varied{{sample}}, {inputs(factor.varied.values())}"
            lines.append(f'node = node.Vary("{column}", {varied}, {_strings(factor.varied)}, "{factor.name}");')
        return lines

    def _book_values(self) -> list[str]:
        r = self._r
        candidate = [factor for factor in r.factors if factor.of_candidate]
        lines = [line for factor in candidate for line in self._book_factor(factor)]
        names = _strings([
            "portico_chosen",
            *(f"portico_weight_{f.name}" for f in r.factors if not f.of_candidate),
            *(f"portico_weight_{f.name}" for f in candidate),
        ])  # fmt: skip
        lines.append(f'node = node.Define("portico_weight", Total{{normalisation}}, {names});')
        for name in r.stored:
            columns = [self._shifted.get(c, c) for c in r.needed([mention(name)])[0]]
            chosen = ["portico_chosen"] if name in r.of_candidate else []
            lines.append(f'node = node.Define("{name}", Define_{name}{{sample}}, {_strings([*chosen, *columns])});')
        picked = {filled.column for filled in r.filled} | set(r.output)
        for column in sorted(picked & r.columns.keys() & r.of_candidate):
            element = element_type(r.columns[column])
            lines.append(f'node = portico::pick<{element}>(node, "{column}", "{self._shifted.get(column, column)}");')
        for number, rule in enumerate(list(r.rules)[1:], 1):
            lines.append(f'node = node.Define("selection_{rule}", portico::MadeBy{{{number}}}, {_CHOICES});')
            lines.append(f'node = node.Define("chosen_{rule}", portico::ChosenBy{{{number}}}, {_CHOICES});')
        same = [("selection", "RVec<int>"), ("chosen", "RVec<int>"), ("weight", "RVec<double>")]
        lines.append(f'auto tree = node.Define("multiplicity", portico::Passing{{}}, {_CHOICES});')
        lines += [f'tree = tree.Define("{n}", portico::Same<{t}>{{}}, {{"portico_{n}"}});' for n, t in same]
        return lines

    def _book_histograms(self) -> list[str]:
        lines = []
        for filled in self._r.filled:
            made = f"portico::fill<{self._filled_type(filled)}>(node, {json.dumps(filled.column)}, "
            names = _strings([f"{selection}_{filled.name}" for selection in self._r.selections])
            edges = "{" + ", ".join(literal(float(edge)) for edge in filled.edges) + "}"
            title = json.dumps(f";{filled.title};events")
            made += f"portico::prototypes({names}, {title}, {{{filled.bins or 0}, {edges}}}))"
            if filled.varied and self._r.varies:
                lines.append(f"varied.push_back(ROOT::RDF::Experimental::VariationsFor({made}));")
            else:
                lines.append(f"histograms.push_back({made});")
        return lines

    def _filled_type(self, filled: Filled) -> str:
        if filled.column in self._r.columns:
            return argument_type(self._r, filled.column)
        return f"typename ROOT::TypeTraits::CallableTraits<Define_{filled.column}>::ret_type"


def _strings(values: Iterable[str]) -> str:
    return "std::vector<std::string>{" + ", ".join(json.dumps(value) for value in values) + "}"
