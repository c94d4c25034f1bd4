"""Write the demonstration's ``datasets.yaml``: samples, cross sections, measured efficiencies of generator and trigger.

Simulates every sample once, with its own seed and number of entries, so that the efficiencies belong to these samples.
Run as ``python tools/make_datasets.py src/hnl/datasets.yaml``; it takes some minutes and resumes.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

import hnl
import portico
from hnl import theory

MASSES = (1.0, 1.25, 1.5, 1.8)  # GeV
CTAUS = (10.0, 100.0, 1000.0)  # mm
SIGNAL_EVENTS, CONTROL_EVENTS, CONTROL_DATA_EVENTS = 2500, 3000, 6000
BACKGROUND_EVENTS, DATA_EVENTS = 16_000, 24_000
PILEUP, PILEUP_OF_DATA = 3.0, 3.3  # what corrections/pileup.json turns into one another
BR_DS, BR_DPLUS, BR_PHI = 0.045, 0.00570, 2.86e-4  # Ds -> phi pi, D+ -> phi pi, phi -> mu mu: PDG 2024

HEAD = """\
# The generated samples of the demonstration, written by tools/make_datasets.py. Cross sections in pb, luminosity in
# 1/fb, ctau in mm, mass in GeV, pileup: mean number of additional collisions.
#
# Signal: sigma(Ds; pp, 13 TeV, pT-hat > 8 GeV, both origins) of src/hnl/pools/pools.json, times
# BR(Ds -> mu N) BR(N -> mu pi) of hnl.theory at the coupling that gives this mass its ctau.
# Control: sigma(Ds) BR(Ds -> phi pi) BR(phi -> mu mu) = 0.045 * 2.86e-4, and for D+ 0.0057 * 2.86e-4.
# Background: charm and beauty. filter_efficiency: events written / the product "generated" of this very sample.
# merge_ctau, merge_decays: the samples of one mass and how many decays each stands for, see hnl.lifetime.
# Luminosity: that of the stand-in for data. control_data is a stand-in for data of the control channel, richer in Ds
# and D+ than nature: its processes are mixed by hand. Its luminosity is the one in which so many Ds are produced.
"""


def cross_sections() -> dict[str, float]:
    """Cross sections in pb of Ds, D+ and background."""
    pools = json.loads((Path(hnl.__file__).parent / "pools" / "pools.json").read_text(encoding="utf-8"))
    both = ("hardccbar", "hardbbbar")
    sums = {m: sum(pools[m][p][f"{m}_cross_section_pb"] for p in both) for m in ("ds", "dplus")}
    return {**sums, "background": sum(pools["background"][p]["cross_section_pb"] for p in both)}


def samples() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and fields of each sample, without measured efficiencies."""
    sigma, seed = cross_sections(), 101
    for mass in MASSES:
        for ctau in CTAUS:
            coupling = theory.coupling_squared(mass, ctau)
            ratio = theory.ds_to_mu_n_branching_ratio(mass, coupling) * theory.n_to_mu_pi_branching_ratio(mass)
            parameters = {"process": "signal", "mass": mass, "ctau": ctau, "seed": seed, "pileup": PILEUP}
            name = f"signal_m{mass:g}_ctau{ctau:g}".replace(".", "p").replace("m1_", "m1p0_")
            yield name, simulated("signal", SIGNAL_EVENTS, sigma["ds"] * ratio, parameters)
            seed += 1
    for name, meson, ratio in (("control", "Ds", BR_DS), ("control_dplus", "Dplus", BR_DPLUS)):
        parameters = {"process": "control", "meson": meson, "seed": seed, "pileup": PILEUP}
        yield name, simulated("background", CONTROL_EVENTS, sigma[meson.lower()] * ratio * BR_PHI, parameters)
        seed += 1
    background = {"process": "background", "min_muons": 2}
    fields = {**background, "seed": seed, "pileup": PILEUP}
    yield "background", simulated("background", BACKGROUND_EVENTS, sigma["background"], fields)
    fields = {**background, "seed": 207, "pileup": PILEUP_OF_DATA}
    yield "data", {"kind": "data", "entries": DATA_EVENTS, "parameters": fields}
    fractions = {"control": 0.35, "control_dplus": 0.2, "background": 0.45}
    fields = {"process": "mixture", "fractions": fractions, "min_muons": 2, "seed": 208, "pileup": PILEUP_OF_DATA}
    yield "control_data", {"kind": "data", "entries": CONTROL_DATA_EVENTS, "parameters": fields}


def simulated(kind: str, entries: int, cross_section: float, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a simulated sample."""
    numbers = {"entries": entries, "processed_events": entries, "cross_section": float(f"{cross_section:.4g}")}
    return {"kind": kind, **numbers, "parameters": parameters}


def measured(folder: Path, wanted: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Simulate all samples and return the efficiency of each that has one."""
    folder.mkdir(parents=True, exist_ok=True)
    step = {"name": "simulate", "function": "hnl.simulate:simulate", "chunk": "1000 entries"}
    text = yaml.safe_dump({"name": "datasets", "dataset": {"samples": wanted}, "steps": [step]})
    (folder / "analysis.yaml").write_text(text, encoding="utf-8")
    run = portico.run(portico.load_analysis(folder), folder=folder / "run")
    generated = {name: run["simulate"][name]["generated"] for name in wanted}
    return {name: wanted[name]["entries"] / number for name, number in generated.items() if number > 0}


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("runs/datasets"), help="where the samples are simulated")
    options = parser.parse_args()
    wanted = dict(samples())
    # The Ds of control_data: with two identified muons, which the simulated control sample need not have.
    parameters = {"process": "control", "meson": "Ds", "min_muons": 2, "seed": 308, "pileup": PILEUP_OF_DATA}
    part = {"kind": "background", "entries": 2 * CONTROL_DATA_EVENTS, "parameters": parameters}
    efficiencies = measured(options.folder, {**wanted, "ds_of_control_data": part})
    for name, fields in wanted.items():
        if fields["kind"] != "data":
            fields["filter_efficiency"] = float(f"{efficiencies[name]:.4g}")
    for mass in MASSES:
        merged = [fields for fields in wanted.values() if fields["parameters"].get("mass") == mass]
        decays = [float(f"{f['processed_events'] / f['filter_efficiency']:.4g}") for f in merged]
        for fields in merged:
            fields["parameters"] |= {"merge_ctau": list(CTAUS), "merge_decays": decays}
    # The stand-in for data has the luminosity of what was generated for it.
    entries = wanted["data"]["entries"]
    luminosity = entries / efficiencies["data"] / cross_sections()["background"] / 1000.0
    mixture = wanted["control_data"]
    made = mixture["entries"] * mixture["parameters"]["fractions"]["control"]
    produced = made / (wanted["control"]["cross_section"] * efficiencies["ds_of_control_data"]) / 1000.0
    mixture["parameters"]["luminosity"] = float(f"{produced:.4g}")
    text = f"luminosity: {luminosity:.4g}\nsamples:\n" + "".join(map(written, wanted, wanted.values()))
    options.output.write_text(HEAD + text, encoding="utf-8")


def written(name: str, fields: dict[str, Any]) -> str:
    """Return a sample as YAML."""
    ordered = {**{k: v for k, v in fields.items() if k != "parameters"}, "parameters": plain(fields["parameters"])}
    lines = (yaml.safe_dump({k: v}, default_flow_style=None if k == "parameters" else False, sort_keys=False, width=110)
             for k, v in ordered.items())  # fmt: skip
    return textwrap.indent(f"{name}:\n" + textwrap.indent("".join(lines), "  "), "  ")


def plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return parameters without shared lists, for which YAML would write references."""
    loaded: dict[str, Any] = json.loads(json.dumps(parameters))
    return loaded


if __name__ == "__main__":
    main()
