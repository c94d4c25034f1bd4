"""The columns of the made events: names, types and distributions, for the program that writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["KINDS", "TREES", "Column", "Kind"]

TREES = {"wztree": "wztree", "nano": "Events"}
"""The name of the tree of each kind of events."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Parameters
    ----------
    name, type : str
        The type is that of an element: float, short, int, unsigned or ulong.
    of : str
        The collection whose length it has; empty for one value per event.
    shape : str
        ``flat`` between a and b, ``exp`` a + Exp(b), ``gauss`` of mean a and width b, ``log`` 10^x with x flat
        between a and b, ``signed`` the same with either sign, ``sign`` -1 or 1, ``flag`` 1 with probability a,
        ``count`` the number of the event.
    a, b : float
        Parameters of the shape.
    """

    name: str
    type: str
    of: str
    shape: str
    a: float = 0.0
    b: float = 1.0

    def __str__(self) -> str:
        return f"{self.name} {self.type} {self.of or '-'} {self.shape} {self.a} {self.b}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of events: the columns, and of each collection the least length and the mean of what is added to it."""

    collections: dict[str, tuple[int, float]]
    columns: tuple[Column, ...]

    def text(self) -> str:
        """Return what the program reads."""
        lengths = [f"{name} {least} {mean}" for name, (least, mean) in self.collections.items()]
        return "\n".join([str(len(lengths)), *lengths, str(len(self.columns)), *map(str, self.columns)]) + "\n"


def _event(pileup: str) -> Iterator[Column]:
    yield Column("run", "unsigned", "", "flat", 315000, 325000)
    yield Column("lumi" if pileup == "nPV" else "luminosityBlock", "unsigned", "", "flat", 1, 2000)
    yield Column("event", "ulong", "", "count")
    yield Column(pileup, "int", "", "gauss", 30, 8)


def _wztree() -> Iterator[Column]:
    """Yield 46 of the columns of docs/ntuple.md, those that are read and as many again."""
    yield from _event("nPV")
    yield Column("nPU_trueInt", "int", "", "gauss", 30, 9)
    yield Column("numTrack", "int", "", "exp", 100, 400)
    for meson, low, high in (("Ds", 1.0, 3.5), ("Hnl", 0.25, 3.0)):
        yield Column(f"C_{meson}_mass", "float", "C", "flat", low, high)
        yield Column(f"C_{meson}_pt", "float", "C", "exp", 3, 9)
        for component in ("x", "y", "z"):
            yield Column(f"C_{meson}_p{component}", "float", "C", "gauss", 0, 8)
        yield Column(f"C_{meson}_vertex_2DDist_BS", "float", "C", "log", -2.5, 1.5)
        yield Column(f"C_{meson}_vertex_2DSig_BS", "float", "C", "log", -1, 2.5)
        yield Column(f"C_{meson}_vertex_3DDist_PV", "float", "C", "log", -2.5, 2)
        yield Column(f"C_{meson}_vertex_prob", "float", "C", "flat", 0.01, 1)
        yield Column(f"C_{meson}_vertex_cos2D", "float", "C", "flat", -1, 1)
    for track in ("mu_Ds", "mu_Hnl", "pi"):
        yield Column(f"C_{track}_pt", "float", "C", "exp", 0.5 if track == "pi" else 5, 4)
        yield Column(f"C_{track}_eta", "float", "C", "flat", -2.4, 2.4)
        yield Column(f"C_{track}_phi", "float", "C", "flat", -3.14159, 3.14159)
        yield Column(f"C_{track}_charge", "int", "C", "sign")
        yield Column(f"C_{track}_BS_ip_xy", "float", "C", "signed", -3, 1)
        yield Column(f"C_{track}_BS_ips_xy", "float", "C", "log", -1, 2)
        if track != "pi":
            yield Column(f"C_{track}_isSoft", "short", "C", "flag", 0.8)


def _nano() -> Iterator[Column]:
    """Yield columns of NanoAOD: what the queries read and some more."""
    yield from _event("PV_npvs")
    yield Column("MET_pt", "float", "", "exp", 0, 30)
    yield Column("MET_phi", "float", "", "flat", -3.14159, 3.14159)
    yield Column("MET_sumet", "float", "", "exp", 100, 400)
    yield Column("MET_significance", "float", "", "exp", 0, 4)
    for lepton, mass in (("Muon", 0.1056), ("Electron", 0.000511)):
        yield Column(f"{lepton}_pt", "float", lepton, "exp", 3 if lepton == "Muon" else 5, 25)
        yield Column(f"{lepton}_eta", "float", lepton, "flat", -2.5, 2.5)
        yield Column(f"{lepton}_phi", "float", lepton, "flat", -3.14159, 3.14159)
        yield Column(f"{lepton}_mass", "float", lepton, "gauss", mass, mass * 1e-4)
        yield Column(f"{lepton}_charge", "int", lepton, "sign")
        yield Column(f"{lepton}_pfRelIso03_all", "float", lepton, "exp", 0, 0.15)
        for parameter in ("dxy", "dz"):
            yield Column(f"{lepton}_{parameter}", "float", lepton, "gauss", 0, 0.02)
            yield Column(f"{lepton}_{parameter}Err", "float", lepton, "exp", 0.002, 0.004)
    yield Column("Jet_pt", "float", "Jet", "exp", 15, 25)
    yield Column("Jet_eta", "float", "Jet", "flat", -4.7, 4.7)
    yield Column("Jet_phi", "float", "Jet", "flat", -3.14159, 3.14159)
    yield Column("Jet_mass", "float", "Jet", "exp", 2, 6)
    yield Column("Jet_btag", "float", "Jet", "flat", -1, 1)
    yield Column("Jet_area", "float", "Jet", "gauss", 0.5, 0.02)


KINDS = {
    "wztree": Kind({"C": (1, 1.7)}, tuple(_wztree())),
    "nano": Kind({"Muon": (0, 1.2), "Electron": (0, 0.7), "Jet": (0, 3.2)}, tuple(_nano())),
}
