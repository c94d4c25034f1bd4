"""Polars on Parquet files with a list per event and column, evaluated lazily by its streaming engine."""

from __future__ import annotations

from pathlib import Path

import hist
import polars as pl
from polars import col

from bench.table.inputs import Input
from bench.table.wztree import CANDIDATE, HISTOGRAMS


class Contender:
    """The program; POLARS_MAX_THREADS is the number of cores to use."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._given = given

    def best(self, pt: float = 7.5, bins: int = 64, rule: str = "mass") -> dict[str, list[float]]:
        """Run the query: lists become rows, the cuts drop most of them, the best row of each event is left."""
        mass = (col("C_Ds_mass") - pl.lit(1.96875, pl.Float32)).abs()
        good = (
            (col("C_mu_Ds_isSoft") > 0)
            & (col("C_mu_Hnl_isSoft") > 0)
            & (col("C_mu_Ds_pt") > pt)
            & (col("C_mu_Ds_eta").abs() < 1.5)
            & (col("C_Hnl_vertex_2DSig_BS") > 35.5)
            & (col("C_pi_BS_ip_xy").abs() > 0.03125)
            & (col("C_mu_Hnl_BS_ips_xy") > 2.75)
        )
        chosen = (
            pl.scan_parquet(list(self._given.files))
            .select("event", "nPV", *CANDIDATE)
            .explode(CANDIDATE)
            .filter(good)
            .with_columns(score=mass if rule == "mass" else -col("C_Hnl_vertex_prob"))
            .group_by("event")
            .agg(pl.all().sort_by("score", maintain_order=True).first())
            .collect(engine="streaming")
        )
        filled = {}
        for name, ends in HISTOGRAMS.items():
            values = chosen[name].to_numpy()
            filled[name] = hist.Hist.new.Reg(bins, *ends).Double().fill(values).values(flow=True).tolist()
        return filled

    def close(self) -> None:
        """Nothing is left open."""
