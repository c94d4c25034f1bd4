"""Text for terminals and files, without secrets of URLs and without control characters."""

from __future__ import annotations

import re

__all__ = ["has_secret", "names_secret", "shown", "without_secrets"]

# One slash is left of two where a URL was taken for a path; some messages have no more of a URL than from the user on.
_USER = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*:/{1,2})[^\s/?#@'\"<>:]*:[^\s/?#'\"<>]*@")
_BARE = re.compile(r"(?<![\w/.@:-])()[\w.-]+:[^\s/?#'\"<>@:]+@(?=[\w.-]+:\d)")
_QUERY = re.compile(
    r"(?i)([?&;](?:authz|access_token|bearer_token|token|password|passwd|pwd|secret|sig|signature|awsaccesskeyid|"
    r"x-amz-(?:signature|credential|security-token))=)(?!\.\.\.)(?:bearer(?:%20|[ +])+)?[^\s&;,'\"<>()]+"
)
_VARIABLE = re.compile(r"\w*(?:TOKEN|SECRET|PASSW|CREDENTIAL)\w*|\w*_KEY", re.IGNORECASE)
_HIDDEN = "..."
# What commands a terminal (C0, DEL, C1), and what makes a text look like another (marks that turn its direction).
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def shown(text: str) -> str:
    """Return a text as it may be shown in a terminal: no secrets, and control characters made visible.

    Parameters
    ----------
    text : str
        Of one line or several; line ends and tabs stay.
    """
    return _COMMANDS.sub(_visible, without_secrets(text))


def without_secrets(text: str) -> str:
    """Return a text in which user, password and tokens of URLs are shortened to ``...``; the rest stays.

    Parameters
    ----------
    text : str
        A URL, or words with URLs in them.
    """
    if "@" in text:
        for pattern in (_USER, _BARE):
            text = pattern.sub(rf"\1{_HIDDEN}@", text)
    return _QUERY.sub(rf"\1{_HIDDEN}", text) if "=" in text else text


def has_secret(url: str) -> bool:
    """Return whether a URL carries a password or a token."""
    return without_secrets(url) != url


def names_secret(variable: str) -> bool:
    """Return whether an environment variable of this name holds a secret, as far as its name tells."""
    return _VARIABLE.fullmatch(variable) is not None


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # the pictures of control characters, as wide as a letter
    return "\u2421" if code == 0x7F else "\ufffd"
