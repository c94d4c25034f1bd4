"""DuckDB on Parquet files with a list per event and column."""

from __future__ import annotations

from pathlib import Path

import duckdb
import hist

from bench.table.inputs import Input
from bench.table.wztree import CANDIDATE, HISTOGRAMS


class Contender:
    """A connection in memory, with as many threads as there are cores to use."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._database = duckdb.connect(config={"threads": workers})
        self._given = given

    def best(self, pt: float = 7.5, bins: int = 64, rule: str = "mass") -> dict[str, list[float]]:
        """Run the query: lists become rows, the cuts drop most of them, the best row of each event is left."""
        score = "abs(C_Ds_mass - 1.96875::FLOAT)" if rule == "mass" else "-C_Hnl_vertex_prob"
        lists = ", ".join(f"unnest({name}) AS {name}" for name in CANDIDATE)
        query = f"""
            WITH candidates AS (
              SELECT event, nPV, generate_subscripts(C_Ds_mass, 1) AS place, {lists}
              FROM read_parquet({list(self._given.files)!r})
            ), good AS (
              SELECT *, {score} AS score FROM candidates
              WHERE C_mu_Ds_isSoft > 0 AND C_mu_Hnl_isSoft > 0 AND C_mu_Ds_pt > {pt}::DOUBLE AND abs(C_mu_Ds_eta) < 1.5
                AND C_Hnl_vertex_2DSig_BS > 35.5 AND abs(C_pi_BS_ip_xy) > 0.03125 AND C_mu_Hnl_BS_ips_xy > 2.75
            )
            SELECT {", ".join(HISTOGRAMS)} FROM good
            QUALIFY row_number() OVER (PARTITION BY event ORDER BY score, place) = 1
        """
        chosen = self._database.sql(query).fetchnumpy()
        filled = {}
        for name, ends in HISTOGRAMS.items():
            filled[name] = hist.Hist.new.Reg(bins, *ends).Double().fill(chosen[name]).values(flow=True).tolist()
        return filled

    def close(self) -> None:
        """Close the connection."""
        self._database.close()
