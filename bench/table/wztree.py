"""The query on wztree events: the best candidate of each event, and 14 histograms of it.

Every number in it is a float32 exactly, edges of bins included, so that programs which compare in single precision and
in double precision must find the same candidates and the same bins.
"""

from __future__ import annotations

__all__ = ["CANDIDATE", "HISTOGRAMS"]

HISTOGRAMS = {
    "C_Ds_mass": (0.0, 4.0),
    "C_Hnl_mass": (0.0, 4.0),
    "C_Hnl_pt": (0.0, 64.0),
    "C_Hnl_vertex_2DDist_BS": (0.0, 32.0),
    "C_Hnl_vertex_2DSig_BS": (0.0, 128.0),
    "C_Hnl_vertex_prob": (0.0, 1.0),
    "C_Hnl_vertex_cos2D": (-1.0, 1.0),
    "C_mu_Ds_pt": (0.0, 32.0),
    "C_mu_Ds_eta": (-4.0, 4.0),
    "C_mu_Hnl_pt": (0.0, 32.0),
    "C_mu_Hnl_BS_ips_xy": (0.0, 128.0),
    "C_pi_pt": (0.0, 16.0),
    "C_pi_BS_ip_xy": (-1.0, 1.0),
    "nPV": (0.0, 64.0),
}
"""The range of each histogram; all have the same number of bins."""
CANDIDATE = (*(name for name in HISTOGRAMS if name.startswith("C_")), "C_mu_Ds_isSoft", "C_mu_Hnl_isSoft")
"""The columns that are read with one element per candidate; nPV has one per event."""
