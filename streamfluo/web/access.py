"""Who may look: a token that the program makes or a file keeps, pages of our own, and what a browser is told."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from ..core.errors import ConfigError

TOKEN_BYTES = 24
MIN_TOKEN = 16  # characters of one that a person chose
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
# Nothing but what this program serves is loaded or asked; no script stands in the page; nobody frames it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # the token stands in the page's address
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Place(NamedTuple):
    """Where pages are served."""

    host: str
    port: int

    @property
    def beyond(self) -> bool:
        """Whether other computers reach it."""
        return not (self.host in ("localhost", "::1") or self.host.startswith("127."))

    def url(self, token: str, name: str = "") -> str:
        """Return the address of the page; `name` stands for a host that is every one of this machine."""
        host = name if name and self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={token}"


def parse_bind(text: str) -> Place:
    """Read `HOST:PORT`, of an IPv6 address `[HOST]:PORT`; port 0 takes a free one. Raises ConfigError."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})", text)
    if found is None or int(found[3]) > 65535:
        raise ConfigError(f"--bind is HOST:PORT, as 127.0.0.1:8080 or [::1]:8080; found {text[:80]!r}")
    return Place(found[1] or found[2], int(found[3]))


def new_token() -> str:
    """Return a token that nobody guesses: 192 bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_of(path: Path) -> str:
    """Return the token that a file keeps, one that is not there yet with a new one, for nobody else to read.

    Raises ConfigError for a file that others may read, and for a token that is short or has odd characters.
    """
    try:
        if not path.exists():
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(f"{new_token()}\n")
        mode = path.stat().st_mode
        text = path.read_bytes()[:4096].decode("utf-8", "replace").strip()
    except OSError as error:
        raise ConfigError(f"{path}: the token cannot be read or made: {error.strerror or error}") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{path}: others may read this token; chmod 600 it")
    if len(text) < MIN_TOKEN or not _TOKEN.fullmatch(text):
        raise ConfigError(
            f"{path}: a token has {MIN_TOKEN} or more of the characters A-Z a-z 0-9 _ -; found {len(text)} characters; "
            "name a file that is not there, and it is made"
        )
    return text


def is_token(path: str, token: str) -> bool:
    """Return whether the address that was asked for has this token, in a time that does not tell how near it was."""
    try:
        said = parse_qs(urlsplit(path).query, max_num_fields=8).get("token", [])
    except ValueError:
        return False
    given = said[0] if len(said) == 1 else ""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def is_own_page(origin: str | None, host: str | None) -> bool:
    """Return whether a page that opens a WebSocket came from where it connects to; a browser says so always."""
    if not origin or not host:
        return False
    try:
        page = urlsplit(origin)
    except ValueError:
        return False
    return page.scheme in ("http", "https") and page.netloc.lower() == host.lower()
