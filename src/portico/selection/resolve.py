"""Resolution of a selection for a sample and its columns: names are looked up, lists are expanded, without ROOT."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from portico.analysis.dataset import Sample
from portico.errors import ConfigError, nearest
from portico.selection.expression import Names, names_of
from portico.selection.model import INCLUSIVE, Histogram, Selection

__all__ = [
    "Expression", "Resolved", "ResolvedHistogram", "ResolvedShape", "ResolvedWeight", "element_type",
    "name_expression", "resolve",
]  # fmt: skip

_VECTOR = re.compile(r"^(?:(?:ROOT::)?(?:VecOps::|Internal::VecOps::)?RVec|(?:std::)?vector)<(.+?)(?:,.*)?\s*>$")
_RESERVED = {"selection", "chosen", "multiplicity", "weight"}
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
    return Expression("", name, Names(frozenset({name}), frozenset(), frozenset()))


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
    rules : mapping of str to (score, prefer)
        Expressions.
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
    rules: dict[str, tuple[Expression, Expression | None]] = field(default_factory=dict)
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
        return found + [part for rule in self.rules.values() for part in rule if part is not None]

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
    def output_columns(self) -> list[str]:
        """Columns of the tree: those of the declaration, and the choices of each rule."""
        others = [f"{name}_{rule}" for rule in list(self.rules)[1:] for name in ("selection", "chosen")]
        return [*self.output, "selection", "chosen", "multiplicity", *others, "weight"]

    @property
    def selections(self) -> tuple[str, ...]:
        """Names of the selections."""
        return (INCLUSIVE, *self.categories)


def element_type(column_type: str) -> str | None:
    """Return the type of a vector's elements; None for other types."""
    found = _VECTOR.match(column_type.strip())
    return found[1].strip() if found else _SHORT.get(column_type.removeprefix("ROOT::"))


def resolve(selection: Selection, columns: Mapping[str, str], sample: Sample, where: str = "selection") -> Resolved:
    """Check every expression of a selection against the columns of an input.

    Parameters
    ----------
    selection : Selection
        The selection as declared.
    columns : mapping of str to str
        Names and C++ types of the input's columns.
    sample : Sample
        Its kind selects the weights, histograms and columns; expressions may use its parameters.
    where : str
        Name of the selection file for messages.

    Raises
    ------
    ConfigError
        If a name is not a column, definition or constant; the message names the expression, the sample and the
        nearest valid name.
    """
    return _Resolver(selection, columns, sample, where).resolve()


class _Resolver:
    def __init__(self, selection: Selection, columns: Mapping[str, str], sample: Sample, where: str) -> None:
        self._selection, self._sample, self._where = selection, sample, where
        for name in selection.key:
            if name not in columns:
                raise ConfigError(
                    f"{where}: key: sample '{sample.name}' has no column '{name}'; {nearest(name, columns)}"
                )
        unsigned = dict(zip(selection.key, ("std::uint32_t", "std::uint32_t", "std::uint64_t"), strict=True))
        key_types = {name: columns[name] for name in selection.key}
        self._out = Resolved({**columns, **unsigned}, key_types, selection.constants)
        self._lists = {name: listed.values for name, listed in selection.lists.items()}

    def resolve(self) -> Resolved:
        out, selection = self._out, self._selection
        out.of_candidate = {
            name for name, kind in out.columns.items()
            if name.startswith(selection.candidates) and element_type(kind) is not None
        }  # fmt: skip
        taken = sorted(_RESERVED & out.columns.keys())
        if taken:
            raise ConfigError(
                f"{self._where}: the input has a column '{taken[0]}', but the selection itself writes this name; "
                "rename the column in the input"
            )
        self._resolve_definitions()
        kind = self._sample.kind
        out.event = self._cuts("event", selection.event)
        out.preselection = self._cuts("preselection", selection.preselection)
        out.categories = {name: self._cuts(f"categories.{name}", cuts) for name, cuts in selection.categories.items()}
        if selection.match is not None and kind in selection.match.kinds:
            out.match = self._expression("match.candidate", selection.match.candidate)
        for name, rule in selection.rules.items():
            prefer = None if rule.prefer is None else self._expression(f"rules.{name}.prefer", rule.prefer)
            out.rules[name] = (self._expression(f"rules.{name}.score", rule.score), prefer)
        self._resolve_weights()
        self._resolve_shapes()
        for histogram in selection.histograms:
            if kind in histogram.kinds:
                self._resolve_histogram(histogram)
        self._resolve_output()
        for label, expression in out.event.items():
            if out.uses_candidates(expression):
                raise ConfigError(
                    f"{self._where}: event.{label}: '{expression.text}' uses columns of candidates; move the cut to "
                    "preselection or categories"
                )
        return out

    def _expression(self, key: str, text: str) -> Expression:
        names = names_of(text)
        for name in sorted(names.values):
            self._check_name(name, f"{key}: '{text}'", self._known())
        for name in sorted(names.parameters):
            self._out.parameters[name] = self._parameter(key, name)
        return Expression(f"{self._where}, {key}", text, names)

    def _known(self) -> set[str]:
        return {*self._out.columns, *self._selection.define, *self._selection.constants}

    def _check_name(self, name: str, key: str, valid: set[str]) -> None:
        if name in valid:
            return
        close = nearest(name, valid).partition(" valid: ")[0]
        raise ConfigError(
            f"{self._where}: {key}: '{name}' is not a column of sample '{self._sample.name}' ({self._sample.kind}), "
            f"a definition or a constant{'; ' + close if close.startswith('did') else ''}"
        )

    def _parameter(self, key: str, name: str) -> float:
        fields = {**self._sample.model_dump(exclude={"files", "parameters"}), **self._sample.parameters}
        numbers = {k: float(v) for k, v in fields.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
        if name not in numbers:
            raise ConfigError(
                f"{self._where}: {key}: sample '{self._sample.name}' has no numeric parameter '{name}'; "
                + nearest(name, numbers)
            )
        return numbers[name]

    def _cuts(self, key: str, cuts: Mapping[str, str]) -> dict[str, Expression]:
        return {label: self._expression(f"{key}.{label}", text) for label, text in cuts.items()}

    def _resolve_definitions(self) -> None:
        pending: dict[str, Expression] = {}
        for name, definition in self._selection.define.items():
            if name in self._out.columns:
                raise ConfigError(
                    f"{self._where}: define.{name}: the input has a column of this name; use another name"
                )
            text = definition.expression
            if definition.each is not None:
                self._check_list(definition.each, f"define.{name}")
                terms = [f"({term})" for _, term in self._expand_list(text, definition.each, f"define.{name}")]
                text = f" {definition.join} ".join(terms)
            pending[name] = self._expression(f"define.{name}", text)
        while pending:
            ready = [name for name, expression in pending.items() if pending.keys().isdisjoint(expression.names.values)]
            if not ready:
                raise ConfigError(f"{self._where}: define: {', '.join(pending)} are defined in terms of each other")
            for name in ready:
                expression = self._out.definitions[name] = pending.pop(name)
                if self._out.uses_candidates(expression):
                    self._out.of_candidate.add(name)

    def _check_list(self, each: str, key: str) -> None:
        if each not in self._lists:
            raise ConfigError(f"{self._where}: {key}: no list '{each}'; {nearest(each, self._lists)}")

    def _expand_list(self, text: str, each: str, key: str) -> list[tuple[str, str]]:
        """Expand a list; words without columns in the input are skipped if the list allows it."""
        found = [(word, text.replace(f"{{{each}}}", word)) for word in self._lists[each]]
        if self._selection.lists[each].missing == "skip":
            found = [(word, expanded) for word, expanded in found if names_of(expanded).values <= self._known()]
        if not found:
            raise ConfigError(
                f"{self._where}: {key}: sample '{self._sample.name}' does not have the columns for any word of '{each}'"
            )
        return found

    def _resolve_weights(self) -> None:
        for name, weight in self._selection.weights.items():
            if self._sample.kind not in weight.kinds:
                continue
            words = {"": weight.nominal, **weight.variations}
            made = {
                tag: self._expression(f"weights.{name}", weight.expression.replace("{variation}", word))
                for tag, word in words.items()
            }
            nominal = made.pop("")
            of_candidate = any(self._out.uses_candidates(e) for e in (nominal, *made.values()))
            self._out.weights.append(ResolvedWeight(name, of_candidate, nominal, made))

    def _resolve_shapes(self) -> None:
        for name, shape in self._selection.shapes.items():
            if self._sample.kind not in shape.kinds:
                continue
            key = f"shapes.{name}"
            columns, nominal = {}, {}
            for column, text in shape.columns.items():
                self._check_name(column, key, self._out.of_candidate & self._out.columns.keys())
                made = {
                    tag: self._expression(f"{key}.{column}", text.replace("{variation}", word))
                    for tag, word in {**shape.variations, "": shape.nominal}.items()
                    if word is not None
                }
                if "" in made:
                    nominal[column] = made.pop("")
                columns[column] = made
                other = next((s.name for s in self._out.shapes if column in s.columns), None)
                if other is not None:
                    raise ConfigError(f"{self._where}: {key}: column '{column}' is already changed by '{other}'")
            kinds = {self._out.columns[column] for column in columns}
            if len(kinds) > 1:
                raise ConfigError(f"{self._where}: {key}: its columns have different types: {', '.join(sorted(kinds))}")
            self._out.shapes.append(ResolvedShape(name, columns, tuple(shape.variations), nominal))

    def _resolve_histogram(self, histogram: Histogram) -> None:
        words = [""]
        if histogram.each is not None:
            self._check_list(histogram.each, f"histograms.{histogram.column}")
            key = f"histograms.{histogram.column}"
            words = [word for word, _ in self._expand_list(histogram.column, histogram.each, key)]
        for word in words:
            mark = f"{{{histogram.each}}}"
            column = histogram.column.replace(mark, word)
            self._check_name(column, f"histograms.{column}", {*self._out.columns, *self._out.definitions})
            name = (histogram.name or column.removeprefix(self._selection.candidates)).replace(mark, word)
            if any(other.name == name for other in self._out.histograms):
                raise ConfigError(f"{self._where}: two histograms are named '{name}'; give one of them another 'name'")
            edges, bins = histogram.edges_of(), histogram.bins if histogram.edges is None else None
            title = histogram.title.replace(mark, word)
            self._out.histograms.append(ResolvedHistogram(name, column, title, edges, bins, histogram.varied))

    def _resolve_output(self) -> None:
        output = self._selection.output
        if output is None:
            return
        patterns = output.columns + (output.simulation if self._sample.kind != "data" else ())
        valid = {*self._out.columns, *self._out.definitions}
        wanted: dict[str, None] = dict.fromkeys(self._out.key_types)
        for pattern in patterns:
            matching = [name for name in (*self._out.columns, *self._out.definitions) if fnmatchcase(name, pattern)]
            if not matching:
                self._check_name(pattern, "output.columns", valid)
            wanted |= dict.fromkeys(matching)
        self._out.output = list(wanted)
