"""What a daemon's config says of its disks: exports on the way, what is deleted and when, where else series may go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..core.errors import ConfigError
from ..session.nwb_metadata import NwbMetadata, load_nwb_metadata

DAY_S = 86400.0
_Positive = Annotated[float, Meta(gt=0)]
_Bytes = Annotated[int, Meta(gt=0)]


class DiskTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[disk]: what happens when the disk of the sessions is slow, does not answer or is nearly full."""

    when_full: Annotated[
        Literal["wait", "skip", "stop"] | None, Meta(description="for every series; none: as the chain's [record] says")
    ] = None
    blocked_s: Annotated[
        float, Meta(gt=0, description="a call to the disk that has not come back for so long is said to hang [s]")
    ] = 10.0
    slow_s: Annotated[float, Meta(gt=0, description="a call to the disk that takes longer is said [s]")] = 1.0
    warn_left_s: Annotated[
        float, Meta(ge=0, description="warn when the disk is full in so long at the rate of the last minute [s]")
    ] = 7200.0
    overflow: Annotated[
        str | None, Meta(description="the folder on another disk for series that begin when the first is nearly full")
    ] = None
    overflow_left_s: Annotated[
        float, Meta(ge=0, description="nearly full: it would be so in so long at the rate of the last minute [s]")
    ] = 3600.0
    overflow_left_bytes: Annotated[int, Meta(ge=0, description="nearly full as well: so much is left [bytes]")] = (
        10 << 30
    )


class ExportTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[export]: sessions that are over are exported while others run, at low priority, and read back."""

    folder: Annotated[str, Meta(description="the folder that exports are written into, from this file's on")]
    format: Annotated[Literal["ome-zarr", "tiff", "npy", "nwb"], Meta(description="the format of the frames")] = (
        "ome-zarr"
    )
    metadata: Annotated[
        str | None, Meta(description="what an NWB says of the experiment: a TOML file, from this file's folder on")
    ] = None


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
    disk: DiskTable = DiskTable()

    @property
    def overflow(self) -> Path | None:
        """The folder on another disk."""
        return None if self.disk.overflow is None else self.beside / self.disk.overflow

    def __str__(self) -> str:
        said = []
        if self.overflow is not None:
            missing = "" if self.overflow.is_dir() else ", which is not there"
            said.append(f"series that begin on a nearly full disk go into {self.overflow}{missing}")
        if self.export is not None:
            said.append(f"sessions that are over are exported into {self.exports} as {self.export.format}")
        if self.retention is not None:
            days, quota = self.retention.keep_days, self.retention.quota_bytes
            limits = [f"after {days:g} days"] if days is not None else []
            limits += [f"the oldest while all take more than {quota / 1e9:g} GB"] if quota is not None else []
            said.append(f"exported and verified they are deleted {', and '.join(limits)}")
        return "\n".join(said)

    @property
    def exports(self) -> Path:
        """The folder that exports are written into."""
        assert self.export is not None
        return self.beside / self.export.folder

    @property
    def metadata(self) -> NwbMetadata | None:
        """What the NWBs say of the experiment, as its file says now. Raises ConfigError."""
        told = None if self.export is None else self.export.metadata
        return None if told is None else load_nwb_metadata(self.beside / told)


def check_disks(where: Path, disks: DiskConfig, roots: Sequence[Path]) -> None:
    """Raises ConfigError where the tables do not fit each other, or the folders that sessions lie in."""
    if disks.retention is not None:
        if disks.export is None:
            raise ConfigError(f"{where}: [retention] deletes what is exported and verified; say where in [export]")
        if disks.retention.keep_days is None and disks.retention.quota_bytes is None:
            raise ConfigError(f"{where}: [retention]: give keep_days, quota_bytes or both")
    if disks.export is not None and disks.export.metadata is not None:
        if disks.export.format != "nwb":
            raise ConfigError(f"{where}: [export] metadata are what an NWB says; format is {disks.export.format!r}")
        _ = disks.metadata
    if len(roots) > 1 and _nested(*roots):
        raise ConfigError(f"{where}: [disk] overflow: {roots[1]} and {roots[0]} lie in one another; keep them apart")
    if disks.export is not None:
        for root in roots:
            if _nested(exports := disks.exports, root):
                raise ConfigError(f"{where}: [export] folder: {exports} and {root} lie in one another; keep them apart")


def _nested(one: Path, other: Path) -> bool:
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)
