"""A selection resolved for a sample and its columns: the typed form from which C++ is generated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from portico.selection.expression import Names, value
from portico.selection.model import INCLUSIVE

__all__ = [
    "Expression", "Resolved", "ResolvedHistogram", "ResolvedShape", "ResolvedWeight", "element_type",
    "name_expression", "tree_name",
]  # fmt: skip

_VECTOR = re.compile(r"^(?:(?:ROOT::)?(?:VecOps::|Internal::VecOps::)?RVec|(?:std::)?vector)<(.+?)(?:,.*)?\s*>$")
_SHORT = {"RVecF": "float", "RVecD": "double", "RVecI": "int", "RVecU": "unsigned int", "RVecB": "bool",
          "RVecS": "short", "RVecL": "long", "RVecUL": "unsigned long"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression, its key in the file, and the names in it."""

    where: str
    text: str
    names: Names


@dataclass(frozen=True, slots=True)
class ResolvedWeight:
    """A factor of the weight, of the event or of a candidate, with its variations by name."""

    name: str
    of_candidate: bool
    nominal: Expression
    varied: Mapping[str, Expression]


@dataclass(frozen=True, slots=True)
class ResolvedShape:
    """Corrected and varied values of columns: for each column the variations by name, and the nominal correction."""

    name: str
    columns: Mapping[str, Mapping[str, Expression]]
    tags: tuple[str, ...]
    nominal: Mapping[str, Expression]


@dataclass(frozen=True, slots=True)
class ResolvedHistogram:
    """A histogram of one column or definition."""

    name: str
    column: str
    title: str
    edges: tuple[float, ...]
    bins: int | None
    varied: bool


def name_expression(name: str) -> Expression:
    """Return the expression that consists of one name."""
    return Expression("", name, Names(frozenset({name}), frozenset(), frozenset(), value(name)))


@dataclass(slots=True)
class Resolved:
    """A selection resolved for one sample.

    Parameters
    ----------
    columns : mapping of str to str
        The input's columns and their C++ types; those of the key are unsigned.
    key_types : mapping of str to str
        The columns of the key, in order, and their types in the input.
    constants : mapping
        As in the selection.
    definitions : mapping of str to Expression
        Definitions, each after those that it uses.
    of_candidate : set of str
        Columns and definitions with one element per candidate.
    parameters : mapping of str to float
        Numeric parameters of the sample that expressions use.
    event, preselection : mapping of str to Expression
        Cuts by label.
    categories : mapping of str to mapping
        Cuts of each category.
    match : Expression, optional
        Condition for candidates that match the generated decay.
    per_event, inclusive_in_categories : bool
        Whether the categories divide one choice, and whether the inclusive choice is among their candidates.
    rules : mapping of str to (score, prefer)
        Expressions; without those of `skipped`, a sentence for each rule that lacks columns.
    weights, shapes, histograms, output
        Weights, variations of columns, histograms, and columns of the tree.
    """

    columns: Mapping[str, str]
    key_types: Mapping[str, str]
    constants: Mapping[str, int | float]
    definitions: dict[str, Expression] = field(default_factory=dict)
    of_candidate: set[str] = field(default_factory=set)
    parameters: dict[str, float] = field(default_factory=dict)
    event: dict[str, Expression] = field(default_factory=dict)
    preselection: dict[str, Expression] = field(default_factory=dict)
    categories: dict[str, dict[str, Expression]] = field(default_factory=dict)
    match: Expression | None = None
    per_event: bool = False
    inclusive_in_categories: bool = False
    rules: dict[str, tuple[Expression, Expression | None]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    weights: list[ResolvedWeight] = field(default_factory=list)
    shapes: list[ResolvedShape] = field(default_factory=list)
    histograms: list[ResolvedHistogram] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

    def needed(self, expressions: Iterable[Expression]) -> tuple[list[str], list[str]]:
        """Return the columns and the definitions, in order, that expressions use directly or indirectly."""
        queue = [name for expression in expressions for name in expression.names.values]
        found: set[str] = set()
        while queue:
            name = queue.pop()
            if name not in found and (name in self.columns or name in self.definitions):
                found.add(name)
                if name in self.definitions:
                    queue += self.definitions[name].names.values
        return sorted(found & self.columns.keys()), [name for name in self.definitions if name in found]

    def uses_candidates(self, expression: Expression) -> bool:
        """Return whether an expression uses columns of candidates."""
        return not self.of_candidate.isdisjoint(expression.names.values)

    def choice_expressions(self) -> list[Expression]:
        """Return the expressions on which the choice of candidates depends."""
        found = [*self.event.values(), *([self.match] if self.match else []), *self.preselection.values()]
        found += [cut for cuts in self.categories.values() for cut in cuts.values()]
        found += [part for rule in self.rules.values() for part in rule if part is not None]
        if self.of_candidate.isdisjoint(self.needed(found)[0]):  # one column says how many candidates there are
            found.append(name_expression(min(self.of_candidate & self.columns.keys())))
        return found

    def expressions(self) -> list[Expression]:
        """Return every expression that is evaluated, including definitions."""
        found = self.choice_expressions()
        found += [e for weight in self.weights for e in (weight.nominal, *weight.varied.values())]
        found += [e for shape in self.shapes for tags in shape.columns.values() for e in tags.values()]
        found += [e for shape in self.shapes for e in shape.nominal.values()]
        found += [
            name_expression(name) for name in (*self.output, *(histogram.column for histogram in self.histograms))
        ]
        return found + [self.definitions[name] for name in self.needed(found)[1]]

    @property
    def output_definitions(self) -> list[str]:
        """Definitions in the tree."""
        return [name for name in self.definitions if name in self.output]

    @property
    def has_variations(self) -> bool:
        """Whether anything has variations."""
        return any(shape.tags for shape in self.shapes) or any(weight.varied for weight in self.weights)

    @property
    def weight_tags(self) -> list[str]:
        """Return the names of the variations of weights."""
        return [f"{weight.name}:{tag}" for weight in self.weights for tag in weight.varied]

    @property
    def shape_tags(self) -> list[str]:
        """Return the names of the variations of columns."""
        return [f"{shape.name}:{tag}" for shape in self.shapes for tag in shape.tags]

    @property
    def choice_columns(self) -> dict[str, tuple[int, str]]:
        """Columns of the tree with the choices: number of the rule, and what of its choices."""
        columns = {"selection": (0, "selections"), "chosen": (0, "candidates"), "multiplicity": (0, "multiplicities")}
        for number, rule in enumerate(list(self.rules)[1:], 1):
            columns |= {f"selection_{rule}": (number, "selections"), f"chosen_{rule}": (number, "candidates")}
        return columns

    @property
    def selections(self) -> tuple[str, ...]:
        """Names of the selections."""
        return (INCLUSIVE, *self.categories)


def element_type(column_type: str) -> str | None:
    """Return the type of a vector's elements; None for other types."""
    found = _VECTOR.match(column_type.strip())
    return found[1].strip() if found else _SHORT.get(column_type.removeprefix("ROOT::"))


def tree_name(column: str) -> str:
    """Return the name of a column in the tree: ``pos_x`` for ``pos.x``, as RDataFrame writes it."""
    return re.sub(r"\W", "_", column, flags=re.ASCII)
