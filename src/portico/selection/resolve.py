"""Resolution of a selection for a sample and its columns: names are looked up, lists are expanded, without ROOT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase

from portico.analysis.dataset import Sample
from portico.errors import ConfigError, closest, nearest
from portico.selection.expression import loose_part, names_of
from portico.selection.model import Histogram, Selection
from portico.selection.resolved import (
    Expression,
    Resolved,
    ResolvedHistogram,
    ResolvedShape,
    ResolvedWeight,
    element_type,
    tree_name,
)

__all__ = ["resolve"]


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
        If a name is not a column, definition or constant; the message has a line for each, with the expression, the
        sample and the nearest valid name.
    """
    return _Resolver(selection, columns, sample, where).resolve()


class _Resolver:
    def __init__(self, selection: Selection, columns: Mapping[str, str], sample: Sample, where: str) -> None:
        self._selection, self._sample, self._where = selection, sample, where
        self._problems = [
            f"{where}: key: sample '{sample.name}' has no column '{name}'; {nearest(name, columns)}"
            for name in selection.key if name not in columns
        ]  # fmt: skip
        unsigned = dict(zip(selection.key, ("std::uint32_t", "std::uint32_t", "std::uint64_t"), strict=True))
        key_types = {name: columns.get(name, "") for name in selection.key}
        self._out = Resolved({**columns, **unsigned}, key_types, selection.constants)
        self._known = {*columns, *selection.define, *selection.constants}
        self._functions = {*selection.corrections, *selection.lookups}
        self._lists = {name: listed.values for name, listed in selection.lists.items()}

    def resolve(self) -> Resolved:
        out = self._out
        out.of_candidate = {
            name for name, kind in out.columns.items()
            if name.startswith(self._selection.candidates) and element_type(kind) is not None
        }  # fmt: skip
        if not out.of_candidate:
            self._problems.append(
                f"{self._where}: candidates: sample '{self._sample.name}' has no list whose name begins with "
                f"'{self._selection.candidates}', so there is nothing to choose from"
            )
        for part in (
            self._resolve_definitions, self._resolve_cuts, self._resolve_rules, self._resolve_weights,
            self._resolve_shapes, self._resolve_histograms, self._resolve_output, self._check_products,
        ):  # fmt: skip
            try:
                part()
            except ConfigError as error:
                self._problems.append(str(error))
        if self._problems:
            raise ConfigError("\n".join(dict.fromkeys(self._problems)))
        return out

    def _resolve_cuts(self) -> None:
        out, selection, kind = self._out, self._selection, self._sample.kind
        out.event = self._cuts("event", selection.event)
        out.preselection = self._cuts("preselection", selection.preselection)
        out.categories = {name: self._cuts(f"categories.{name}", cuts) for name, cuts in selection.categories.items()}
        if selection.match is not None and kind in selection.match.kinds:
            out.match = self._expression("match.candidate", selection.match.candidate)
        out.per_event = selection.choose == "per event"
        out.inclusive_in_categories = selection.inclusive == "categories"
        for label, expression in out.event.items():
            if out.uses_candidates(expression):
                raise ConfigError(
                    f"{self._where}: event.{label}: '{expression.text}' uses columns of candidates; move the cut to "
                    "preselection or categories"
                )

    def _expression(self, key: str, text: str) -> Expression:
        if fault := loose_part(text, self._known):
            self._problems.append(f"{self._where}: {key}: '{text}': {fault}")
        names = names_of(text, self._known, self._functions)
        for name in sorted(names.values):
            self._check_name(name, f"{key}: '{text}'", self._known)
        for name in sorted(names.parameters):
            if f"sample.{name}" in self._known:
                raise ConfigError(
                    f"{self._where}: {key}: '{text}': 'sample.{name}' is a column and a parameter of the sample; write "
                    f"`sample.{name}`, with backquotes, for the column"
                )
            self._out.parameters[name] = self._parameter(key, name)
        return Expression(f"{self._where}, {key}", text, names)

    def _check_name(self, name: str, key: str, valid: set[str]) -> None:
        if name in valid:
            return
        close = closest(name, valid)
        hint = f"; did you mean '{close}'?" if close else ""
        self._problems.append(
            f"{self._where}: {key}: '{name}' is not a column of sample '{self._sample.name}' ({self._sample.kind}), "
            f"a definition or a constant{hint}"
        )

    def _parameter(self, key: str, name: str) -> float:
        fields = {**self._sample.model_dump(exclude={"files", "parameters"}), **self._sample.parameters}
        numbers = {k: float(v) for k, v in fields.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
        if name not in numbers:
            self._problems.append(
                f"{self._where}: {key}: sample '{self._sample.name}' has no numeric parameter '{name}'; "
                + nearest(name, numbers)
            )
        return numbers.get(name, 0.0)

    def _cuts(self, key: str, cuts: Mapping[str, str]) -> dict[str, Expression]:
        return {label: self._expression(f"{key}.{label}", text) for label, text in cuts.items()}

    def _resolve_definitions(self) -> None:
        pending: dict[str, Expression] = {}
        for group in ("constants", "define"):
            if taken := [name for name in getattr(self._selection, group) if name in self._out.columns]:
                raise ConfigError(
                    f"{self._where}: {group}.{taken[0]}: the input has a column of this name; use another name"
                )
        for name, definition in self._selection.define.items():
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
            found = [
                (word, expanded) for word, expanded in found if names_of(expanded, self._known).values <= self._known
            ]
        if not found:
            raise ConfigError(
                f"{self._where}: {key}: sample '{self._sample.name}' does not have the columns for any word of '{each}'"
            )
        return found

    def _resolve_rules(self) -> None:
        """Resolve the rules that are enabled; one beside the first is left out where its columns are missing."""
        for name, rule in self._selection.rules.items():
            if not rule.enabled:
                continue
            known = len(self._problems)
            prefer = None if rule.prefer is None else self._expression(f"rules.{name}.prefer", rule.prefer)
            score = self._expression(f"rules.{name}.score", rule.score)
            if self._out.rules and (problems := self._problems[known:]):
                del self._problems[known:]
                self._out.skipped.append(f"{problems[0]}; the rule is left out")
            else:
                self._out.rules[name] = (score, prefer)

    def _resolve_weights(self) -> None:
        for name, weight in self._selection.weights.items():
            if self._sample.kind not in weight.kinds or not weight.enabled:
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
            if self._sample.kind not in shape.kinds or not shape.enabled:
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
            kinds = {self._out.columns[column] for column in columns if column in self._out.columns}
            if len(kinds) > 1:
                raise ConfigError(f"{self._where}: {key}: its columns have different types: {', '.join(sorted(kinds))}")
            self._out.shapes.append(ResolvedShape(name, columns, tuple(shape.variations), nominal))

    def _resolve_histograms(self) -> None:
        for histogram in self._selection.histograms:
            if self._sample.kind in histogram.kinds:
                self._resolve_histogram(histogram)

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
            name = (histogram.name or column.removeprefix(self._selection.candidates) or column).replace(mark, word)
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
        written: dict[str, str] = dict.fromkeys([*self._out.choice_columns, "weight"], "what the selection adds")
        for name in wanted:
            if tree_name(name) in written:
                raise ConfigError(
                    f"{self._where}: output.columns: '{name}' and {written[tree_name(name)]} would both be "
                    f"'{tree_name(name)}' in the tree; leave it out, or write it under another name: "
                    f'define: {{input_{tree_name(name)}: "`{name}`"}}'
                )
            written[tree_name(name)] = f"'{name}'"
        self._out.output = list(wanted)

    def _check_products(self) -> None:
        """Check that no two products have the same name, such as histogram b_c of a and c of a_b."""
        out = self._out
        names = ["cutflow", "counts", *(["candidates", "candidates_ttree"] if self._selection.output else [])]
        names += [f"{product}_{name}" for product in ("cutflow", "candidates") for name in out.selections]
        names += [f"{product}_{rule}" for product in ("choices", "correct") for rule in out.rules]
        histograms = [f"{name}_{one.name}" for one in out.histograms for name in out.selections]
        if twice := [name for name, times in Counter([*names, *histograms]).items() if times > 1]:
            raise ConfigError(
                f"{self._where}: two products would be named '{twice[0]}'; give a histogram another 'name', or rename "
                "a category or rule"
            )
