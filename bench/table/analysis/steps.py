"""The query as steps of Portico: with RDataFrame, and as a declared selection."""

from __future__ import annotations

from pathlib import Path

from portico import step

FOLDER = Path(__file__).parent
AXES = {
    "C_Ds_mass": (0, 4),
    "C_Hnl_mass": (0, 4),
    "C_Hnl_pt": (0, 64),
    "C_Hnl_vertex_2DDist_BS": (0, 32),
    "C_Hnl_vertex_2DSig_BS": (0, 128),
    "C_Hnl_vertex_prob": (0, 1),
    "C_Hnl_vertex_cos2D": (-1, 1),
    "C_mu_Ds_pt": (0, 32),
    "C_mu_Ds_eta": (-4, 4),
    "C_mu_Hnl_pt": (0, 32),
    "C_mu_Hnl_BS_ips_xy": (0, 128),
    "C_pi_pt": (0, 16),
    "C_pi_BS_ip_xy": (-1, 1),
    "nPV": (0, 64),
}
SCORES = {"mass": "abs(C_Ds_mass - 1.96875f)", "prob": "-C_Hnl_vertex_prob"}


@step(headers=["choose.h"])
def best_free(frame, sample, *, pt=7.5, bins=64, rule="mass"):
    """Choose the best candidate, and fill 14 histograms of it."""
    return book(frame, pt, bins, rule)


def book(frame, pt, bins, rule):
    """Book the query on any RDataFrame; `choose.h` is declared."""
    frame = frame.Define(
        "good",
        f"C_mu_Ds_isSoft > 0 && C_mu_Hnl_isSoft > 0 && C_mu_Ds_pt > {pt} && abs(C_mu_Ds_eta) < 1.5 "
        "&& C_Hnl_vertex_2DSig_BS > 35.5 && abs(C_pi_BS_ip_xy) > 0.03125 && C_mu_Hnl_BS_ips_xy > 2.75",
    )
    frame = frame.Define("best", f"bench::choose(good, {SCORES[rule]})").Filter("best >= 0", "a good candidate")
    products = {}
    for name, (low, high) in AXES.items():
        value = name
        if name.startswith("C_"):
            value = f"best_{name}"
            frame = frame.Define(value, f"{name}[best]")
        products[name] = frame.Histo1D((name, "", bins, low, high), value)
    return products


@step(files=["best.yaml"])
def best_declared(frame, sample, *, cuts=None, histograms=None, switch=None):
    """Do the same as `best.yaml` says it."""
    from portico.selection import book as book_selection
    from portico.selection import load_selection

    return book_selection(load_selection(FOLDER / "best.yaml", cuts, switch, histograms), frame, sample, folder=FOLDER)
