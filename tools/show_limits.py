"""Print the main numbers of a run of hnl: python tools/show_limits.py runs/hnl."""

from __future__ import annotations

import sys
from pathlib import Path

import portico


def main(folder: Path) -> int:
    """Print, for each signal sample, the combined upper limit."""
    limits = portico.load(folder).summary("limits")["limits"]
    print(f"\nUpper limits at {limits['cl']:.0%} CL, all categories combined, in units of the sample's own yield:")
    print(f"  {'sample':24} {'m_N (GeV)':>9} {'expected':>10} {'+-1 sigma':>17} {'observed':>10}")
    for name, entry in limits["samples"].items():
        limit = entry["channels"]["combined"]["limit"]["signal_strength"]
        if limit is None:
            print(f"  {name:24} {entry['mass']:9.3g} no signal in the window")
            continue
        _, low, median, high, _ = limit["expected"]
        observed = "-" if limit["observed"] is None else f"{limit['observed']:.3g}"
        print(f"  {name:24} {entry['mass']:9.3g} {median:10.3g} {f'{low:.3g} .. {high:.3g}':>17} {observed:>10}")
    print(f"\nThe report: {folder / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
