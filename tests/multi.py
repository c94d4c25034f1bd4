"""Writes a RooWorkspace with a RooMultiPdf to ``multi.root``. Usage: python tests/multi.py FOLDER."""

from __future__ import annotations

import sys
import warnings

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    import ROOT

    x, index = ROOT.RooRealVar("mass", "m", 100.0, 180.0), ROOT.RooCategory("pdfindex", "")
    slopes = [ROOT.RooRealVar(f"slope_{i}", "", -0.03, -0.2, 0.0) for i in range(2)]
    falls = [ROOT.RooExponential(f"fall_{i}", "", x, slope) for i, slope in enumerate(slopes)]
    made = ROOT.RooMultiPdf("several", "", index, ROOT.RooArgList(*falls))
    space = ROOT.RooWorkspace("w", "w")
    space.Import(made, ROOT.RooFit.Silence(True))
    space.writeToFile(f"{sys.argv[1]}/multi.root", True)
