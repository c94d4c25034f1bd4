"""A terminal that ignores control characters in names and messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from portico.shown import has_secret, shown, without_secrets

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType

__all__ = ["SafeConsole"]


class SafeConsole(Console):
    """A console that shows control characters in texts as signs and leaves secrets out; its own colours stay."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as it is shown, before parts of it get colours."""
        return super().render_str(shown(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return what is shown, piece by piece; a text with a secret loses its colours, since lines may cut it."""
        if isinstance(renderable, Text) and has_secret(renderable.plain):
            plain = without_secrets(renderable.plain)
            renderable = Text(plain, renderable.style, overflow=renderable.overflow, no_wrap=renderable.no_wrap)
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(shown(segment.text), segment.style)
