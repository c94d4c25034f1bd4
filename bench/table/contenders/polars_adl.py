"""The ADL queries with Polars on Parquet files with a list per event and column, by its streaming engine."""

from __future__ import annotations

from pathlib import Path

import hist
import numpy as np
import polars as pl
from polars import col

from bench.table.adl.steps import BINS, HISTOGRAMS
from bench.table.inputs import Input


class Contender:
    """The program; POLARS_MAX_THREADS is the number of cores to use."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._given = given

    def adl(self, query: str) -> dict[str, list[float]]:
        """Run a query."""
        found = QUERIES[query](pl.scan_parquet(list(self._given.files))).collect(engine="streaming")
        filled = {}
        for name, ends in HISTOGRAMS[query].items():
            values = found[name].to_numpy()
            filled[name] = hist.Hist.new.Reg(BINS, *ends).Double().fill(values).values(flow=True).tolist()
        return filled

    def close(self) -> None:
        """Nothing is left open."""


def objects(events, kind, *others):
    """Return the rows of the objects of a kind in double precision, with their number in the event."""
    names = ("pt", "eta", "phi", "mass", *others)
    lists = events.select("event", *(col(f"{kind}_{name}").alias(name) for name in names))
    rows = (
        lists.with_columns(i=pl.int_ranges(col("pt").list.len())).explode("i", *names).filter(col("pt").is_not_null())
    )
    return rows.with_columns(col(*names).cast(pl.Float64))


def momenta(rows):
    """Add px, py, pz and the energy."""
    rows = rows.with_columns(
        x=col("pt") * col("phi").cos(), y=col("pt") * col("phi").sin(), z=col("pt") * col("eta").sinh()
    )
    return rows.with_columns(e=(col("x") ** 2 + col("y") ** 2 + col("z") ** 2 + col("mass") ** 2).sqrt())


def total(component, *suffixes):
    """Return the sum of a component over joined rows."""
    return sum((col(component + suffix) for suffix in suffixes[1:]), col(component + suffixes[0]))


def mass(*suffixes):
    """Return the mass of joined rows."""
    x, y, z, e = (total(component, *suffixes) for component in "xyze")
    return (e * e - x * x - y * y - z * z).clip(lower_bound=0).sqrt()


def q1(events):
    """MET of all events."""
    return events.select("MET_pt")


def q2(events):
    """pT of all jets."""
    return events.select("Jet_pt").explode("Jet_pt").drop_nulls()


def q3(events):
    """pT of jets with |eta| < 1."""
    return events.select("Jet_pt", "Jet_eta").explode("Jet_pt", "Jet_eta").filter(col("Jet_eta").abs() < 1)


def q4(events):
    """MET of events with two jets above 40 GeV."""
    return events.filter(col("Jet_pt").list.eval(pl.element() > 40).list.sum() >= 2).select("MET_pt")


def q5(events):
    """MET of events with two muons of opposite charge and a mass between 60 and 120 GeV."""
    muons = momenta(objects(events.filter(col("Muon_pt").list.len() >= 2), "Muon", "charge"))
    pairs = muons.join(muons, on="event", suffix="_b")
    pairs = pairs.filter((col("i") < col("i_b")) & (col("charge") != col("charge_b")))
    good = pairs.filter(mass("", "_b").is_between(60, 120, closed="none")).select("event").unique()
    return events.join(good, on="event", how="semi").select("MET_pt")


def q6(events):
    """pT and largest b-tag of the three jets whose mass is nearest to 172.5 GeV."""
    jets = momenta(objects(events.filter(col("Jet_pt").list.len() >= 3), "Jet", "btag"))
    jets = jets.select("event", "i", "btag", "x", "y", "z", "e")
    pairs = jets.join(jets, on="event", suffix="_b").filter(col("i") < col("i_b"))
    three = pairs.join(jets, on="event", suffix="_c").filter(col("i_b") < col("i_c"))
    all_three = ("", "_b", "_c")
    pt = (total("x", *all_three) ** 2 + total("y", *all_three) ** 2).sqrt()
    found = three.select(
        "event",
        distance=(mass(*all_three) - 172.5).abs(),
        trijet_pt=pt,
        trijet_btag=pl.max_horizontal("btag", "btag_b", "btag_c"),
    )
    return found.group_by("event").agg(col("trijet_pt", "trijet_btag").get(col("distance").arg_min()))


def q7(events):
    """Sum of the pT of jets above 30 GeV that are isolated from leptons above 10 GeV."""
    jets = objects(events, "Jet").filter(col("pt") > 30)
    leptons = pl.concat([objects(events, kind).filter(col("pt") > 10) for kind in ("Muon", "Electron")])
    pairs = jets.join(leptons, on="event", suffix="_l")
    angle = col("phi") - col("phi_l")
    angle = angle - 2 * np.pi * (angle / (2 * np.pi)).round()
    near = pairs.filter(((col("eta") - col("eta_l")) ** 2 + angle**2).sqrt() < 0.4).select("event", "i").unique()
    return jets.join(near, on=["event", "i"], how="anti").group_by("event").agg(ht=col("pt").sum())


def q8(events):
    """Transverse mass of MET and the leading lepton outside of the best Z pair."""
    kept = events.filter(col("Muon_pt").list.len() + col("Electron_pt").list.len() >= 3)
    kinds = [objects(kept, kind, "charge").with_columns(kind=pl.lit(n)) for n, kind in enumerate(("Muon", "Electron"))]
    leptons = momenta(pl.concat(kinds))
    pairs = leptons.join(leptons, on=["event", "kind"], suffix="_b")
    pairs = pairs.filter((col("i") < col("i_b")) & (col("charge") != col("charge_b")))
    pairs = pairs.select("event", "kind", "i", "i_b", distance=(mass("", "_b") - 91.2).abs())
    best = pairs.group_by("event").agg(col("kind", "i", "i_b").get(col("distance").arg_min()))
    others = leptons.join(best, on="event", suffix="_z")
    others = others.filter((col("kind") != col("kind_z")) | ((col("i") != col("i_z")) & (col("i") != col("i_b"))))
    leading = others.group_by("event").agg(col("pt", "phi").get(col("pt").arg_max()))
    met = kept.select("event", col("MET_pt", "MET_phi").cast(pl.Float64)).join(leading, on="event")
    return met.select(
        transverse_mass=(2 * col("pt") * col("MET_pt") * (1 - (col("MET_phi") - col("phi")).cos())).sqrt()
    )


QUERIES = {f"q{n}": function for n, function in enumerate((q1, q2, q3, q4, q5, q6, q7, q8), 1)}
