"""The daemon's config: one TOML file that says which sources there are, and what becomes of their series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from ..core.errors import ConfigError, did_you_mean
from ..core.names import STEP_ID_RULE, is_step_id
from ..core.params import build_params
from ..core.source import Series
from ..core.spec import Spec
from ..network.socket import parse_endpoint
from ..session.files import read_toml
from .config import Config, load_config, parse_config
from .disk_config import DiskConfig, DiskTable, ExportTable, RetentionTable, check_disks
from .session_names import SessionNames
from .shipped import found_config
from .watched_folder import SCHEME, WatchedFolder

Table = TypeVar("Table", bound=msgspec.Struct)
CONTROL = "control"  # an endpoint's name in hello, where those of sources stand beside it
_DISK_TABLES: Mapping[str, type[msgspec.Struct]] = {
    "disk": DiskTable,
    "export": ExportTable,
    "retention": RetentionTable,
}
RECORD_ALONE = "[record]\nraw = true\n"


class DaemonTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[daemon]: where sessions go, where it answers, what it waits for."""

    folder: Annotated[str, Meta(description="the folder that sessions are written into, from this file's on")]
    name: Annotated[
        str,
        Meta(description="a session's folder in it: {source} {date} {time} {uid} {channel} {user.KEY}, parts by /"),
    ] = "{source}/{date}T{time}Z"
    status: Annotated[str, Meta(description="the endpoint that answers hello and status")] = "tcp://127.0.0.1:5570"
    control: Annotated[str | None, Meta(description="the endpoint that takes control; none: a free port")] = None
    metrics: Annotated[
        str | None, Meta(description="host:port of this machine for Prometheus and /healthz; none: nowhere")
    ] = None
    log: Annotated[Literal["text", "json"], Meta(description="lines of the log; --log overrides it")] = "text"
    catalogue: Annotated[
        str | None, Meta(description="the file of `streamfluo catalogue` that gets each session, from `folder` on")
    ] = None
    hung_s: Annotated[
        float, Meta(gt=0, description="a source that says nothing, or whose frames wait unmoved, is started again [s]")
    ] = 30.0


class SourceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[source]]: one source, which gives series after series."""

    name: Annotated[str, Meta(description="what it is called in sessions and messages")]
    uri: Annotated[str, Meta(description="tcp://…, ingest+tcp://…, mm:…, watch:FOLDER?pattern=*.tif")]
    chain: Annotated[
        str, Meta(description="the config of its chain, from this file's folder on; none: record alone")
    ] = ""
    publish: Annotated[str | None, Meta(description="where viewers ask while a series runs; none: nowhere")] = None


class RuleTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[rule]]: another chain for the series that it describes; the first rule that fits holds."""

    chain: Annotated[str, Meta(description="the config of the chain; empty: record alone")]
    source: Annotated[str | None, Meta(description="the source's name")] = None
    channel: Annotated[str | None, Meta(description="a channel that the series has")] = None
    user: Annotated[dict[str, Any], Meta(description="what the sender says of the series, key by key")] = {}

    def fits(self, source: str, spec: Spec, series: Series) -> bool:
        """Return whether a series is one that the rule describes."""
        channels = {spec.channel, *(plane.channel for plane in spec.planes)}
        said = all(series.user.get(key) == value for key, value in self.user.items())
        return said and self.source in (None, source) and (self.channel is None or self.channel in channels)


class DaemonConfig(msgspec.Struct, frozen=True):
    """A whole config of a daemon; its chains are read already, by the name that sources and rules give them."""

    where: Path
    daemon: DaemonTable
    names: SessionNames
    sources: tuple[SourceTable, ...]
    rules: tuple[RuleTable, ...]
    chains: Mapping[str, Config]
    disks: DiskConfig

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that sessions may lie in."""
        overflow = self.disks.overflow
        return (self.folder,) if overflow is None else (self.folder, overflow)

    @property
    def folder(self) -> Path:
        """The folder that sessions are written into."""
        return self.where.parent / self.daemon.folder

    @property
    def catalogue(self) -> Path | None:
        """The catalogue that sessions are added to once they are over."""
        return None if self.daemon.catalogue is None else self.folder / self.daemon.catalogue

    def source(self, name: str) -> SourceTable:
        """Return a source by name. Raises ConfigError with the nearest."""
        for source in self.sources:
            if source.name == name:
                return source
        raise ConfigError(f"{self.where}: no source {name!r}{did_you_mean(name, [s.name for s in self.sources])}")

    def chain(self, source: SourceTable, spec: Spec, series: Series) -> Config:
        """Return the chain's config for a series, with its publishing where the source's is."""
        fitting = (rule.chain for rule in self.rules if rule.fits(source.name, spec, series))
        return self._served(source, self.chains[next(fitting, source.chain)])

    def recording(self, source: SourceTable) -> Config:
        """Return the config of a series that is recorded alone."""
        return self._served(source, self.chains[""])

    def _served(self, source: SourceTable, config: Config) -> Config:
        disk, raw = self.disks.disk, config.record.raw
        record = msgspec.structs.replace(
            config.record,
            raw=True if raw is None else raw,
            when_full=disk.when_full or config.record.when_full,
            blocked_s=disk.blocked_s,
            slow_s=disk.slow_s,
        )
        publish = msgspec.structs.replace(config.publish, uri=source.publish)
        return msgspec.structs.replace(config, record=record, publish=publish)


def load_daemon_config(path: Path) -> DaemonConfig:
    """Read a daemon's config and those of its chains. Raises ConfigError with file, table and key."""
    tables = read_toml(path, "config")
    known = ("daemon", "source", "rule", *_DISK_TABLES)
    for name in tables:
        if name not in known:
            hint = (
                "; a chain is a file of its own, named in [[source]]" if name == "step" else did_you_mean(name, known)
            )
            raise ConfigError(f"{path}: no table [{name}]{hint}")
    daemon = build_params(DaemonTable, _tables(path, tables, "daemon")[0], f"{path}: [daemon]")
    try:
        names = SessionNames(daemon.name)
    except ConfigError as error:
        raise ConfigError(f"{path}: [daemon] {error}") from None
    sources = tuple(_built(path, SourceTable, tables, "source"))
    rules = tuple(_built(path, RuleTable, tables, "rule"))
    _check(path, daemon, sources, rules)
    chains = {"": parse_config(RECORD_ALONE, "record")}
    for name in dict.fromkeys([source.chain for source in sources] + [rule.chain for rule in rules]):
        if name:
            chains[name] = load_config(found_config(Path(name), path.parent))
    disks = DiskConfig(path.parent, **_disk_tables(path, tables))
    config = DaemonConfig(path, daemon, names, sources, rules, chains, disks)
    check_disks(path, disks, config.roots)
    return config


def _disk_tables(path: Path, tables: Mapping[str, Any]) -> dict[str, Any]:
    for name in (name for name in _DISK_TABLES if name in tables):
        if not isinstance(tables[name], dict):
            raise ConfigError(f"{path}: {name} is a table [{name}], found {str(tables[name])[:60]}")
    return {
        name: build_params(struct, tables[name], f"{path}: [{name}]")
        for name, struct in _DISK_TABLES.items()
        if name in tables
    }


def _built(path: Path, struct: type[Table], tables: Mapping[str, Any], name: str) -> Iterator[Table]:
    for n, table in enumerate(_tables(path, tables, name), 1):
        yield build_params(struct, table, f"{path}: [[{name}]] number {n}")


def _tables(path: Path, tables: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = tables.get(name, {} if name == "daemon" else [])
    if name == "daemon" and isinstance(found, dict):
        return [found]
    if name == "daemon" or not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        brackets = "[daemon]" if name == "daemon" else f"[[{name}]]"
        raise ConfigError(f"{path}: {name} is a table {brackets}, found {str(found)[:60]}")
    return found


def _check(path: Path, daemon: DaemonTable, sources: tuple[SourceTable, ...], rules: tuple[RuleTable, ...]) -> None:
    """Raises ConfigError for what each table alone does not show."""
    names = [source.name for source in sources]
    if not names:
        raise ConfigError(f"{path}: no source; give [[source]] with a name and a uri")
    for name in names:
        if not is_step_id(name):
            raise ConfigError(f"{path}: a source's name is {STEP_ID_RULE}, found {name[:80]!r}")
        if name == CONTROL:
            raise ConfigError(f"{path}: a source is not called {CONTROL!r}, which names an endpoint")
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two sources are called {name!r}")
    for source in sources:
        if source.uri.startswith(SCHEME):
            WatchedFolder(source.uri, path)
    for rule in rules:
        if rule.source is not None and rule.source not in names:
            raise ConfigError(f"{path}: [[rule]] source: no source {rule.source!r}{did_you_mean(rule.source, names)}")
    served = [
        daemon.status,
        *([daemon.control] if daemon.control else []),
        *(source.publish for source in sources if source.publish is not None),
    ]
    for uri in served:
        if parse_endpoint(uri).port != 0 and served.count(uri) > 1:
            raise ConfigError(f"{path}: {uri} is given twice; each endpoint needs a port of its own")
