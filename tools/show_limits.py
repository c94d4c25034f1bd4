"""Print the main numbers of a run of hnl: python tools/show_limits.py runs/hnl."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import portico


def text_of(intervals: Sequence[Sequence[float | None]] | None) -> str:
    """Return excluded intervals of |V|^2 as text."""
    if intervals is None:
        return "blinded"
    if not intervals:
        return "none"
    ends = [["" if end is None else f"{end:.2g}" for end in interval] for interval in intervals]
    return ", ".join(f"{low} .. {high}" if low and high else f"> {low}" if low else f"< {high}" for low, high in ends)


def main(folder: Path) -> int:
    """Print, for each mass, which couplings are excluded."""
    found = portico.load(folder).summary("limits")["limits"]
    print(f"\nExcluded |V|^2 at {found['cl']:.0%} CL, all categories combined:")
    print(f"  {'m_N (GeV)':>9}  {'expected':20} {'-1 sigma':20} {'+1 sigma':20} {'observed':20} method")
    for mass in found["masses"]:
        expected = mass["excluded"]["expected"]
        texts = [text_of(expected[name]) for name in ("median", "m1", "p1")]
        observed = text_of(mass["excluded"]["observed"])
        print(f"  {mass['mass']:9.4g}  " + " ".join(f"{text:20}" for text in [*texts, observed]) + f" {mass['method']}")
    print(f"  {found['convention']}")
    for where in found["failed"]:
        print(f"  The fits did not converge at {where}")
    if not found["observed"]:
        print("  Data in the signal windows are hidden; to look at them: portico run hnl --unblind")
    print(f"\nThe exclusion plot: {folder / 'limits' / 'exclusion.png'}")
    print(f"The report:         {folder / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
