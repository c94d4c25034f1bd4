"""ROOT's tutorials df102 to df106 with small input on the local disk in place of files at CERN."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

SERVER = "root://eospublic.cern.ch//eos"
NAMES = {
    "df102": "df102_NanoAODDimuonAnalysis",
    "df103": "df103_NanoAODHiggsAnalysis",
    "df104": "df104_HiggsToTwoPhotons",
    "df105": "df105_WBosonAnalysis",
    "df106": "df106_HiggsToFourLeptons",
}
# The line of each script before which its results are complete, and what is saved there.
SAVED = {
    "df102": ("# Produce plot", "{'h': h.GetValue()}"),
    "df103": (
        "    # Combined plots",
        "{n: h for n, h in locals().items() if n.startswith(('signal_', 'background_', 'data_'))}",
    ),
    "df104": ("# Create the plot", "{'ggH': ggh, 'VBF': vbf, 'data': data}"),
    "df105": ("# Create the plot", "{n: h for n, h in globals().items() if n in files}"),
    "df106": (
        "# We reached the end of the analysis part",
        (
            "{h.GetName(): h.GetValue() for h in histos}"
            " | {n: histos_mc[n] for n in ('nominal', 'weight:up', 'weight:down')}"
        ),
    ),
}
SAVE = """\
{indent}with ROOT.TFile("plain.root", "RECREATE") as saved:
{indent}    for name, one in ({what}).items():
{indent}        saved.WriteObject(one.Clone(), name.replace(":", "_"))
"""


def folder_of_tutorials() -> Path:
    """Return where ROOT's wheel keeps its tutorials of RDataFrame."""
    spec = importlib.util.find_spec("ROOT")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "tutorials" / "analysis" / "dataframe"


def local_copy(short: str, folder: Path) -> Path:
    """Write a tutorial's input and a copy of the script that reads it; only paths are changed."""
    script = (folder_of_tutorials() / f"{NAMES[short]}.py").read_text()
    data = folder / "eos"
    MAKERS[short](data)
    text = script.replace(SERVER, str(data))
    if short == "df105":
        processes = json.loads((folder_of_tutorials() / "df105_WBosonAnalysis.json").read_text())
        (folder / "df105.json").write_text(json.dumps({name: samples[:2] for name, samples in processes.items()}))
        text = text.replace(
            'os.path.join(ROOT.gROOT.GetTutorialsDir(), "analysis/dataframe/df105_WBosonAnalysis.json")',
            repr(str(folder / "df105.json")),
        )
    if short == "df106":
        spec = (folder_of_tutorials() / f"{NAMES[short]}_spec.json").read_text()
        (folder / "df106.json").write_text(spec.replace(SERVER, str(data)))
        text = text.replace(
            'os.path.join(ROOT.gROOT.GetTutorialsDir(), "analysis", "dataframe", "df106_HiggsToFourLeptons_spec.json")',
            repr(str(folder / "df106.json")),
        )
        text = text.replace(
            'ROOT.gROOT.GetTutorialDir().Data() + "/analysis/dataframe/df106_HiggsToFourLeptons.root"', '"tree.root"'
        )
    assert text != script
    assert SERVER not in text
    path = folder / f"{NAMES[short]}.py"
    path.write_text(text)
    return path


def run_plain(short: str, script: Path) -> dict[str, Any]:
    """Run a script as it is, up to where its results are complete; return them as hist.Hist."""
    line, what = SAVED[short]
    text = script.read_text()
    assert text.count(line) == 1
    indent = " " * (len(line) - len(line.lstrip()))
    plain = script.with_name("plain.py")
    saving = SAVE.format(indent=indent, what=what)
    plain.write_text(text.replace(line, f"{saving}{indent}raise SystemExit(0)\n{line}"))
    subprocess.run([sys.executable, plain.name, "-b"], cwd=script.parent, check=True, capture_output=True, timeout=300)
    with uproot.open(script.with_name("plain.root")) as file:
        return {name.partition(";")[0]: file[name].to_hist() for name in file.keys(cycle=False)}


def _jagged(random: np.random.Generator, counts: np.ndarray, columns: Mapping[str, tuple[float, float]]) -> ak.Array:
    values = {name: random.uniform(*limits, counts.sum()).astype(np.float32) for name, limits in columns.items()}
    return ak.zip({name: ak.unflatten(value, counts) for name, value in values.items()})


def _write(path: Path, tree: str, columns: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path) as file:
        file.mktree(tree, {n: v.type if isinstance(v, ak.Array) else v.dtype for n, v in columns.items()})
        file[tree].extend(columns)


_TRACK = {"dxy": (-0.05, 0.05), "dz": (-0.05, 0.05), "dxyErr": (0.02, 0.05), "dzErr": (0.02, 0.05)}
_MOMENTUM = {"eta": (-2.2, 2.2), "phi": (-3.1, 3.1)}


def _leptons(random: np.random.Generator, counts: np.ndarray, mass: float, isolation: str) -> ak.Array:
    limits = {"pt": (8, 60), **_MOMENTUM, "mass": (mass, mass * 1.0001), isolation: (0, 0.42), **_TRACK}
    leptons = _jagged(random, counts, limits)
    signs = ak.unflatten((2 * (np.arange(counts.sum()) % 2) - 1).astype(np.int32), counts)
    return ak.with_field(leptons, signs, "charge")


def _df102(data: Path) -> None:
    random = np.random.default_rng(102)
    muons = _leptons(random, random.integers(0, 4, 3000), 0.1057, "pfRelIso04_all")
    path = data / "opendata/cms/derived-data/AOD2NanoAODOutreachTool/Run2012BC_DoubleMuParked_Muons.root"
    _write(path, "Events", {"Muon": muons})


def _df103(data: Path) -> None:
    random = np.random.default_rng(103)
    for name in (
        "SMHiggsToZZTo4L", "ZZTo4mu", "ZZTo4e", "ZZTo2e2mu", "Run2012B_DoubleMuParked", "Run2012C_DoubleMuParked",
        "Run2012B_DoubleElectron", "Run2012C_DoubleElectron",
    ):  # fmt: skip
        kind = random.integers(0, 3, 1500)
        muons = _leptons(random, np.choose(kind, [4, 0, 2]), 0.1057, "pfRelIso04_all")
        electrons = _leptons(random, np.choose(kind, [0, 4, 2]), 0.000511, "pfRelIso03_all")
        path = data / f"root-eos/cms_opendata_2012_nanoaod_skimmed/{name}.root"
        _write(path, "Events", {"Muon": muons, "Electron": electrons})


def _weights(random: np.random.Generator, entries: int, *names: str) -> dict[str, np.ndarray]:
    return {name: random.uniform(0.8, 1.2, entries).astype(np.float32) for name in ("mcWeight", *names)}


def _flags(random: np.random.Generator, entries: int, *names: str) -> dict[str, np.ndarray]:
    return {name: random.random(entries) < 0.8 for name in names}


def _atlas(objects: ak.Array, prefix: str) -> dict[str, ak.Array]:
    return {f"{prefix}_{name}": objects[name] for name in objects.fields}


def _df104(data: Path) -> None:
    random = np.random.default_rng(104)
    names = [f"Data/data_{letter}" for letter in "ABCD"]
    for name in (*names, "MC/mc_343981.ggH125_gamgam", "MC/mc_345041.VBFH125_gamgam"):
        entries = 2000
        photons = _jagged(random, np.full(entries, 2), {
            "pt": (45e3, 90e3), **_MOMENTUM, "E": (60e3, 200e3), "ptcone30": (0, 4e3), "etcone20": (0, 4e3),
        })  # fmt: skip
        tight = ak.unflatten(random.random(2 * entries) < 0.9, 2)
        columns = {
            **_flags(random, entries, "trigP"), **_atlas(photons, "photon"), "photon_isTightID": tight,
            **_weights(random, entries, "scaleFactor_PHOTON", "scaleFactor_PhotonTRIGGER", "scaleFactor_PILEUP"),
        }  # fmt: skip
        _write(data / f"opendata/atlas/OutreachDatasets/2020-01-22/GamGam/{name}.GamGam.root", "mini", columns)


def _of_leptons(random: np.random.Generator, entries: int, many: int, softest: float = 30e3) -> dict[str, Any]:
    counts = np.full(entries, many)
    leptons = _jagged(random, counts, {
        "pt": (softest, 90e3), **_MOMENTUM, "E": (60e3, 200e3), "ptcone30": (0, 4e3), "etcone20": (0, 4e3),
        "trackd0pvunbiased": (-0.1, 0.1), "tracksigd0pvunbiased": (0.05, 0.1), "z0": (-0.4, 0.4),
    })  # fmt: skip
    kinds = np.repeat(random.choice(np.array([11, 13], np.uint32), entries), many)
    signs = (2 * (np.arange(entries * many) % 2) - 1).astype(np.int32)
    factors = _weights(random, entries, *(f"scaleFactor_{name}" for name in ("ELE", "MUON", "LepTRIGGER", "PILEUP")))
    return {
        **_flags(random, entries, "trigE", "trigM"), **factors, **_atlas(leptons, "lep"),
        "lep_type": ak.unflatten(kinds, counts), "lep_charge": ak.unflatten(signs, counts),
        "lep_isTightID": ak.unflatten(random.random(entries * many) < 0.9, counts),
        "met_et": random.uniform(20e3, 90e3, entries).astype(np.float32),
        "met_phi": random.uniform(-3.1, 3.1, entries).astype(np.float32),
    }  # fmt: skip


def _df105(data: Path) -> None:
    random = np.random.default_rng(105)
    processes = json.loads((folder_of_tutorials() / "df105_WBosonAnalysis.json").read_text())
    for samples in processes.values():
        for folder, sample, *_ in samples[:2]:
            path = data / f"root-eos/reduced_atlas_opendata/w/1lep/{folder}/{sample}.1lep.root"
            _write(path, "mini", _of_leptons(random, 1000, 1))


def _df106(data: Path) -> None:
    random = np.random.default_rng(106)
    spec = json.loads((folder_of_tutorials() / "df106_HiggsToFourLeptons_spec.json").read_text())
    for sample in spec["samples"].values():
        for file in sample["files"]:
            columns = _of_leptons(random, 1000, 4, 12e3)
            _write(data / file.removeprefix(f"{SERVER}/"), "mini", columns)


MAKERS = {"df102": _df102, "df103": _df103, "df104": _df104, "df105": _df105, "df106": _df106}
