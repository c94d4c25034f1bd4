"""The C++ class that runs a resolved selection event by event, and the function that books it on a frame.

The class is plain C++, which compiles in a second or two, and gets columns by their addresses. Where these come from is
no matter to it: see ``include/selection_loop.h`` and ``include/selection_actions.h``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from portico.cpp import mapped, quoted
from portico.selection.choice import column_value
from portico.selection.expression import SAMPLE
from portico.selection.functions import argument_type, groups
from portico.selection.resolved import Expression, Resolved, ResolvedWeight, element_type, name_expression, tree_name

__all__ = ["Kernel", "kernel"]

_FILL = (
    "void portico_fill(portico::Histograms &portico_set, bool portico_nominal, "
    "const portico::Choices &portico_choices, portico::Columns portico_now, portico::Filled &portico_to)"
)
_NEW = (
    "std::shared_ptr<portico::Kernel> portico_new(double normalisation, const std::vector<double> &parameters, "
    "const portico::Choice &choice)"
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A generated class, and what it reads.

    Parameters
    ----------
    text : str
        The class ``portico_kernel``, for the namespace of the selection's functions. It lacks the choice of candidates
        and the empty histograms, so that it stays as it is when a cut or a binning changes.
    book : str
        ``portico::Booked portico_book(RNode, std::shared_ptr<portico::Kernel>, const portico::Empty &, const
        portico::Trees &)``, which books it on a frame.
    columns : mapping of str to str
        The columns by number, with their C++ types in the input.
    always : frozenset of str
        Those that the choice needs; others only where a choice was made.
    every : frozenset of str
        Those that are read in every event, also where a look at the candidates is enough: for the weight of the event.
    cuts : tuple of str
        Labels of the cuts before the categories.
    """

    text: str
    book: str
    columns: dict[str, str]
    always: frozenset[str]
    every: frozenset[str]
    cuts: tuple[str, ...]


def kernel(resolved: Resolved) -> Kernel:
    """Generate the class of a selection."""
    return _Kernel(resolved).kernel()


class _Kernel:
    def __init__(self, resolved: Resolved) -> None:
        self._r = r = resolved
        self._event = [weight for weight in r.weights if not weight.of_candidate]
        weights = [e for weight in r.weights for e in (weight.nominal, *weight.varied.values())]
        self._values = values = [*weights, *(name_expression(one.column) for one in r.histograms)]
        self._to_choose = self._needed(r.choice_expressions())
        self._to_weigh = self._needed(weight.nominal for weight in self._event)
        self._to_vary = self._needed([*r.choice_expressions(), *values], varied=True) if r.shape_tags else []
        self._to_fill = self._needed([*values, *map(name_expression, r.output)])
        self._always = frozenset({*self._to_choose, *self._to_weigh, *self._to_vary})
        self._all = sorted({*self._always, *self._to_fill})
        self._numbers = {column: number for number, column in enumerate(self._all)}
        self._before = (*r.event, *(["generator matched"] if r.match else []), *r.preselection)

    def kernel(self) -> Kernel:
        columns = {column: self._type(column) for column in self._all}
        return Kernel(self._text(), self._book(), columns, self._always, frozenset(self._to_weigh), self._before)

    def _text(self) -> str:
        given = "portico::Columns portico_given"
        methods = {
            f"void choose({given}, portico::Choices &portico_choices) const": self._choose(),
            f"double weigh({given}) const": self._weigh(),
            f"void fill(portico::Filled &portico_to, const portico::Choices &portico_choices, {given})": self._fill(),
            f"void fill_shapes(portico::Filled &portico_to, {given})": self._fill_shapes(),
            "void describe(portico::Rows &portico_rows) const": self._describe(),
        }
        inside = "\n".join([
            f"portico_parameters {SAMPLE};", "double portico_normalisation;", "portico_row portico_out;",
            "portico_kernel(const portico_parameters &p, double n, const portico::Choice &c)",
            f": portico::Kernel(c, &{SAMPLE}), {SAMPLE}(p), portico_normalisation(n) {{}}",
            *(f"{head} override;" for head in methods), f"{_FILL};",
        ])  # fmt: skip
        parts = [self._row(), f"struct portico_kernel : portico::Kernel {{\n{inside}\n}};"]
        parts += [_outside("portico_kernel", head, body) for head, body in methods.items()]
        parameters = ", ".join(f"parameters.at({n})" for n in range(len(self._r.parameters)))
        return "\n".join([
            *parts, self._fill_one(), f"{_NEW} {{",
            f"return std::make_shared<portico_kernel>(portico_parameters{{{parameters}}}, normalisation, choice);", "}",
            "static const bool portico_entered = portico::enter(portico_namespace, portico_new);",
        ])  # fmt: skip

    # ---- columns: as they are in the input, and as expressions see them

    def _needed(self, expressions: Iterable[Expression], *, varied: bool = False) -> list[str]:
        """Return the columns of the input that expressions need, with those of their shapes."""
        r, columns = self._r, set(self._r.needed(expressions)[0])
        for shape in r.shapes:
            for column in columns & shape.nominal.keys():
                columns |= {*r.needed([shape.nominal[column]])[0], column}
            if varied:
                columns |= {*r.needed(e for tags in shape.columns.values() for e in tags.values())[0], *shape.columns}
        return sorted(columns)

    def _type(self, column: str) -> str:
        """Return the type of a column in the input."""
        return self._r.key_types.get(column) or argument_type(self._r, column)

    def _read(self, columns: Sequence[str]) -> list[str]:
        """Return the code that makes ``portico_raw``, the input, and ``portico_now``, the same with corrections."""
        if not self._r.shapes:
            return ["const portico::Columns portico_now = portico_given;"]
        count = len(self._all)
        lines = [f"const portico::Columns portico_raw = portico_given;\nconst void *portico_now[{count}];",
                 f"std::copy_n(portico_raw, {count}, portico_now);"]  # fmt: skip
        for shape in self._r.shapes:
            for column in [c for c in shape.nominal if c in columns]:
                name, used = mapped("corrected", column), sorted({*self._r.needed([shape.nominal[column]])[0], column})
                lines.append(f"const auto {name} = {self._call('nominal', column, used, of='portico_raw')};")
                lines.append(f"{self._pointer(column)} = &{name};")
        return lines

    def _pointer(self, column: str, of: str = "portico_now") -> str:
        return f"{of}[{self._numbers[column]}]"

    def _value(self, column: str, of: str = "portico_now") -> str:
        return column_value(self._r, column, self._pointer(column, of))

    def _call(self, kind: str, name: str, columns: Iterable[str], *, first: str = "", of: str = "portico_now") -> str:
        function = mapped(kind, name) if name else f"portico_{kind}"
        given = (self._value(c, of) for c in columns)
        return f"{function}{{{SAMPLE}}}({', '.join([*([first] if first else []), *given])})"

    def _call_of(self, kind: str, name: str, expressions: Iterable[Expression], *, of_candidate: bool = False) -> str:
        columns = self._r.needed(expressions)[0]
        return self._call(kind, name, columns, first="portico_chosen" if of_candidate else "")

    # ---- methods

    def _choose(self) -> list[str]:
        return [*self._read(self._to_choose), "portico_choose_now(portico_now, portico_choices);"]

    def _weigh(self) -> list[str]:
        factors = ", ".join(self._weight(weight) for weight in self._event)
        return [*self._read(self._to_weigh), f"return portico_ofevent{{portico_normalisation}}({factors});"]

    def _weight(self, weight: ResolvedWeight, kind: str = "weight") -> str:
        expressions = [weight.nominal] if kind == "weight" else weight.varied.values()
        return self._call_of(kind, weight.name, expressions, of_candidate=weight.of_candidate)

    def _fill(self) -> list[str]:
        target = "portico_to.sets[0]" if self._r.has_variations else "portico_to.plain"
        return [*self._read(self._to_fill), f"portico_fill({target}, true, portico_choices, portico_now, portico_to);"]

    def _fill_shapes(self) -> list[str]:
        """Return the loop over varied shapes, which may choose other candidates, also where there was no choice."""
        if not self._r.shape_tags:
            return []
        r, first = self._r, 0
        count = len(self._all)
        lines = [
            *self._read(self._to_vary), "portico::Choices portico_choices;", f"const void *portico_corrected[{count}];",
            f"std::copy_n(portico_now, {count}, portico_corrected);",
        ]  # fmt: skip
        for shape in [shape for shape in r.shapes if shape.tags]:
            used = r.needed(e for tags in shape.columns.values() for e in tags.values())[0]
            columns = sorted({*used, next(iter(shape.columns))})
            lines += [
                "{", f"const auto portico_varied = {self._call('shape', shape.name, columns, of='portico_raw')};",
                f"for (std::size_t portico_k = 0; portico_k < {len(shape.tags)}; ++portico_k) {{",
                f"std::copy_n(portico_corrected, {count}, portico_now);",
            ]  # fmt: skip
            for number, column in enumerate(shape.columns):
                source = f"portico_varied[{number}]" if len(shape.columns) > 1 else "portico_varied"
                lines.append(f"{self._pointer(column)} = &{source}[portico_k];")
            lines += [
                "portico_choose_now(portico_now, portico_choices);",
                "if (portico_choices.any_choice())",
                f"portico_fill(portico_to.sets[{first} + portico_k], false, portico_choices, portico_now, portico_to);",
                "}", "}",
            ]  # fmt: skip
            first += len(shape.tags)
        return lines

    def _fill_one(self) -> str:
        """Return the method that fills the histograms of one choice, and for the nominal one all else."""
        r = self._r
        of_values = self._r.needed(self._values)[0]
        lines = [
            *self._sizes(of_values),
            "const RVec<int> portico_selection = portico::ChosenBy{0, portico::Quantity::selections}(portico_choices);",
            "const RVec<int> portico_chosen = portico::ChosenBy{0, portico::Quantity::candidates}(portico_choices);",
            *(f"const auto {mapped('factor', weight.name)} = {self._weight(weight)};" for weight in r.weights),
            f"const RVec<double> portico_weight = {self._total()};",
        ]
        for group, filled in groups(r).items():
            columns = [name_expression(one.column) for one in filled]
            target = "portico_to.plain" if group == "plain" else "portico_set"
            lines += [
                "if (portico_nominal) {" if group == "plain" else "{",
                f"const auto portico_found = {self._call_of('values', group, columns, of_candidate=True)};",
                f"portico::fill({target}, portico_found, portico_weight, portico_selection);",
                *(self._fill_varied() if group == "varied" else []), "}",
            ]  # fmt: skip
        lines += ["if (!portico_nominal) return;", *self._sizes(set(self._to_fill) - {*of_values}), *self._write()]
        return _outside("portico_kernel", _FILL, lines)

    def _sizes(self, columns: Iterable[str]) -> list[str]:
        """Return the code that requires columns of candidates to have the length of those that the choice reads."""
        more = [c for c in sorted(columns) if c in self._r.of_candidate and c not in self._to_choose]
        given = ((f"({self._value(column)}).size()", quoted(column)) for column in more)
        return [f"portico::require_size({size}, portico_choices.candidates, {name});" for size, name in given]

    def _total(self, replaced: str = "") -> str:
        """Return the total weight, with a variation of one factor."""
        weights = [w for kind in (False, True) for w in self._r.weights if w.of_candidate is kind]
        factors = ("portico_varied[portico_k]" if w.name == replaced else mapped("factor", w.name) for w in weights)
        return f"portico_total{{portico_normalisation}}({', '.join(['portico_chosen', *factors])})"

    def _fill_varied(self) -> list[str]:
        lines, start = ["if (portico_nominal) {"], 1
        for weight in [weight for weight in self._r.weights if weight.varied]:
            lines.append(
                f"{{\nconst auto portico_varied = {self._weight(weight, 'varied')};\n"
                f"for (std::size_t portico_k = 0; portico_k < {len(weight.varied)}; ++portico_k)\n"
                f"portico::fill(portico_to.sets[{start} + portico_k], portico_found, {self._total(weight.name)}, "
                "portico_selection);\n}"
            )
            start += len(weight.varied)
        return [*lines, "}"]

    # ---- the tree

    def _row(self) -> str:
        """Return the struct of the variables of a row of the tree."""
        r, members = self._r, list[str]()
        for name, variable in self._variables.items():
            if name in r.definitions:
                used = r.needed([name_expression(name)])[0]
                given = [*(["RVec<int>"] if name in r.of_candidate else []), *(argument_type(r, c) for c in used)]
                arguments = "".join(f", const {kind} &" for kind in given)
                members.append(f"std::invoke_result_t<{mapped('define', name)}{arguments}> {variable};")
            else:
                members.append(f"{argument_type(r, name)} {variable};")
        members += [f"RVec<int> {mapped('chosen', name)};" for name in r.choice_columns]
        return "struct portico_row {\n" + "\n".join([*members, "RVec<double> portico_weight;"]) + "\n};"

    @property
    def _variables(self) -> dict[str, str]:
        return {name: mapped("row", name) for name in self._r.output}

    def _describe(self) -> list[str]:
        r = self._r
        named = {name if name in r.definitions else tree_name(name): v for name, v in self._variables.items()}
        named |= {name: mapped("chosen", name) for name in r.choice_columns} | {"weight": "portico_weight"}
        return [f"portico_rows.add({quoted(name)}, portico_out.{variable});" for name, variable in named.items()]

    def _write(self) -> list[str]:
        r, lines = self._r, list[str]()
        for name, variable in self._variables.items():
            of_candidate = name in r.of_candidate
            if name in r.definitions:
                value = self._call_of("define", name, [name_expression(name)], of_candidate=of_candidate)
            elif of_candidate:
                value = f"portico::Pick<{element_type(r.columns[name])}>{{}}({self._value(name)}, portico_chosen)"
            else:
                value = self._value(name)
            lines.append(f"portico_out.{variable} = {value};")
        for name, (rule, what) in r.choice_columns.items():
            chosen = f"portico::ChosenBy{{{rule}, portico::Quantity::{what}}}(portico_choices)"
            lines.append(f"portico_out.{mapped('chosen', name)} = {chosen};")
        return [*lines, "portico_out.portico_weight = portico_weight;"]

    # ---- booking on a frame

    def _book(self) -> str:
        lines = [
            f"portico::Booking booking(std::move(node), std::move(kernel), empty, trees, {len(self._all)});",
            *self._capture([column for column in self._all if column in self._always]), "booking.choose();",
            *(f"booking.cut({number}, {quoted(label)});" for number, label in enumerate(self._before, 1)),
            'booking.cut(-1, "best candidate");',
            *self._capture([column for column in self._all if column not in self._always]),
            "booking.fill();", "return booking.booked;",
        ]  # fmt: skip
        arguments = ("ROOT::RDF::RNode node, std::shared_ptr<portico::Kernel> kernel, const portico::Empty &empty, "
                     "const portico::Trees &trees")  # fmt: skip
        return "\n".join(["using ROOT::RVec;", f"portico::Booked portico_book({arguments}) {{", *lines, "}"])

    def _capture(self, columns: Sequence[str]) -> list[str]:
        return [f"booking.capture<{self._type(c)}>({self._all.index(c)}, {quoted(c)});" for c in columns]


def _outside(owner: str, head: str, body: Iterable[str]) -> str:
    """Return the definition of a method outside of its class, so that it is compiled once."""
    result, _, rest = head.partition("(")
    returned, _, name = result.rpartition(" ")
    return "\n".join([f"{returned} {owner}::{name}({rest} {{", *body, "}"])
