"""Figures of results. Every function returns a matplotlib `Figure`, saves nothing and leaves pyplot alone."""

from portico.plot.distributions import Region, histogram, overlay, spectrum
from portico.plot.label import label
from portico.plot.stacked import stack
from portico.plot.style import stamp, to_label
from portico.plot.tables import cutflow, heatmap, profile

__all__ = [
    "Region", "cutflow", "heatmap", "histogram", "label", "overlay", "profile", "spectrum", "stack", "stamp",
    "to_label",
]  # fmt: skip
