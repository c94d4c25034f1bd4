"""The ADL queries in SQL: DuckDB on Parquet files with a list per event and column."""

from __future__ import annotations

from pathlib import Path

import duckdb
import hist

from bench.table.adl.steps import BINS, HISTOGRAMS
from bench.table.inputs import Input


class Contender:
    """A connection in memory, with as many threads as there are cores to use."""

    def __init__(self, given: Input, workers: int, folder: Path) -> None:
        self._database = duckdb.connect(config={"threads": workers})
        self._database.execute(f"CREATE VIEW events AS FROM read_parquet({list(given.files)!r})")
        self._database.execute(
            "CREATE MACRO mass(x, y, z, e) AS sqrt(greatest(0.0::DOUBLE, e * e - x * x - y * y - z * z));"
            "CREATE MACRO wrap(d) AS d - 2 * pi() * round(d / (2 * pi()))"
        )

    def adl(self, query: str) -> dict[str, list[float]]:
        """Run a query."""
        found = self._database.sql(QUERIES[query]).fetchnumpy()
        filled = {}
        for name, ends in HISTOGRAMS[query].items():
            filled[name] = hist.Hist.new.Reg(BINS, *ends).Double().fill(found[name]).values(flow=True).tolist()
        return filled

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


def objects(kind: str, *others: str, where: str = "true") -> str:
    """Return the rows of the objects of a kind, in double precision, with further columns."""
    names = ("pt", "eta", "phi", "mass", *others)
    lists = ", ".join(f"unnest({kind}_{name})::DOUBLE AS {name}" for name in names)
    return f"SELECT event, generate_subscripts({kind}_pt, 1) AS i, {lists} FROM events WHERE {where}"


MOMENTUM = (
    "pt * cos(phi) AS x, pt * sin(phi) AS y, pt * sinh(eta) AS z, "
    "sqrt((pt * cos(phi)) ** 2 + (pt * sin(phi)) ** 2 + (pt * sinh(eta)) ** 2 + mass * mass) AS e"
)
TWO = "mass(a.x + b.x, a.y + b.y, a.z + b.z, a.e + b.e)"
QUERIES = {
    "q1": "SELECT MET_pt FROM events",
    "q2": "SELECT unnest(Jet_pt) AS Jet_pt FROM events",
    "q3": """
        SELECT pt AS Jet_pt FROM (SELECT unnest(Jet_pt) AS pt, unnest(Jet_eta) AS eta FROM events) WHERE abs(eta) < 1
    """,
    "q4": "SELECT MET_pt FROM events WHERE len(list_filter(Jet_pt, lambda pt: pt > 40)) >= 2",
    "q5": f"""
        WITH muons AS ({objects("Muon", "charge", where="len(Muon_pt) >= 2")}),
        p AS (SELECT event, i, charge, {MOMENTUM} FROM muons),
        good AS (
          SELECT DISTINCT a.event FROM p a JOIN p b ON a.event = b.event AND a.i < b.i AND a.charge <> b.charge
          WHERE {TWO} > 60 AND {TWO} < 120
        )
        SELECT MET_pt FROM events SEMI JOIN good USING (event)
    """,
    "q6": f"""
        WITH jets AS ({objects("Jet", "btag", where="len(Jet_pt) >= 3")}),
        p AS (SELECT event, i, btag, {MOMENTUM} FROM jets),
        sums AS (
          SELECT a.event, greatest(a.btag, b.btag, c.btag) AS btag,
            a.x + b.x + c.x AS x, a.y + b.y + c.y AS y, a.z + b.z + c.z AS z, a.e + b.e + c.e AS e
          FROM p a JOIN p b ON a.event = b.event AND a.i < b.i JOIN p c ON b.event = c.event AND b.i < c.i
        ),
        best AS (SELECT arg_min(struct_pack(x, y, btag), abs(mass(x, y, z, e) - 172.5)) AS jet FROM sums GROUP BY event)
        SELECT sqrt(jet.x ** 2 + jet.y ** 2) AS trijet_pt, jet.btag AS trijet_btag FROM best
    """,
    "q7": f"""
        WITH jets AS ({objects("Jet")}),
        leptons AS ({objects("Muon")} UNION ALL {objects("Electron")}),
        hard AS (SELECT event, eta, phi FROM leptons WHERE pt > 10)
        SELECT sum(pt) AS ht FROM jets j
        WHERE pt > 30 AND NOT EXISTS (
          FROM hard l WHERE l.event = j.event AND sqrt((j.eta - l.eta) ** 2 + wrap(j.phi - l.phi) ** 2) < 0.4
        )
        GROUP BY event
    """,
    "q8": f"""
        WITH leptons AS (
          SELECT *, 0 AS kind FROM ({objects("Muon", "charge", where="len(Muon_pt) + len(Electron_pt) >= 3")})
          UNION ALL
          SELECT *, 1 AS kind FROM ({objects("Electron", "charge", where="len(Muon_pt) + len(Electron_pt) >= 3")})
        ),
        p AS (SELECT event, kind, i, charge, {MOMENTUM} FROM leptons),
        best AS (
          SELECT a.event, arg_min(struct_pack(kind := a.kind, i := a.i, j := b.i), abs({TWO} - 91.2)) AS pair
          FROM p a JOIN p b ON a.event = b.event AND a.kind = b.kind AND a.i < b.i AND a.charge <> b.charge
          GROUP BY a.event
        ),
        outside AS (
          SELECT l.event, arg_max(struct_pack(pt, phi), pt) AS lepton FROM leptons l JOIN best USING (event)
          WHERE kind <> pair.kind OR (i <> pair.i AND i <> pair.j) GROUP BY l.event
        )
        SELECT sqrt(2 * lepton.pt * MET_pt::DOUBLE * (1 - cos(MET_phi::DOUBLE - lepton.phi))) AS transverse_mass
        FROM events JOIN outside USING (event)
    """,
}
