"""The C++ class that runs a resolved selection event by event, and the function that books it on a frame.

The class is plain C++, which compiles in a second or two, and gets columns by their addresses. Where these come from is
no matter to it: see ``include/selection_loop.h`` and ``include/selection_actions.h``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from portico.cpp import mapped, quoted
from portico.selection.expression import SAMPLE
from portico.selection.functions import argument_type, groups, literal
from portico.selection.model import INCLUSIVE
from portico.selection.resolved import Expression, Resolved, ResolvedWeight, element_type, name_expression, tree_name

__all__ = ["Kernel", "kernel"]

_FILL = (
    "void portico_fill(portico::Histograms &portico_set, bool portico_nominal, "
    "const portico::Choices &portico_choices, const portico_columns &portico_now, portico::Filled &portico_to)"
)
_CHOICE = "portico::Choices portico_choice(const portico_columns &portico_now)"
_NEW = "std::shared_ptr<portico::Kernel> portico_new(double normalisation, const std::vector<double> &parameters)"
_UNSIGNED = ("std::uint32_t", "std::uint32_t", "std::uint64_t")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A generated class, and what it reads.

    Parameters
    ----------
    text : str
        The class ``portico_kernel``, for the namespace of the selection's functions. It lacks the choice of candidates
        and the empty histograms, so that it stays as it is when a cut or a binning changes.
    rest : str
        The class ``portico_selected``, which has them, and ``std::shared_ptr<portico::Kernel> portico_new(double
        normalisation, const std::vector<double> &parameters)``, for the namespace of the choice, where
        ``portico_fixed`` stands for the other one.
    book : str
        ``portico::Booked portico_book(RNode, std::shared_ptr<portico::Kernel>, const portico::Trees &)`` for the same.
    columns : mapping of str to str
        The columns by number, with their C++ types in the input.
    always : frozenset of str
        Those that are read in every event; the others only where a choice was made.
    cuts : tuple of str
        Labels of the cuts before the categories.
    """

    text: str
    rest: str
    book: str
    columns: dict[str, str]
    always: frozenset[str]
    cuts: tuple[str, ...]


def kernel(resolved: Resolved) -> Kernel:
    """Generate the class of a selection."""
    return _Kernel(resolved).kernel()


class _Kernel:
    def __init__(self, resolved: Resolved) -> None:
        self._r = r = resolved
        self._event = [weight for weight in r.weights if not weight.of_candidate]
        self._tags = [f"{weight.name}:{tag}" for weight in r.weights for tag in weight.varied]
        self._shape_tags = [f"{shape.name}:{tag}" for shape in r.shapes for tag in shape.tags]
        weights = [e for weight in r.weights for e in (weight.nominal, *weight.varied.values())]
        values = [*weights, *(name_expression(one.column) for one in r.histograms)]
        self._to_choose = self._needed(r.choice_expressions())
        self._to_weigh = self._needed(weight.nominal for weight in self._event)
        self._to_vary = self._needed([*r.choice_expressions(), *values], varied=True) if self._shape_tags else []
        self._to_fill = self._needed([*values, *map(name_expression, r.output)])
        self._always = frozenset({*self._to_choose, *self._to_weigh, *self._to_vary})
        self._all = sorted({*self._always, *self._to_fill})
        self._before = (*r.event, *(["generator matched"] if r.match else []), *r.preselection)

    def kernel(self) -> Kernel:
        columns = {column: self._type(column) for column in self._all}
        return Kernel(self._text(), self._rest(), self._book(), columns, self._always, self._before)

    def _text(self) -> str:
        given = "const portico::Columns &portico_given"
        methods = {
            f"portico::Choices choose({given}) const": self._choose(),
            f"double weigh({given}) const": self._weigh(),
            f"void fill(portico::Filled &portico_to, const portico::Choices &portico_choices, {given})": self._fill(),
            f"void fill_shapes(portico::Filled &portico_to, {given})": self._fill_shapes(),
            "void describe(portico::Rows &portico_rows) const": self._describe(),
        }
        inside = "\n".join([
            f"portico_parameters {SAMPLE};", "double portico_normalisation;", "portico_row portico_out;",
            f"portico_kernel(const portico_parameters &p, double n) : {SAMPLE}(p), portico_normalisation(n) {{}}",
            *(f"{head} override;" for head in methods),
            f"virtual {_CHOICE} const = 0;", f"{_FILL};",
        ])  # fmt: skip
        parts = [self._columns(), self._row(), f"struct portico_kernel : portico::Kernel {{\n{inside}\n}};"]
        parts += [_outside("portico_kernel", head, body) for head, body in methods.items()]
        return "\n".join([*parts, self._fill_one()])

    def _rest(self) -> str:
        choice = self._call_of("choose", "", self._r.choice_expressions())
        parameters = ", ".join(f"parameters.at({n})" for n in range(len(self._r.parameters)))
        return "\n".join([
            "using portico_fixed::portico_columns;",
            "struct portico_selected : portico_fixed::portico_kernel {", "using portico_kernel::portico_kernel;",
            f"{_CHOICE} const override {{ return {choice}; }}", "portico::Empty empty() const override;", "};",
            _outside("portico_selected", "portico::Empty empty() const", self._empty()),
            f"{_NEW} {{",
            f"portico::Kernel *made = new portico_selected({{{parameters}}}, normalisation);",
            "return std::shared_ptr<portico::Kernel>(made);", "}",
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

    def _columns(self) -> str:
        """Return the struct of the columns of an event, keys by value, and the function that reads it."""
        unsigned = dict(zip(self._r.key_types, _UNSIGNED, strict=True))
        members, reads = [], []
        for number, column in enumerate(self._all):
            name, given = mapped("at", column), f"static_cast<const {self._type(column)} *>(portico_given[{number}])"
            if column in unsigned:
                members.append(f"{unsigned[column]} {name};")
                convert = f"portico::Unsigned<{unsigned[column]}, {self._type(column)}>{{}}"
                reads.append(f"portico_read.{name} = portico_given[{number}] ? {convert}(*{given}) : 0;")
            else:
                members.append(f"const {argument_type(self._r, column)} *{name};")
                reads.append(f"portico_read.{name} = {given};")
        return (
            f"struct portico_columns {{\n{' '.join(members)}\n}};\n"
            f"portico_columns portico_unpack(const portico::Columns &portico_given) {{\n"
            "portico_columns portico_read;\n" + "\n".join(reads) + "\nreturn portico_read;\n}"
        )

    def _read(self, columns: Sequence[str]) -> list[str]:
        """Return the code that makes ``portico_raw``, the input, and ``portico_now``, the same with corrections."""
        lines = ["const portico_columns portico_raw = portico_unpack(portico_given);"]
        lines.append("portico_columns portico_now = portico_raw;")
        for shape in self._r.shapes:
            for column in [c for c in shape.nominal if c in columns]:
                name, used = mapped("corrected", column), sorted({*self._r.needed([shape.nominal[column]])[0], column})
                lines.append(f"const auto {name} = {self._call('nominal', column, used, of='portico_raw')};")
                lines.append(f"portico_now.{mapped('at', column)} = &{name};")
        return lines

    def _call(self, kind: str, name: str, columns: Iterable[str], *, first: str = "", of: str = "portico_now") -> str:
        function = mapped(kind, name) if name else f"portico_{kind}"
        given = (f"{'' if c in self._r.key_types else '*'}{of}.{mapped('at', c)}" for c in columns)
        return f"{function}{{{SAMPLE}}}({', '.join([*([first] if first else []), *given])})"

    def _call_of(self, kind: str, name: str, expressions: Iterable[Expression], *, of_candidate: bool = False) -> str:
        columns = self._r.needed(expressions)[0]
        return self._call(kind, name, columns, first="portico_chosen" if of_candidate else "")

    # ---- methods

    def _choose(self) -> list[str]:
        return [*self._read(self._to_choose), "return portico_choice(portico_now);"]

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
        if not self._shape_tags:
            return []
        r, first = self._r, 0
        lines = [*self._read(self._to_vary), "const portico_columns portico_corrected = portico_now;"]
        for shape in [shape for shape in r.shapes if shape.tags]:
            columns = r.needed(e for tags in shape.columns.values() for e in tags.values())[0]
            lines += [
                "{", f"const auto portico_varied = {self._call('shape', shape.name, columns, of='portico_raw')};",
                f"for (std::size_t portico_k = 0; portico_k < {len(shape.tags)}; ++portico_k) {{",
                "portico_now = portico_corrected;",
            ]  # fmt: skip
            for number, column in enumerate(shape.columns):
                source = f"portico_varied[{number}]" if len(shape.columns) > 1 else "portico_varied"
                lines.append(f"portico_now.{mapped('at', column)} = &{source}[portico_k];")
            lines += [
                "const portico::Choices portico_choices = portico_choice(portico_now);",
                "if (portico_choices.any_choice())",
                f"portico_fill(portico_to.sets[{first} + portico_k], false, portico_choices, portico_now, portico_to);",
                "}", "}",
            ]  # fmt: skip
            first += len(shape.tags)
        return lines

    def _fill_one(self) -> str:
        """Return the method that fills the histograms of one choice, and for the nominal one all else."""
        r = self._r
        lines = [
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
        lines += ["if (!portico_nominal) return;", *self._write()]
        return _outside("portico_kernel", _FILL, lines)

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
            of_candidate, column = name in r.of_candidate, f"portico_now.{mapped('at', name)}"
            if name in r.definitions:
                value = self._call_of("define", name, [name_expression(name)], of_candidate=of_candidate)
            elif of_candidate:
                value = f"portico::Pick<{element_type(r.columns[name])}>{{}}(*{column}, portico_chosen)"
            else:
                value = column if name in r.key_types else f"*{column}"
            lines.append(f"portico_out.{variable} = {value};")
        for name, (rule, what) in r.choice_columns.items():
            chosen = f"portico::ChosenBy{{{rule}, portico::Quantity::{what}}}(portico_choices)"
            lines.append(f"portico_out.{mapped('chosen', name)} = {chosen};")
        return [*lines, "portico_out.portico_weight = portico_weight;"]

    # ---- booking on a frame

    def _book(self) -> str:
        lines = [
            f"portico::Booking booking(std::move(node), std::move(kernel), trees, {len(self._all)});",
            *self._capture([column for column in self._all if column in self._always]), "booking.choose();",
            *(f"booking.cut({number}, {quoted(label)});" for number, label in enumerate(self._before, 1)),
            'booking.cut(-1, "best candidate");',
            *self._capture([column for column in self._all if column not in self._always]),
            "booking.fill();", "return booking.booked;",
        ]  # fmt: skip
        arguments = "ROOT::RDF::RNode node, std::shared_ptr<portico::Kernel> kernel, const portico::Trees &trees"
        return "\n".join(["using ROOT::RVec;", f"portico::Booked portico_book({arguments}) {{", *lines, "}"])

    def _capture(self, columns: Sequence[str]) -> list[str]:
        return [f"booking.capture<{self._type(c)}>({self._all.index(c)}, {quoted(c)});" for c in columns]

    def _empty(self) -> list[str]:
        r = self._r
        in_categories = {INCLUSIVE: ["any category"]} if r.inclusive_in_categories else {}
        cuts_of = {**r.categories, **in_categories}
        stages = [[*self._before, *cuts_of.get(selection, {}), "best candidate"] for selection in r.selections]
        cuts = "{" + ", ".join(quoted("\n".join(stage)) for stage in stages) + "}"
        nominal = ["nominal", *self._tags] if r.has_variations else []
        return [
            f"const auto selections = {_strings(r.selections)};", *self._prototypes(),
            f"return {{portico::counts(selections, {_strings(r.rules)}, {cuts}),",
            f"portico::Filled(plain, varied, {_strings(nominal)}),",
            f"portico::Filled({{}}, varied, {_strings(self._shape_tags)})}};",
        ]  # fmt: skip

    def _prototypes(self) -> list[str]:
        lines = ["portico::Histograms plain, varied;"]
        for group, filled in groups(self._r).items():
            for one in filled:
                edges = "{" + ", ".join(literal(float(edge)) for edge in one.edges) + "}"
                what = f"{quoted(one.name)}, {quoted(f';{one.title};events')}, {one.bins or 0}, {edges}"
                lines.append(f"portico::prototypes({group}, selections, {what});")
        return lines


def _outside(owner: str, head: str, body: Iterable[str]) -> str:
    """Return the definition of a method outside of its class, so that it is compiled once."""
    result, _, rest = head.partition("(")
    returned, _, name = result.rpartition(" ")
    return "\n".join([f"{returned} {owner}::{name}({rest} {{", *body, "}"])


def _strings(values: Iterable[str]) -> str:
    return "portico::lines(" + quoted("\n".join(values)) + ")"
