"""The C++ function that books a resolved selection as a typed RDataFrame graph, without just-in-time compilation.

After the first chunk of a process, booking is one fast C++ call. Its columns begin with ``portico_``, or with more
underscores where the input has such columns; only those of the tree have the names that users know.
"""

from __future__ import annotations

from collections.abc import Iterable

from portico.cpp import mapped, quoted
from portico.selection.expression import SAMPLE
from portico.selection.functions import argument_type, groups, literal
from portico.selection.model import INCLUSIVE
from portico.selection.resolved import Expression, Resolved, ResolvedWeight, element_type, name_expression, tree_name

__all__ = ["graph"]


def graph(resolved: Resolved) -> str:
    """Return the function that books a selection, for the namespace of its functions.

    Parameters
    ----------
    resolved : Resolved
        The selection.

    Returns
    -------
    str
        ``portico::Booked portico_book(RNode, double normalisation, const std::vector<double> &parameters)``.
    """
    return _Graph(resolved).text()


class _Graph:
    def __init__(self, resolved: Resolved) -> None:
        self._r = resolved
        self._prefix = "portico_"
        while any(column.startswith(self._prefix) for column in resolved.columns):
            self._prefix += "_"
        self._corrected = {name: self._own("key", name) for name in resolved.key_types if tree_name(name) != name}
        self._corrected |= {name: self._own("column", name) for shape in resolved.shapes for name in shape.columns}

    def _own(self, kind: str, name: str = "") -> str:
        return mapped(kind, name, self._prefix) if name else self._prefix + kind

    def _input(self, column: str) -> str:
        return self._corrected.get(column, column)

    def _inputs(self, expressions: Iterable[Expression], *, of_candidate: bool = False) -> str:
        chosen = [self._own("chosen")] if of_candidate else []
        return _strings([*chosen, *map(self._input, self._r.needed(expressions)[0])])

    def text(self) -> str:
        r = self._r
        parameters = ", ".join(f"parameters.at({n})" for n in range(len(r.parameters)))
        body = [f"const portico_parameters {SAMPLE}{{{parameters}}};"]
        for name, kind in zip(r.key_types, ("std::uint32_t", "std::uint32_t", "std::uint64_t"), strict=True):
            convert = f"portico::Unsigned<{kind}, {r.key_types[name]}>{{}}"
            how = "Define" if name in self._corrected else "Redefine"
            body.append(f"node = node.{how}({quoted(self._input(name))}, {convert}, {_strings([name])});")
        body += [*self._book_shapes(), *self._book_choice(), *self._book_weights()]
        body += [*self._book_histograms(), *(self._book_tree() if r.output else [])]
        body.append("return {node, report, counts, histograms, varied};")
        inside = "\n".join(body)
        arguments = "ROOT::RDF::RNode node, double normalisation, const std::vector<double> &parameters"
        return f"portico::Booked portico_book({arguments}) {{\n{inside}\n}}"

    def _book_shapes(self) -> list[str]:
        lines = []
        for shape in self._r.shapes:
            columns = self._r.needed(e for tags in shape.columns.values() for e in tags.values())[0]
            for column in shape.columns:
                made, inputs = f"portico::Identity<{argument_type(self._r, column)}>{{}}", [column]
                if column in shape.nominal:
                    inputs = sorted({*self._r.needed([shape.nominal[column]])[0], column})
                    made = f"{mapped('nominal', column)}{{{SAMPLE}}}"
                lines.append(f"node = node.Define({quoted(self._input(column))}, {made}, {_strings(inputs)});")
            if shape.tags:
                names = [self._input(column) for column in shape.columns]
                target = _strings(names) if len(names) > 1 else quoted(names[0])
                varied = f"{target}, {mapped('shape', shape.name)}{{{SAMPLE}}}, {_strings(columns)}"
                lines.append(f"node = node.Vary({varied}, {_strings(shape.tags)}, {quoted(shape.name)});")
        return lines

    def _book_choice(self) -> list[str]:
        r, choices = self._r, quoted(self._own("choices"))
        inputs = self._inputs(r.choice_expressions())
        lines = [f"node = node.Define({choices}, portico_choose{{{SAMPLE}}}, {inputs});"]
        event = [weight for weight in r.weights if not weight.of_candidate]
        lines += [line for weight in event for line in self._book_weight(weight)]
        names, weight = _strings(self._own("weight", one.name) for one in event), quoted(self._own("ofevent"))
        lines.append(f"node = node.Define({weight}, portico_ofevent{{normalisation}}, {names});")
        before = [*r.event, *(["generator matched"] if r.match else []), *r.preselection]
        in_categories = {INCLUSIVE: ["any category"]} if r.inclusive_in_categories else {}
        cuts_of = {**r.categories, **in_categories}
        stages = [[*before, *cuts_of.get(selection, {}), "best candidate"] for selection in r.selections]
        cuts = "{" + ", ".join(quoted("\n".join(stage)) for stage in stages) + "}"
        lines.append(
            "std::vector<ROOT::RDF::RResultPtr<portico::Histograms>> histograms;\n"
            "std::vector<ROOT::RDF::Experimental::RResultMap<portico::Histograms>> varied;\n"
            f"const auto selections = {_strings(r.selections)};\n"
            f"auto counts = portico::count(node, selections, {_strings(r.rules)}, {cuts}, {choices}, {weight});"
        )
        for number, label in enumerate(before, 1):
            lines.append(f"node = node.Filter(portico::Reached{{{number}}}, {{{choices}}}, {quoted(label)});")
        lines += [
            f'node = node.Filter(portico::Reached{{-1}}, {{{choices}}}, "best candidate");',
            "auto report = node.Report();",
            self._chosen_by(self._own("selection"), 0, "selections"),
            self._chosen_by(self._own("chosen"), 0, "candidates"),
        ]
        return lines

    def _chosen_by(self, name: str, rule: int, what: str, how: str = "Define") -> str:
        made = f"portico::ChosenBy{{{rule}, portico::Quantity::{what}}}"
        return f"node = node.{how}({quoted(name)}, {made}, {{{quoted(self._own('choices'))}}});"

    def _book_weight(self, weight: ResolvedWeight) -> list[str]:
        column = quoted(self._own("weight", weight.name))
        inputs = self._inputs([weight.nominal], of_candidate=weight.of_candidate)
        lines = [f"node = node.Define({column}, {mapped('weight', weight.name)}{{{SAMPLE}}}, {inputs});"]
        if weight.varied:
            inputs = self._inputs(weight.varied.values(), of_candidate=weight.of_candidate)
            varied = f"{mapped('varied', weight.name)}{{{SAMPLE}}}, {inputs}"
            lines.append(f"node = node.Vary({column}, {varied}, {_strings(weight.varied)}, {quoted(weight.name)});")
        return lines

    def _book_weights(self) -> list[str]:
        event, candidate = ([f for f in self._r.weights if f.of_candidate is kind] for kind in (False, True))
        lines = [line for weight in candidate for line in self._book_weight(weight)]
        names = _strings([self._own("chosen"), *(self._own("weight", one.name) for one in (*event, *candidate))])
        return [*lines, f"node = node.Define({quoted(self._own('weight'))}, portico_total{{normalisation}}, {names});"]

    def _book_tree(self) -> list[str]:
        """Define the columns of the tree last, since their names may be those of columns that were used before."""
        r, lines = self._r, list[str]()
        for name in r.output_definitions:
            inputs = self._inputs([name_expression(name)], of_candidate=name in r.of_candidate)
            lines.append(f"node = node.Define({quoted(name)}, {mapped('define', name)}{{{SAMPLE}}}, {inputs});")
        for column in sorted(r.columns.keys() & set(r.output)):
            name, source = tree_name(column), quoted(self._input(column))
            if column in r.of_candidate:
                element = element_type(r.columns[column])
                made = f"portico::Pick<{element}>{{}}, {{{source}, {quoted(self._own('chosen'))}}}"
                lines.append(f"node = node.{self._how(name)}({quoted(name)}, {made});")
            elif name != column:
                lines.append(self._renamed(name, source, argument_type(r, column)))
        lines += [self._chosen_by(name, *what, self._how(name)) for name, what in r.choice_columns.items()]
        return [*lines, self._renamed("weight", quoted(self._own("weight")), "RVec<double>")]

    def _how(self, name: str) -> str:
        return "Redefine" if name in self._r.columns else "Define"

    def _renamed(self, name: str, source: str, kind: str) -> str:
        if name in self._r.columns:
            return f"node = node.Redefine({quoted(name)}, portico::Identity<{kind}>{{}}, {{{source}}});"
        return f"node = node.Alias({quoted(name)}, {source});"

    def _book_histograms(self) -> list[str]:
        lines = []
        weighted = ", ".join(quoted(self._own(name)) for name in ("weight", "selection"))
        for group, filled in groups(self._r).items():
            values, prototypes = quoted(self._own("values", group)), f"in_{group}"
            inputs = self._inputs([name_expression(one.column) for one in filled], of_candidate=True)
            lines.append(f"node = node.Define({values}, {mapped('values', group)}{{{SAMPLE}}}, {inputs});")
            lines.append(f"portico::Histograms {prototypes};")
            for one in filled:
                edges = "{" + ", ".join(literal(float(edge)) for edge in one.edges) + "}"
                what = f"{quoted(one.name)}, {quoted(f';{one.title};events')}, {one.bins or 0}, {edges}"
                lines.append(f"portico::prototypes({prototypes}, selections, {what});")
            made = f"portico::fill(node, {values}, {weighted}, {prototypes})"
            if group == "varied":
                lines.append(f"varied.push_back(ROOT::RDF::Experimental::VariationsFor({made}));")
            else:
                lines.append(f"histograms.push_back({made});")
        return lines


def _strings(values: Iterable[str]) -> str:
    return "portico::lines(" + quoted("\n".join(values)) + ")"
