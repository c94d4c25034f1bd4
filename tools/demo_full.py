"""The demonstration with forty times as many data, so that all categories are fitted: python tools/demo_full.py FOLDER.

In the data of `make demo` hardly an event lies far from the beam, and limits are from counts. Here cuts of the far
categories are looser as well, so that each has some events in the window of a mass; the data, which are simulation
without signal, are not hidden, so that there are observed limits and p-values. Takes 6 GB of disk.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

import hnl
from portico.cli import main as portico

TIMES = 40
CUTS = {
    f"{category}/{name}": cut
    for category in ("SSlxy1to5", "OSlxy1to5", "SSlxy5toInf", "OSlxy5toInf")
    for name, cut in {
        "significance": "C_Hnl_vertex_2DSig_BS > 35",
        "pion impact parameter": "std::abs(C_pi_BS_ip_xy) > 0",
        "muon impact parameter": "C_mu_Hnl_BS_ips_xy > 0",
    }.items()
}


def full(times: int = TIMES) -> dict[str, Any]:
    """Return the content of ``analysis.yaml``, the dataset included."""
    folder = Path(hnl.__file__).parent
    analysis, dataset = (
        yaml.safe_load((folder / name).read_text(encoding="utf-8")) for name in ("analysis.yaml", "datasets.yaml")
    )
    dataset["luminosity"] *= times
    dataset["samples"]["data"]["entries"] *= times
    select = next(step for step in analysis["steps"] if step["name"] == "select")
    select["options"]["cuts"] = CUTS
    return {**analysis, "name": "hnl-full", "dataset": dataset}


def main(folder: Path) -> None:
    """Write the analysis beside the run, and run it."""
    written = folder.parent / f"{folder.name}.yaml"
    folder.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(yaml.safe_dump(full(), sort_keys=False), encoding="utf-8")
    sys.argv[1:] = ["run", str(written), "--run", str(folder), "--unblind"]
    portico()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
