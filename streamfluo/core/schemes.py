"""Who opens a URI: the scheme names an entry point."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from .errors import ConfigError, did_you_mean


def opener_of(uri: str, what: str) -> EntryPoint:
    """Return the entry point that opens an action or an input, `what`. Raises ConfigError where there is none."""
    scheme, colon, _ = uri.partition(":")
    known = {entry.name: entry for entry in entry_points(group=f"streamfluo.{what}s")}
    if not colon or scheme not in known:
        raise ConfigError(f"{uri!r}: no {what} of scheme {scheme!r}{did_you_mean(scheme, known)}")
    return known[scheme]
