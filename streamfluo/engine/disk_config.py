"""What a daemon's config says of its disks: exports on the way, what is deleted and when, where else series may go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..core.errors import ConfigError

DAY_S = 86400.0
_Positive = Annotated[float, Meta(gt=0)]
_Bytes = Annotated[int, Meta(gt=0)]


class ExportTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[export]: sessions that are over are exported while others run, at low priority, and read back."""

    folder: Annotated[str, Meta(description="the folder that exports are written into, from this file's on")]
    format: Annotated[Literal["ome-zarr", "tiff", "npy"], Meta(description="the format of the frames")] = "ome-zarr"


class RetentionTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[retention]: which sessions are deleted, once they are exported and both were read back."""

    keep_days: Annotated[
        _Positive | None, Meta(description="delete what has been over for so long [days]; none: never by age")
    ] = None
    quota_bytes: Annotated[
        _Bytes | None, Meta(description="delete the oldest while sessions take more [bytes]; none: never by size")
    ] = None


class DiskConfig(msgspec.Struct, frozen=True):
    """The tables of a daemon's disks, and the folder that they count from; None: no such table."""

    beside: Path
    export: ExportTable | None = None
    retention: RetentionTable | None = None

    @property
    def exports(self) -> Path:
        """The folder that exports are written into."""
        assert self.export is not None
        return self.beside / self.export.folder


def checked_disks(where: Path, disks: DiskConfig, roots: tuple[Path, ...]) -> DiskConfig:
    """Return the tables, which fit each other and the folders of sessions. Raises ConfigError."""
    if disks.retention is not None:
        if disks.export is None:
            raise ConfigError(f"{where}: [retention] deletes what is exported and verified; say where in [export]")
        if disks.retention.keep_days is None and disks.retention.quota_bytes is None:
            raise ConfigError(f"{where}: [retention]: give keep_days, quota_bytes or both")
    if disks.export is not None:
        exports = disks.exports.resolve()
        for root in roots:
            if exports.is_relative_to(root.resolve()) or root.resolve().is_relative_to(exports):
                raise ConfigError(f"{where}: [export] folder: {exports} and {root} lie in one another; keep them apart")
    return disks
