"""The unit file by which systemd runs the daemon."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..core.errors import ConfigError
from .daemon_config import DaemonConfig

_UNIT = """\
[Unit]
Description=streamfluo: recordings of {sources}
After=network.target
RequiresMountsFor={folder}
# A disk or a network that comes late is waited for as long as it takes.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={python} -m streamfluo daemon {config}
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=30
Restart=always
RestartSec=2
TimeoutStopSec=120
KillMode=mixed
# Frames must not be swapped out, nor the first thing that is killed when memory is short.
OOMScoreAdjust=-500
LimitNOFILE=65536
{hardening}
[Install]
WantedBy={target}
"""
_SYSTEM = """\
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={writable}
PrivateTmp=yes
# Compiled kernels, which cannot lie beside the program then.
CacheDirectory=streamfluo
Environment=NUMBA_CACHE_DIR=%C/streamfluo
"""


def unit_file(config: DaemonConfig, system: bool) -> str:
    """Return the unit of a daemon's config, for the system's or for this user's service manager.

    The system's may write into the folders of sessions, exports and the catalogue alone; all but the first may be
    absent when it starts.
    """
    exports = [] if config.disks.export is None else [config.disks.exports]
    catalogues = [] if config.catalogue is None else [config.catalogue.parent]
    places = dict.fromkeys(str(folder.resolve()) for folder in (*config.roots, *exports, *catalogues))
    first, *others = places
    writable = " ".join(map(_quoted, [first, *(f"-{other}" for other in others)]))
    return _UNIT.format(
        sources=", ".join(source.name for source in config.sources),
        python=_quoted(sys.executable),
        config=_quoted(str(config.where.resolve())),
        folder=_quoted(first),
        hardening=_SYSTEM.format(writable=writable) if system else "",
        target="multi-user.target" if system else "default.target",
    )


def install_unit(config: DaemonConfig, system: bool) -> Path:
    """Write the unit where the service manager looks for it. Raises ConfigError where that cannot be."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    folder = Path("/etc/systemd/system") if system else home / "systemd" / "user"
    path = folder / f"streamfluo-{config.where.stem}.service"
    try:
        config.folder.mkdir(parents=True, exist_ok=True)  # of a system's service only this folder can be written
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(unit_file(config, system))
    except OSError as error:
        hint = "; run it with sudo, or --user" if system else ""
        raise ConfigError(f"{path}: cannot write the unit: {error.strerror}{hint}") from None
    return path


def _quoted(text: str) -> str:
    """A word of a unit file: a space ends none, and % and $ mean themselves."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(c in escaped for c in ' "\\') else escaped
