"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["duration", "rate", "share", "size"]


def size(count: float) -> str:
    """Write a number of bytes, in powers of 1000: ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Write a time: ``0.42 s``, ``12.3 s``, ``4 min 05 s``, ``2 h 10 min``."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def rate(per_second: float) -> str:
    """Write entries per second: ``950 /s``, ``12.3 k/s``, ``1.20 M/s``; a dash for none."""
    if per_second <= 0:
        return "-"
    if per_second < 999.5:
        return f"{per_second:.0f} /s" if per_second >= 10 else f"{per_second:.1f} /s"
    if per_second < 999_500:
        return f"{per_second / 1e3:.0f} k/s" if per_second >= 99_950 else f"{per_second / 1e3:.1f} k/s"
    return f"{per_second / 1e6:.2f} M/s"


def share(part: float, whole: float) -> str:
    """Write a part in percent, never rounded up to 100%; a dash if there is no whole."""
    if whole <= 0:
        return "-"
    percent = 100 * part / whole
    if part >= whole:
        return "100%"
    return f"{percent:.0f}%" if 10 <= percent < 99 else f"{min(percent, 99.9):.1f}%"
