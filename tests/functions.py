"""Writes RooWorkspaces with a peak over a falling background, for parametric datacards. Runs in a process of its own.

Usage: python tests/functions.py FOLDER. The data of both channels are in ``data.json`` as well.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

LOW, HIGH, BINS = 100.0, 180.0, 80
CHANNELS = {"a": (False, 200, -0.03, 2.0), "b": (True, 500, -0.02, 3.0)}  # binned, events, slope, resolution
CARD = """imax *
jmax *
kmax *
shapes sig a a.root w:sig_$CHANNEL
shapes bkg a a.root w:bkg_$CHANNEL
shapes data_obs a a.root w:data_$CHANNEL
shapes * b b.root w:$PROCESS_$CHANNEL
shapes data_obs b b.root w:data_b
shapes * c FAKE
bin a b c
observation -1 -1 12
bin a a b b c c
process sig bkg sig bkg sig bkg
process 0 1 0 1 0 1
rate 1 1 1 1 3 8
lumi lnN 1.025 - 1.025 - 1.025 1.025
"""
"""The channels, with a third that only counts, and one parameter; a test adds its own."""
SIGNAL, MOVE = 12.0, 0.004  # events, and the relative move of the peak by the parameter scale


def write(folder: Path) -> dict[str, Any]:
    """Write ``a.root`` (events) and ``b.root`` (counts), and return the data."""
    import ROOT

    ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.ERROR)
    ROOT.RooRandom.randomGenerator().SetSeed(7)
    found = {}
    for name, (binned, events, slope, width) in CHANNELS.items():
        space = ROOT.RooWorkspace("w", "w")
        x = ROOT.RooRealVar("mass", "m", LOW, HIGH)
        x.setUnit("GeV")
        x.setBins(BINS)
        mh, scale = ROOT.RooRealVar("MH", "", 125, 110, 150), ROOT.RooRealVar("scale", "", 0, -5, 5)
        sigma = ROOT.RooRealVar(f"sigma_{name}", "", width)
        for fixed in (mh, sigma):
            fixed.setConstant(True)
        mean = ROOT.RooFormulaVar(f"mean_{name}", f"@0*(1 + {MOVE}*@1)", ROOT.RooArgList(mh, scale))
        peak = ROOT.RooGaussian(f"sig_{name}", "", x, mean, sigma)
        rate = ROOT.RooRealVar(f"slope_{name}", "", slope, -0.2, 0.0)
        fall = ROOT.RooExponential(f"bkg_{name}", "", x, rate)
        number = ROOT.RooRealVar(f"bkg_{name}_norm", "", events, 0, 5 * events)
        expected = ROOT.RooFormulaVar(f"sig_{name}_norm", f"{SIGNAL} + 0.1*(@0 - 125)", ROOT.RooArgList(mh))
        data = fall.generate(ROOT.RooArgSet(x), events)
        data.append(peak.generate(ROOT.RooArgSet(x), 6))
        values = [data.get(i)["mass"].getVal() for i in range(data.numEntries())]
        if binned:
            data = ROOT.RooDataHist(f"data_{name}", "", ROOT.RooArgSet(x), data)
            values = []
            for i in range(BINS):
                data.get(i)
                values.append(data.weight())
        else:
            data.SetName(f"data_{name}")
        found[name] = values
        for made in (peak, fall, number, expected, data):
            options = [] if made.InheritsFrom("RooAbsData") else [ROOT.RooFit.RecycleConflictNodes()]
            space.Import(made, ROOT.RooFit.Silence(True), *options)
        space.writeToFile(str(folder / f"{name}.root"), True)
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    target = Path(sys.argv[1])
    (target / "data.json").write_text(json.dumps(write(target)))
