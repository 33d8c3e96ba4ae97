"""Keys: who this account is, whom it lets in with which roles, and the servers that it knows.

Three files of a folder of this account, for nobody else to read: `identity` (TOML, the key pair), `allowed` (a line
`KEY ROLE,ROLE NAME` for each who may come in) and `servers` (a line `HOST:PORT KEY`). A key is 64 hexadecimal digits.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import zmq
from platformdirs import user_config_path
from zmq.utils import z85

from ..core.errors import ConfigError, did_you_mean

Role = Literal["view", "record", "send", "control"]
ROLES: tuple[Role, ...] = get_args(Role)
FOLDER_VARIABLE = "STREAMFLUO_KEYS"
MAX_FILE_BYTES = 1 << 20
MAX_NAME = 64
_KEY = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger("streamfluo")


class KeyPair(NamedTuple):
    """The key pair of an account: 64 hexadecimal digits each, the secret one for nobody else."""

    name: str
    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair({self.name!r}, {self.public}, …)"


class Allowed(NamedTuple):
    """Who may come in: a public key, its roles, and whose it is."""

    key: str
    roles: frozenset[str]
    name: str


def keys_folder() -> Path:
    """Return the folder of this account's keys: $STREAMFLUO_KEYS, else the user's configuration."""
    told = os.environ.get(FOLDER_VARIABLE)
    return Path(told) if told else user_config_path("streamfluo") / "keys"


def parse_key(text: str) -> str:
    """Return a public key as 64 hexadecimal digits. Raises ConfigError for anything else."""
    key = text.strip().lower()
    if not _KEY.fullmatch(key):
        found = f"{text[:24]!r}{'…' if len(text) > 24 else ''} of {len(text)} characters"
        raise ConfigError(f"a key is 64 hexadecimal digits, as `streamfluo keys show` prints it; found {found}")
    return key


def new_identity(name: str, folder: Path | None = None) -> KeyPair:
    """Make this account's key pair. Raises ConfigError where there is one already, or the name is none."""
    _check_name(name)
    path = (folder or keys_folder()) / "identity"
    if path.exists():
        raise ConfigError(
            f"{path}: this account has a key already; who knows it would have to be told another. "
            "Move the file away to make one"
        )
    public, secret = (z85.decode(half).hex() for half in zmq.curve_keypair())
    _write(path, f'name = "{name}"\npublic = "{public}"\nsecret = "{secret}"\n')
    return KeyPair(name, public, secret)


def identity(folder: Path | None = None) -> KeyPair:
    """Return this account's key pair. Raises ConfigError where there is none, or others may read it."""
    path = (folder or keys_folder()) / "identity"
    text = _read(path)
    if text is None:
        raise ConfigError(f"{path}: this account has no key; make one: streamfluo keys new NAME")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(f"{path}: others may read this secret key; chmod 600 it, or make a new one")
    try:
        told = tomllib.loads(text)
        pair = KeyPair(str(told["name"]), parse_key(str(told["public"])), parse_key(str(told["secret"])))
        belong = z85.decode(zmq.curve_public(z85.encode(bytes.fromhex(pair.secret)))).hex() == pair.public
    except (tomllib.TOMLDecodeError, KeyError, ConfigError):
        belong = False
    if not belong:
        raise ConfigError(f"{path}: no key pair (name, public, secret); move it away and make one: streamfluo keys new")
    return pair


def allow(key: str, roles: Iterable[str], name: str, folder: Path | None = None) -> Allowed:
    """Let a key in with these roles, instead of those that it had. Raises ConfigError for what is no key, role or
    name."""
    _check_name(name)
    wanted = frozenset(roles)
    for role in sorted(wanted):
        if role not in ROLES:
            raise ConfigError(f"no role {role!r}{did_you_mean(role, ROLES)}")
    if not wanted:
        raise ConfigError(f"a key without a role may do nothing; there is {', '.join(ROLES)}")
    entry = Allowed(parse_key(key), wanted, name)
    path = (folder or keys_folder()) / "allowed"
    _write_allowed(path, [*(a for a in read_allowed(path) if a.key != entry.key), entry])
    return entry


def revoke(which: str, folder: Path | None = None) -> list[Allowed]:
    """Let a key, or all of a name, in no more; returns what they were. Raises ConfigError where there is none."""
    path = (folder or keys_folder()) / "allowed"
    known = read_allowed(path)
    out = [a for a in known if which in (a.key, a.name)]
    if not out:
        raise ConfigError(f"{path}: no key or name {which[:64]!r}{did_you_mean(which, [a.name for a in known])}")
    _write_allowed(path, [a for a in known if a not in out])
    return out


def read_allowed(path: Path) -> list[Allowed]:
    """Return who may come in; a line that is none lets nobody in, and is said."""
    entries: list[Allowed] = []
    for n, line in enumerate((_read(path) or "").splitlines(), 1):
        words = line.split(None, 2)
        if not words or words[0].startswith("#"):
            continue
        roles = frozenset(words[1].split(",")) if len(words) > 1 else frozenset()
        if _KEY.fullmatch(words[0]) and roles and roles <= set(ROLES):
            entries.append(Allowed(words[0], roles, words[2] if len(words) > 2 else ""))
        else:
            log.warning("%s: line %d lets nobody in; write KEY %s NAME", path, n, ",".join(ROLES))
    return entries


def know_server(place: str, key: str, folder: Path | None = None) -> None:
    """Note the key of a server at HOST:PORT. Raises ConfigError where another one is known of it."""
    known = known_server(place, folder)
    if known not in (None, key):
        path = (folder or keys_folder()) / "servers"
        raise ConfigError(
            f"{place}: its key is known as {known}, not {key}. If the server has been given another, and you have it "
            f"from its owner, take the line of {place} out of {path}"
        )
    if known is None:
        path = (folder or keys_folder()) / "servers"
        _write(path, (_read(path) or "") + f"{place} {key}\n")


def known_server(place: str, folder: Path | None = None) -> str | None:
    """Return the key of the server at HOST:PORT, None for one that is not known."""
    for line in (_read((folder or keys_folder()) / "servers") or "").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == place and _KEY.fullmatch(words[1]):
            return words[1]
    return None


def _check_name(name: str) -> None:
    if not name or len(name) > MAX_NAME or not name.isprintable() or set(name) & set("\"'\\#"):
        raise ConfigError(f"a name has 1 to {MAX_NAME} printable characters, no quotes, # or \\; found {name[:80]!r}")


def _write_allowed(path: Path, entries: Iterable[Allowed]) -> None:
    lines = [f"{a.key} {','.join(r for r in ROLES if r in a.roles)} {a.name}".rstrip() + "\n" for a in entries]
    _write(path, "".join(lines))


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES >> 10} KiB; it lists keys, a line each")
    return data.decode("utf-8", "replace")


def _write(path: Path, text: str) -> None:
    """Put a file in its place at once, for its owner alone. Raises ConfigError where that cannot be."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):
            aside.unlink()
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from None
