"""Builds the RooFit objects of a plan, see `portico.stats.roofit.plan`. Runs in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from portico import root
from portico.errors import InputError
from portico.stats.roofit.built import Built, simultaneous
from portico.stats.roofit.files import Files

__all__ = ["CardBuilder"]

_SIGMAS: Final = 7.0  # of the range of a standard normal parameter
_WIDTHS: Final = 4.0  # and of a param line, as in Combine
_FAR: Final = 1000.0  # of the range of factors without one, over their value
_MOST_POI: Final = 20.0  # of the parameter of interest, to begin with
_FINE: Final = 400  # bins of the Asimov data of unbinned channels
_RATES: Final = 0.01  # how far rates may be from sums of weights, in Combine
_DATA: Final = 0.005

_Json = dict[str, Any]


class CardBuilder:
    """Builds the model of one card.

    Parameters
    ----------
    plan : mapping
    where : str
        The card, for messages.
    """

    def __init__(self, plan: Mapping[str, Any], where: str) -> None:
        self._root, self._plan, self._where = root.load(), plan, where
        self._files = Files(where)
        self._space = self._root.RooWorkspace("w", "w")
        self._notes: list[str] = []
        self._globals: list[str] = []
        self._ranges: dict[str, str] = {}

    def build(self) -> Built:
        """Return the model.

        Raises
        ------
        InputError
            If a file, workspace or object is missing, or of a class that ROOT does not have.
        """
        plan = self._plan
        if plan["histograms"] is not None:
            self._read_histograms(plan["histograms"])
        self._variable(plan["poi"], 1.0, 0.0, _MOST_POI)
        for name, nuisance in plan["nuisances"].items():
            self._nuisance(name, nuisance)
        data = {channel["name"]: self._data(channel) for channel in plan["channels"]}
        for channel in plan["channels"]:
            for process in channel["processes"]:
                self._function(process, channel, data[channel["name"]][1])
        self._arguments()
        self._set_mass()
        for constraint in plan["constraints"]:
            self._constraint(constraint)
        self._freeze()
        pdfs = {channel["name"]: self._channel(channel) for channel in plan["channels"]}
        parts = []
        for name in plan["order"]:
            if name in pdfs:
                parts.append((name, self._with_constraints(name, [pdfs[name]]), *data[name]))
            else:
                parts.append((name, *self._of_histograms(name)))
        self._note_unused([pdf for _, pdf, *_ in parts])
        return simultaneous(self._space, parts, plan["poi"], self._globals, self._notes)

    def _wrong(self, what: str, line: int = 0) -> InputError:
        return InputError(f"{self._where}{f', line {line}' if line else ''}: {what}")

    def _import(self, made: Any, *options: Any) -> Any:
        fit = self._root.RooFit
        if self._space.Import(made, fit.RecycleConflictNodes(True), fit.Silence(True), *options):
            raise self._wrong(f"RooFit cannot take '{made.GetName()}' into one workspace with the rest of the card")
        return self._space.arg(made.GetName())

    def _list(self, names: Iterable[str]) -> Any:
        found = self._root.RooArgList()
        for name in names:
            found.add(self._space.arg(name))
        return found

    def _variable(self, name: str, value: float, low: float | None, high: float | None) -> Any:
        """Return a variable with this value and range, whether it is there already or not."""
        if not self._space.arg(name):
            self._import(self._root.RooRealVar(name, name, value))
        found = self._space.var(name)
        if not found:
            raise self._wrong(f"'{name}' is a function in a RooWorkspace, and a parameter in the card")
        found.removeRange()
        if low is not None:
            found.setMin(low)
        if high is not None:
            found.setMax(high)
        found.setVal(value)
        found.setConstant(False)
        return found

    # parameters

    def _nuisance(self, name: str, nuisance: _Json) -> None:
        if self._space.arg(f"{name}_constraint"):  # of channels of histograms, too
            return
        if nuisance["kind"] == "flat":
            self._variable(name, 0.0, -1.0, 1.0)
        elif nuisance["kind"] == "poisson":
            events = float(nuisance["events"])
            variable = self._variable(name, max(events, 0.5), 0.0, events + 10 * (events + 10) ** 0.5)
            self._constrain(name, self._root.RooPoisson, events, (0.0, 10 * events + 100), variable)
        else:
            self._gauss(name, self._variable(name, 0.0, -_SIGMAS, _SIGMAS), 0.0, 1.0, 1.0)

    def _gauss(self, name: str, variable: Any, mean: float, down: float, up: float) -> None:
        reach = 10 * max(down, up)
        widths = [self._root.RooFit.RooConst(width) for width in ((down,) if down == up else (down, up))]
        kind = self._root.RooGaussian if down == up else self._root.RooBifurGauss
        self._constrain(name, kind, mean, (mean - reach, mean + reach), variable, *widths)

    def _constrain(self, name: str, kind: Any, center: float, limits: tuple[float, float], *arguments: Any) -> None:
        """Add a constraint: its first argument is the global observable of a count, its second one otherwise."""
        measured = self._import(self._root.RooRealVar(f"nom_{name}", name, center, *limits))
        measured.setConstant(True)
        ordered = (measured, *arguments) if kind is self._root.RooPoisson else (arguments[0], measured, *arguments[1:])
        made = kind(f"{name}_constraint", name, *ordered)
        if kind is self._root.RooPoisson:
            made.setNoRounding(True)
        self._import(made)
        self._globals.append(measured.GetName())

    def _constraint(self, of: _Json) -> None:
        """Apply a line param."""
        name, mean = of["name"], of["mean"]
        if not self._space.arg(name) or self._space.arg(f"{name}_constraint"):
            if not self._space.arg(name):
                self._notes.append(f"line {of['line']}: nothing depends on the param '{name}'")
            return
        if not self._space.var(name):
            raise self._wrong(f"param '{name}' is a function in the RooWorkspace, not a parameter", of["line"])
        low, high = of["bounds"] or (mean - _WIDTHS * of["down"], mean + _WIDTHS * of["up"])
        self._gauss(name, self._variable(name, mean, low, high), mean, of["down"], of["up"])

    def _arguments(self) -> None:
        """Make free parameters first, then what depends on others, in an order that is possible."""
        waiting, constraints = [], {of["name"]: of for of in self._plan["constraints"]}
        for of in self._plan["arguments"]:
            if of["file"]:
                self._from_file(of)
            elif of["names"]:
                waiting.append(of)
            elif of["name"] in self._plan["used"] or self._space.arg(of["name"]) or self._is_named(of["name"]):
                reach = _FAR * max(abs(of["value"]), 1.0)
                high = reach if of["high"] is None else of["high"]
                low = max(of["low"] or 0.0, 0.0) if of["name"] in self._plan["used"] else of["low"]
                note = f"line {of['line']}: '{of['name']}' multiplies a process, and is kept at 0 or above"
                if of["low"] is not None and low > of["low"] and of["name"] not in constraints:
                    self._notes += [] if note in self._plan["notes"] else [note]
                self._variable(of["name"], of["value"], low, high)
        while waiting:
            ready = [of for of in waiting if all(self._known(name, constraints) for name in of["names"])]
            if not ready:
                missing = next(n for of in waiting for n in of["names"] if not self._space.arg(n))
                of = waiting[0]
                raise self._wrong(f"'{of['name']}' depends on '{missing}', which is not a parameter", of["line"])
            for of in ready:
                self._formula(of)
            waiting = [of for of in waiting if of not in ready]

    def _is_named(self, name: str) -> bool:
        return any(name in of["names"] for of in self._plan["arguments"])

    def _known(self, name: str, constraints: Mapping[str, _Json]) -> bool:
        """Whether an argument of a formula exists; one that only a line param declares is made."""
        if not self._space.arg(name) and name in constraints:
            self._variable(name, constraints[name]["mean"], None, None)
        return bool(self._space.arg(name))

    def _formula(self, of: _Json) -> None:
        name = of["name"]
        if beyond := [int(n) for n in re.findall(r"@(\d+)", of["expression"]) if int(n) >= len(of["names"])]:
            raise self._wrong(f"'{name}': @{beyond[0]} is beyond the parameters {','.join(of['names'])}", of["line"])
        expression = of["expression"].strip("'\"")
        try:
            made = self._root.RooFormulaVar(name, name, expression, self._list(of["names"]))
        except Exception as error:  # cppyy has many of its own
            raise self._wrong(f"'{name}': RooFit cannot compile the formula {expression}", of["line"]) from error
        self._import(made)

    def _from_file(self, of: _Json) -> None:
        found = self._files.object(of["file"], of["workspace"], of["name"], of["line"], "arg")
        self._note_ranges(found)
        self._import(found)

    def _set_mass(self) -> None:
        if (mass := self._space.var("MH")) and "MH" not in {of["name"] for of in self._plan["constraints"]}:
            mass.removeRange()
            mass.setVal(self._plan["mass"])
            mass.setConstant(True)
            self._notes.append(f"the functions depend on MH, which is {self._plan['mass']:g}: --mass")

    def _freeze(self) -> None:
        for name, line in self._plan["frozen"].items():
            if not (found := self._space.var(name)):
                raise self._wrong(f"'{name}' is kept constant, and there is no such parameter", line)
            found.setConstant(True)

    def _note_unused(self, pdfs: Iterable[Any]) -> None:
        used = {variable.GetName() for pdf in pdfs for variable in pdf.getVariables()}
        for name, line in self._plan["loose"].items():
            if name not in used:
                self._notes.append(f"line {line}: nothing depends on the flatParam '{name}'")

    # channels

    def _data(self, channel: _Json) -> tuple[Any, Any]:
        """Return the data of a channel, and their variables under names of their own."""
        of = channel["data"]
        data = self._files.object(of["file"], of["workspace"], of["object"], of["line"], "data")
        total, observed = float(data.sumEntries()), channel["observed"]
        if observed != -1 and abs(observed - total) > (_DATA * observed if observed else _RATES):
            what = f"the observation of channel '{channel['name']}' is {observed:g}"
            raise self._wrong(f"{what}, its data have {total:g} events", of["line"])
        variables = self._root.RooArgSet()
        for variable in data.get():
            own = variable.Clone(f"{variable.GetName()}_{channel['name']}")
            if data.InheritsFrom("RooDataSet") and own.getBins() < _FINE:
                own.setBins(_FINE)
            self._import(own)
            variables.add(self._space.var(own.GetName()))
        return data, variables

    def _function(self, process: _Json, channel: _Json, variables: Any) -> None:
        """Import the pdf of a process, and the function that multiplies its events."""
        found = self._files.object(process["file"], process["workspace"], process["object"], process["line"], "shape")
        where = f"'{process['name']}' in channel '{channel['name']}'"
        name = f"{'shapeSig' if process['signal'] else 'shapeBkg'}_{process['name']}_{channel['name']}"
        fit, suffix = self._root.RooFit, f"{process['name']}_{channel['name']}"
        if found.InheritsFrom("RooDataHist"):
            total = float(found.sumEntries())
            if process["rate"] == -1:
                process["rate"] = total
            elif abs(process["rate"] - total) > _RATES * max(process["rate"], 1.0) and process["gamma"] is None:
                raise self._wrong(f"the rate of {where} is {process['rate']:g}, its data {total:g}", process["line"])
            found = self._root.RooHistPdf(process["object"], name, found.get(), found)
        elif process["rate"] == -1:
            raise self._wrong(f"{where} is a function and has a rate of -1, which says nothing", process["line"])
        own = [of.GetName().removesuffix(f"_{channel['name']}") for of in variables]
        if not any(found.getVariables().find(x) for x in own):
            raise self._wrong(
                f"{where} depends on none of the variables of the data, {', '.join(own)}", process["line"]
            )
        renamed = [fit.RenameVariable(x, f"{x}_{channel['name']}") for x in own]
        self._note_ranges(found, own)
        found.SetName(name)
        options = [fit.RenameAllNodes(suffix), *renamed[:1]]
        if len(renamed) > 1:
            options[1] = fit.RenameVariable(",".join(own), ",".join(f"{x}_{channel['name']}" for x in own))
        self._import(found, *options)
        process["pdf"] = f"{name}_{suffix}" if self._space.pdf(f"{name}_{suffix}") else name
        process["norm"] = self._norm(process, name, suffix)

    def _norm(self, process: _Json, name: str, suffix: str) -> str | None:
        """Import the function that multiplies the events of a pdf, under a name of its own unless a line names it."""
        norm = self._files.optional(process["file"], process["workspace"], f"{process['object']}_norm")
        if norm is None:
            return None
        self._note_ranges(norm)
        if norm.GetName() not in self._named:
            norm.SetName(f"{name}__norm")
        is_parameter = norm.InheritsFrom("RooRealVar")
        self._import(norm, *([] if is_parameter else [self._root.RooFit.RenameAllNodes(suffix)]))
        return str(norm.GetName()) if is_parameter else f"{norm.GetName()}_{suffix}"

    @property
    def _named(self) -> set[str]:
        """Parameters that lines of the card name."""
        plan = self._plan
        arguments = [name for of in plan["arguments"] for name in (of["name"], *of["names"])]
        return {*arguments, *(of["name"] for of in plan["constraints"]), *plan["loose"], *plan["frozen"]}

    def _note_ranges(self, function: Any, without: Iterable[str] = ()) -> None:
        """Note parameters that have another range, or value, in another file: the first one counts."""
        for variable in function.getVariables() if not function.InheritsFrom("RooRealVar") else [function]:
            name = str(variable.GetName())
            if name in without or not variable.InheritsFrom("RooRealVar"):
                continue
            constant = f"constant {variable.getVal():g}"
            found = constant if variable.isConstant() else f"from {variable.getMin():g} to {variable.getMax():g}"
            first = self._ranges.setdefault(name, found)
            if first != found:
                text = f"parameter '{name}' is {first} in one RooWorkspace and {found} in another: the first was taken"
                self._notes += [text] if text not in self._notes else []

    def _events(self, process: _Json, channel: _Json) -> Any:
        """Return the expected events of a process."""
        label = f"{process['name']}_{channel['name']}"
        names = [self._import(self._root.RooConstVar(f"rate_{label}", label, float(process["rate"]))).GetName()]
        names += [process["norm"]] if process["norm"] else []
        names += [process["gamma"]] if process["gamma"] else []
        names += process["factors"]
        if expression := self._effects(process):
            arguments = [of["name"] for of in (*process["effects"], *process["linear"])]
            made = self._root.RooFormulaVar(f"effects_{label}", label, expression, self._list(arguments))
            names.append(self._import(made).GetName())
        if process["signal"]:
            names.append(self._plan["poi"])
        return self._import(self._root.RooProduct(f"n_exp_{label}", label, self._list(names)))

    @staticmethod
    def _effects(process: _Json) -> str:
        """Return the factor of all lines as a formula."""
        logarithms, factors = [], []
        for i, of in enumerate(process["effects"]):
            down, up = of["down"], of["up"]
            if abs(up + down) < 1e-9 * abs(up):
                logarithms.append(f"({up!r})*@{i}")
                continue
            odd, even = 0.5 * (up - down), 0.5 * (up + down)  # the even part is smooth up to half a standard deviation
            smooth = f"(abs(@{i}) > 0.5 ? (@{i} > 0 ? 1. : -1.) : @{i}*(15. - 40.*@{i}*@{i} + 48.*pow(@{i}, 4))/4.)"
            logarithms.append(f"@{i}*(({odd!r}) + ({even!r})*{smooth})")
        if logarithms:
            factors.append(f"exp({' + '.join(logarithms)})")
        for i, of in enumerate(process["linear"], len(process["effects"])):
            factors.append(f"max(0., 1. + ({of['width']!r})*@{i})")
        return "*".join(factors)

    def _channel(self, channel: _Json) -> Any:
        names = [self._events(process, channel).GetName() for process in channel["processes"]]
        pdfs = self._list(process["pdf"] for process in channel["processes"])
        made = self._root.RooAddPdf(f"pdf_{channel['name']}", channel["name"], pdfs, self._list(names))
        return self._import(made)

    def _with_constraints(self, name: str, pdfs: list[Any]) -> Any:
        """Return the product of pdfs and the constraints of all parameters that they depend on."""
        variables = {v.GetName() for pdf in pdfs for v in pdf.getVariables()}
        there = {pdf.GetName() for pdf in pdfs}
        listed = self._root.RooArgList(*pdfs)
        for glob in self._globals:
            parameter = glob.removeprefix("nom_")
            constraint = self._space.pdf(f"{parameter}_constraint")
            if constraint and parameter in variables and constraint.GetName() not in there:
                listed.add(constraint)
        return self._import(self._root.RooProdPdf(f"model_of_{name}", name, listed))

    # channels of histograms

    def _read_histograms(self, content: _Json) -> None:
        import json

        text = json.dumps(content)
        for name in self._formulas():  # a factor of this name would not be a variable
            text = text.replace(json.dumps(name), json.dumps(f"{name}__factor"))
        if not self._root.RooJSONFactoryWSTool(self._space).importJSONfromString(text):
            raise self._wrong("RooFit does not read the channels of histograms")
        named = [entry["name"] for entry in json.loads(text)["parameter_points"][0]["parameters"]]
        self._globals += [name for name in named if name.startswith("nom_")]

    def _formulas(self) -> list[str]:
        made = {of["name"] for of in self._plan["arguments"] if of["names"] or of["file"]}
        return [name for name in self._plan["opaque"] if name in made]

    def _of_histograms(self, name: str) -> tuple[Any, Any, Any]:
        pdf = self._space.pdf(f"model_{name}")
        data = self._space.data(f"obsData_{name}")
        if not pdf or not data:
            raise self._wrong(f"RooFit does not read the histograms of channel '{name}'")
        customizer, used = self._root.RooCustomizer(pdf, "made"), False
        for factor in self._formulas():
            if variable := pdf.getVariables().find(f"{factor}__factor"):
                customizer.replaceArg(variable, self._space.arg(factor))
                used = True
        if used:
            pdf = self._import(customizer.build())
        parts = list(pdf.pdfList()) if pdf.InheritsFrom("RooProdPdf") else [pdf]
        return self._with_constraints(name, parts), data, data.get()
