"""Opposite-charge muon pairs on any NanoAOD-like file: the J/psi and the Z in twenty lines."""

import numpy as np

SPECTRUM = ("spectrum", ";m(#mu#mu) (GeV);events", 110, np.geomspace(0.25, 250, 111))  # 6.5% a bin


def dimuon(frame, sample):
    """Fill the invariant mass of events with exactly two muons of opposite charge."""
    pairs = frame.Filter("nMuon == 2", "two muons").Filter("Muon_charge[0] != Muon_charge[1]", "opposite charge")
    pairs = pairs.Define("mass", "ROOT::VecOps::InvariantMass(Muon_pt, Muon_eta, Muon_phi, Muon_mass)")
    mass = pairs.Histo1D(("mass", ";m(#mu#mu) (GeV);events", 300, 0.25, 300), "mass")
    return {"mass": mass, "spectrum": pairs.Histo1D(SPECTRUM, "mass"), "cutflow": pairs.Report()}


def flat(frame, sample):
    """Fill the same from a flat file, which has a row per pair, and the mass as a column.

    It lists a pair once more for each way its muons were reconstructed; ``GG``, both global, counts each once.
    """
    pairs = frame.Filter("Type[0] == 'G' && Type[1] == 'G'", "both global").Filter("Q1 != Q2", "opposite charge")
    mass = pairs.Histo1D(("mass", ";m(#mu#mu) (GeV);events", 300, 0.25, 300), "M")
    return {"mass": mass, "spectrum": pairs.Histo1D(SPECTRUM, "M"), "cutflow": pairs.Report()}
