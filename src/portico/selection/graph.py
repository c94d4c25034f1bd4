"""The C++ function that books a resolved selection as a typed RDataFrame graph, without just-in-time compilation.

After the first chunk of a process, booking is one fast C++ call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from portico.selection.functions import argument_type, groups, literal
from portico.selection.resolve import Expression, Resolved, ResolvedWeight, element_type, name_expression

__all__ = ["graph"]

_CHOICES = '{"portico_choices"}'


def graph(resolved: Resolved) -> str:
    """Return the function that books a selection, for the namespace of its functions.

    Parameters
    ----------
    resolved : Resolved
        The selection.

    Returns
    -------
    str
        ``portico::Booked book(RNode, double normalisation, const std::vector<double> &parameters)``.
    """
    return _Graph(resolved).text()


class _Graph:
    def __init__(self, resolved: Resolved) -> None:
        self._r = resolved
        self._corrected = {column: f"portico_varied_{column}" for shape in resolved.shapes for column in shape.columns}

    def _inputs(self, columns: Iterable[str]) -> str:
        return _strings(self._corrected.get(column, column) for column in columns)

    def text(self) -> str:
        parameters = ", ".join(f"parameters.at({n})" for n in range(len(self._r.parameters)))
        body = [f"const Parameters sample{{{parameters}}};"]
        for name, kind in zip(self._r.key_types, ("std::uint32_t", "std::uint32_t", "std::uint64_t"), strict=True):
            convert = f"portico::Unsigned<{kind}, {self._r.key_types[name]}>{{}}"
            body.append(f'node = node.Redefine("{name}", {convert}, {{"{name}"}});')
        body += [*self._book_shapes(), *self._book_choice(), *self._book_weights()]
        body += [*self._book_histograms(), *self._book_values()]
        body.append("return {node, report, counts, histograms, varied};")
        inside = "\n".join(body)
        arguments = "ROOT::RDF::RNode node, double normalisation, const std::vector<double> &parameters"
        return f"portico::Booked book({arguments}) {{\n{inside}\n}}"

    def _book_shapes(self) -> list[str]:
        lines = []
        for shape in self._r.shapes:
            columns = self._r.needed(e for tags in shape.columns.values() for e in tags.values())[0]
            for column in shape.columns:
                made, inputs = f"portico::Identity<{argument_type(self._r, column)}>{{}}", [column]
                if column in shape.nominal:
                    inputs = sorted({*self._r.needed([shape.nominal[column]])[0], column})
                    made = f"Nominal_{column}{{sample}}"
                lines.append(f'node = node.Define("{self._corrected[column]}", {made}, {_strings(inputs)});')
            if shape.tags:
                names = [self._corrected[column] for column in shape.columns]
                target = _strings(names) if len(names) > 1 else json.dumps(names[0])
                varied = f"{target}, Shape_{shape.name}{{sample}}, {_strings(columns)}, {_strings(shape.tags)}"
                lines.append(f'node = node.Vary({varied}, "{shape.name}");')
        return lines

    def _book_choice(self) -> list[str]:
        r = self._r
        columns = r.needed(r.choice_expressions())[0]
        lines = [f'node = node.Define("portico_choices", Choose{{sample}}, {self._inputs(columns)});']
        event = [weight for weight in r.weights if not weight.of_candidate]
        lines += [line for weight in event for line in self._book_weight(weight)]
        names = _strings(f"portico_weight_{weight.name}" for weight in event)
        lines.append(f'node = node.Define("portico_event_weight", OfEvent{{normalisation}}, {names});')
        before = [*r.event, *(["generator matched"] if r.match else []), *r.preselection]
        stages = [[*before, *r.categories.get(selection, {}), "best candidate"] for selection in r.selections]
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
            *_chosen_by(0, {"selection": "selections", "chosen": "candidates"}),
        ]
        return lines

    def _book_weight(self, weight: ResolvedWeight) -> list[str]:
        chosen = ["chosen"] if weight.of_candidate else []
        column = f"portico_weight_{weight.name}"

        def inputs(expressions: Iterable[Expression]) -> str:
            columns = self._r.needed(expressions)[0]
            return _strings([*chosen, *(self._corrected.get(c, c) for c in columns)])

        lines = [f'node = node.Define("{column}", Weight_{weight.name}{{sample}}, {inputs([weight.nominal])});']
        if weight.varied:
            varied = f"Weight_{weight.name}_varied{{sample}}, {inputs(weight.varied.values())}"
            lines.append(f'node = node.Vary("{column}", {varied}, {_strings(weight.varied)}, "{weight.name}");')
        return lines

    def _book_weights(self) -> list[str]:
        event, candidate = ([f for f in self._r.weights if f.of_candidate is kind] for kind in (False, True))
        lines = [line for weight in candidate for line in self._book_weight(weight)]
        names = _strings(["chosen", *(f"portico_weight_{weight.name}" for weight in (*event, *candidate))])
        return [*lines, f'node = node.Define("weight", Total{{normalisation}}, {names});']

    def _book_values(self) -> list[str]:
        r, lines = self._r, list[str]()
        for name in r.output_definitions:
            columns = [self._corrected.get(c, c) for c in r.needed([name_expression(name)])[0]]
            chosen = ["chosen"] if name in r.of_candidate else []
            lines.append(f'node = node.Define("{name}", Define_{name}{{sample}}, {_strings([*chosen, *columns])});')
        for column in sorted(r.columns.keys() & r.of_candidate & set(r.output)):
            element = element_type(r.columns[column])
            lines.append(f'node = portico::pick<{element}>(node, "{column}", "{self._corrected.get(column, column)}");')
        for number, rule in enumerate(list(r.rules)[1:], 1):
            lines += _chosen_by(number, {f"selection_{rule}": "selections", f"chosen_{rule}": "candidates"})
        return [*lines, *_chosen_by(0, {"multiplicity": "multiplicities"})]

    def _book_histograms(self) -> list[str]:
        lines = []
        for group, filled in groups(self._r).items():
            columns = self._r.needed([name_expression(one.column) for one in filled])[0]
            inputs = _strings(["chosen", *(self._corrected.get(c, c) for c in columns)])
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


def _chosen_by(rule: int, columns: Mapping[str, str]) -> list[str]:
    return [
        f'node = node.Define("{name}", portico::ChosenBy{{{rule}, portico::Quantity::{which}}}, {_CHOICES});'
        for name, which in columns.items()
    ]


def _strings(values: Iterable[str]) -> str:
    return "portico::lines(" + json.dumps("\n".join(values)) + ")"
