"""A resolved selection as a graph of RDataFrame, typed: nothing is left for RDataFrame's own compiler.

Booking is one call, at the speed of C++, in every chunk after the first of a process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from portico.selection.functions import argument_type, groups, literal
from portico.selection.resolve import Expression, Factor, Resolved, element_type, mention

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
        body += [*self._book_shifts(), *self._book_choice(), *self._book_weights()]
        body += [*self._book_histograms(), *self._book_values()]
        body.append("return {node, report, counts, histograms, varied};")
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
        cuts = "{" + ", ".join(json.dumps("\n".join(stage)) for stage in stages) + "}"
        lines.append(
            "std::vector<ROOT::RDF::RResultPtr<portico::Histograms>> histograms;\n"
            "std::vector<ROOT::RDF::Experimental::RResultMap<portico::Histograms>> varied;\n"
            f"const auto selections = {_strings(r.selections)};\n"
            f"auto counts = portico::count(node, selections, {_strings(r.rules)}, {cuts});"
        )
        for number, label in enumerate(before, 1):
            lines.append(f"node = node.Filter(portico::Reached{{{number}}}, {_CHOICES}, {json.dumps(label)});")
        lines += [
            f'node = node.Filter(portico::Reached{{-1}}, {_CHOICES}, "best candidate");',
            "auto report = node.Report();",
            *_made_by(0, {"selection": "selections", "chosen": "candidates"}),
        ]
        return lines

    def _book_factor(self, factor: Factor) -> list[str]:
        chosen = ["chosen"] if factor.of_candidate else []
        column = f"portico_weight_{factor.name}"

        def inputs(expressions: Iterable[Expression]) -> str:
            columns = self._r.needed(expressions)[0]
            return _strings([*chosen, *(self._shifted.get(c, c) for c in columns)])

        lines = [f'node = node.Define("{column}", Weight_{factor.name}{{sample}}, {inputs([factor.nominal])});']
        if factor.varied:
            varied = f"Weight_{factor.name}_varied{{sample}}, {inputs(factor.varied.values())}"
            lines.append(f'node = node.Vary("{column}", {varied}, {_strings(factor.varied)}, "{factor.name}");')
        return lines

    def _book_weights(self) -> list[str]:
        event, candidate = ([f for f in self._r.factors if f.of_candidate is kind] for kind in (False, True))
        lines = [line for factor in candidate for line in self._book_factor(factor)]
        names = _strings(["chosen", *(f"portico_weight_{factor.name}" for factor in (*event, *candidate))])
        return [*lines, f'node = node.Define("weight", Total{{normalisation}}, {names});']

    def _book_values(self) -> list[str]:
        r, lines = self._r, list[str]()
        for name in r.stored:
            columns = [self._shifted.get(c, c) for c in r.needed([mention(name)])[0]]
            chosen = ["chosen"] if name in r.of_candidate else []
            lines.append(f'node = node.Define("{name}", Define_{name}{{sample}}, {_strings([*chosen, *columns])});')
        for column in sorted(r.columns.keys() & r.of_candidate & set(r.output)):
            element = element_type(r.columns[column])
            lines.append(f'node = portico::pick<{element}>(node, "{column}", "{self._shifted.get(column, column)}");')
        for number, rule in enumerate(list(r.rules)[1:], 1):
            lines += _made_by(number, {f"selection_{rule}": "selections", f"chosen_{rule}": "candidates"})
        return [*lines, *_made_by(0, {"multiplicity": "multiplicities"})]

    def _book_histograms(self) -> list[str]:
        lines = []
        for group, filled in groups(self._r).items():
            columns = self._r.needed([mention(one.column) for one in filled])[0]
            inputs = _strings(["chosen", *(self._shifted.get(c, c) for c in columns)])
            lines.append(f'node = node.Define("portico_{group}", Values_{group}{{sample}}, {inputs});')
            lines.append(f"portico::Histograms in_{group};")
            for one in filled:
                edges = "{" + ", ".join(literal(float(edge)) for edge in one.edges) + "}"
                what = f"{json.dumps(one.name)}, {json.dumps(f';{one.title};events')}, {one.bins or 0}, {edges}"
                lines.append(f"portico::prototypes(in_{group}, selections, {what});")
            made = f'portico::fill(node, "portico_{group}", in_{group})'
            if group == "varied":
                lines.append(f"varied.push_back(ROOT::RDF::Experimental::VariationsFor({made}));")
            else:
                lines.append(f"histograms.push_back({made});")
        return lines


def _made_by(rule: int, columns: Mapping[str, str]) -> list[str]:
    return [
        f'node = node.Define("{name}", portico::MadeBy{{{rule}, portico::Which::{which}}}, {_CHOICES});'
        for name, which in columns.items()
    ]


def _strings(values: Iterable[str]) -> str:
    return 'portico::words(' + json.dumps("\n".join(values)) + ')'
