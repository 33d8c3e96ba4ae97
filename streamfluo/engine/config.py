"""The config: one TOML file that says what a run does."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from ..core.errors import ConfigError, FrameError, did_you_mean
from ..core.names import STEP_ID_RULE, is_step_id
from ..core.params import build_params, literal
from ..core.spec import Camera, Spec
from ..core.thread_pool import ThreadPool, pool_of, usable_cores
from ..core.wire import SOURCE
from ..session.input_samples import FRAMES
from ..session.shared_pulses import SharedPulses
from .shipped import found_config, shipped_hint

_TABLES = ("source", "chain", "record", "publish")
Entry = TypeVar("Entry", bound=msgspec.Struct)


class SourceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where frames come from, and what is known of them."""

    uri: Annotated[str | None, Meta(description="file, sim:… or tcp://…; --source overrides it")] = None
    interval_s: Annotated[
        float | None,
        Meta(description="frame interval if the source does not state it [s]; given by --set also if it does"),
    ] = None
    pixel_um: Annotated[
        float | None,
        Meta(description="side of a pixel if the source does not state it [µm]; given by --set also if it does"),
    ] = None
    camera: Annotated[
        str | dict[str, float] | None,
        Meta(
            description="path of a calibration (.npz), or { offset_adu = 100, gain_e_per_adu = 0.5, … }: replaces what "
            "the source states; excess_noise = 2 behind an EM register"
        ),
    ] = None


class StepConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step: an operator, its place in the tree, its parameters."""

    kind: Annotated[str, Meta(description="the operator")]
    id: Annotated[str, Meta(description="the step's name; the kind, numbered if it is taken, unless stated")] = ""
    after: Annotated[str, Meta(description='the step whose frames it takes, or "source"; else the one above')] = ""
    inputs: Annotated[
        dict[str, str],
        Meta(
            description='which step a value comes from, { name = "step.name" }, or of another plane '
            '{ name = "red/step.name" }; else the nearest above'
        ),
    ] = {}
    planes: Annotated[
        list[str],
        Meta(description='the planes it runs on, "green" for all slices of a channel or "green/0"; else all there are'),
    ] = []
    params: Annotated[dict[str, Any], Meta(description="the operator's parameters")] = {}
    device: Annotated[
        str | None, Meta(description="cpu, or gpu where the operator runs on one; none: that of the chain")
    ] = None


class ChainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the steps are run."""

    threads: Annotated[
        Annotated[int, Meta(ge=1, le=256)] | None,
        Meta(
            description="of the chain, for branches, blocks that wait and bands of large frames; results are the same "
            "to the bit; none: as many as there are cores that this process may use"
        ),
    ] = None

    device: Annotated[
        Literal["cpu", "gpu"],
        Meta(description="where steps run that do not say it: gpu for those that can, the others on the processor"),
    ] = "cpu"

    @property
    def pool(self) -> ThreadPool | None:
        """The threads that steps share; None for one."""
        threads = self.threads or usable_cores()
        return None if threads == 1 else pool_of(threads)


class RecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is written besides the results."""

    raw: Annotated[
        bool | None, Meta(description="write the raw frames; none: those of streams, not what can be read again")
    ] = None
    steps: Annotated[
        list[str],
        Meta(
            description='steps whose own frames are written as well, each as an OME-Zarr in the session: `["motion"]` '
            "keeps the corrected movie"
        ),
    ] = []
    checkpoint_s: Annotated[
        float, Meta(gt=0, description="least time between two checkpoints of the chain's state [s]")
    ] = 30.0
    when_full: Annotated[
        Literal["wait", "skip", "stop"],
        Meta(
            description="while the disk takes no data frames wait; once the ring is nearly full they are left out "
            "(skip), or the run ends (stop)"
        ),
    ] = "wait"
    blocked_s: Annotated[
        float, Meta(gt=0, description="a call to the disk that has not come back for so long is said to hang [s]")
    ] = 10.0
    slow_s: Annotated[float, Meta(gt=0, description="a call to the disk that takes longer is said [s]")] = 1.0


class ActionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[action]]: what is done when a trigger fires."""

    on: Annotated[str, Meta(description="the step whose decisions it is done for")]
    to: Annotated[str, Meta(description="where to, or what: pub+tcp, push+tcp, osc, serial, http, lsl, python")]
    message: Annotated[
        str | None, Meta(description="what is sent, with $step, $frame, $t_s, $series_uid; none: JSON of the decision")
    ] = None
    deadline_ms: Annotated[
        float, Meta(gt=0, description="later than this after the frame arrived it is not done, and counted [ms]")
    ] = 100.0
    replayed: Annotated[
        bool, Meta(description="done for frames that are read again too, from a file or on the way to resume")
    ] = False
    at_end: Annotated[
        str | None,
        Meta(description="a message that is sent last, when the run ends or its step is muted: a laser's safe value"),
    ] = None


class InputConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[input]]: another stream, recorded beside the frames."""

    name: Annotated[str, Meta(description="what it is called in the session, `running`")]
    uri: Annotated[str, Meta(description="where it comes from: sub+tcp, udp, serial, lsl, ni, frames+tcp, frame")]
    silent_s: Annotated[float, Meta(gt=0, description="it is said when nothing came for so long [s]")] = 10.0
    pulses: Annotated[
        SharedPulses | None, Meta(description="pulses that set its clock: { of = ..., level = ... }, see below")
    ] = None


class PublishConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where viewers and other programs ask, and how often they are sent something."""

    uri: Annotated[str | None, Meta(description="the data endpoint; none: nowhere; --publish overrides it")] = None
    results: Annotated[str | None, Meta(description="the results endpoint; none: a free port")] = None
    control: Annotated[str | None, Meta(description="the control endpoint; none: a free port")] = None
    hz: Annotated[float, Meta(gt=0, le=100, description="largest rate of each snapshot [Hz]")] = 10.0
    preview_hz: Annotated[float, Meta(gt=0, le=100, description="largest rate of frames in a preview [Hz]")] = 30.0


class Config(msgspec.Struct, frozen=True):
    """A whole config; every step has its id and knows which step it comes after."""

    where: str
    source: SourceConfig
    steps: tuple[StepConfig, ...]
    chain: ChainConfig
    record: RecordConfig
    publish: PublishConfig
    actions: tuple[ActionConfig, ...]
    inputs: tuple[InputConfig, ...]
    text: str
    stated: frozenset[str] = (
        frozenset()
    )  # the targets of --set, now and in the run that the text is of: `motion.smooth`
    changed: frozenset[str] = frozenset()  # those of now


def with_overrides(config: Config, spec: Spec) -> Spec:
    """Return the spec with what the config's [source] states.

    Interval and pixel size are used where the source has none; those given by --set go before the source's too. Raises
    ConfigError for a calibration that does not fit the frames.
    """
    stated = config.source
    if stated.interval_s is not None and (spec.interval_s is None or "source.interval_s" in config.stated):
        spec = spec.with_(interval_s=stated.interval_s)
    if stated.pixel_um is not None and (spec.pixel_um is None or "source.pixel_um" in config.stated):
        spec = spec.with_(pixel_um=stated.pixel_um)
    if stated.camera is None:
        return spec
    try:
        found = Camera.load(stated.camera) if isinstance(stated.camera, str) else Camera(**stated.camera)
        return spec.with_(camera=(spec.camera or Camera()).updated(found.for_frames(spec)))
    except TypeError:
        known = ", ".join(f.name for f in fields(Camera))
        raise ConfigError(
            f"{config.where}: [source] camera: of a camera there is {known}; found {stated.camera}"
        ) from None
    except FrameError as error:
        raise ConfigError(f"{config.where}: [source] camera: {error}") from None


def load_config(path: str | os.PathLike[str], changes: Sequence[str] = ()) -> Config:
    """Read a config, a file or the name of a shipped one; `changes` are `step.key=value` or `source.key=value`.

    Raises ConfigError with the place.
    """
    path = found_config(Path(path))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not utf-8 text"
        absent = shipped_hint(path) if isinstance(error, FileNotFoundError) else ""
        hint = absent if path.suffix in ("", ".toml") else "; a config is a TOML file, a source is named by --source"
        raise ConfigError(f"{path}: cannot read the config: {reason}{hint}") from None
    return parse_config(text, path.name, changes)


def parse_config(text: str, where: str = "config", changes: Sequence[str] = ()) -> Config:
    """Parse a config's text. Raises ConfigError that names the table, the key and what was found.

    `changes` are noted in the first line of the text that it keeps, `set = [...]`, and are made again when that is run.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None
    before, text = _noted(tables.pop("set", []), text, where)
    noted = {_target(change): change for change in (*before, *changes)}
    known = ("step", "action", "input", *_TABLES)
    for name in tables:
        if name not in known:
            raise ConfigError(f"{where}: no table [{name}]{did_you_mean(name, known)}")
    entries = tables.get("step", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ConfigError(f"{where}: steps are tables [[step]], with double brackets")
    steps = _place(where, [_step(where, n, entry) for n, entry in enumerate(entries, 1)])
    for change in noted.values():
        steps, tables = _changed(where, steps, tables, change)
    return Config(
        where=where,
        source=_table(SourceConfig, tables, "source", where),
        steps=tuple(steps),
        chain=_table(ChainConfig, tables, "chain", where),
        record=_table(RecordConfig, tables, "record", where),
        publish=_table(PublishConfig, tables, "publish", where),
        actions=tuple(_entries(where, tables, "action", ActionConfig)),
        inputs=_inputs(where, tables),
        text=f"set = {json.dumps(list(noted.values()), ensure_ascii=False)}\n{text}" if noted else text,
        stated=frozenset(noted),
        changed=frozenset(map(_target, changes)),
    )


def _noted(found: Any, text: str, where: str) -> tuple[list[str], str]:
    """Return what a run's config says was changed when it ran, and the text without that line."""
    if found == []:
        return [], text
    first, _, rest = text.partition("\n")
    if not (
        isinstance(found, list) and all(isinstance(c, str) for c in found) and re.fullmatch(r"set = \[.*\]\r?", first)
    ):
        raise ConfigError(f'{where}: set is the first line, set = ["step.key=value"], as a run writes it')
    return found, rest


def _target(change: str) -> str:
    return change.partition("=")[0].strip()


def _table(struct: Any, tables: Mapping[str, Any], name: str, where: str) -> Any:
    values = tables.get(name, {})
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: {name} is a table [{name}], found {values!r}")
    return build_params(struct, values, f"{where}: [{name}]")


def _step(where: str, number: int, entry: Mapping[str, Any]) -> StepConfig:
    name = entry.get("id") or entry.get("kind") or f"number {number}"
    return build_params(StepConfig, entry, f"{where}: step {name!r}")


def _entries(where: str, tables: Mapping[str, Any], name: str, struct: type[Entry]) -> Iterator[Entry]:
    entries = tables.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{where}: {name}s are tables [[{name}]], with double brackets")
    for number, entry in enumerate(entries, 1):
        yield build_params(struct, entry, f"{where}: {name} number {number}")


def _inputs(where: str, tables: Mapping[str, Any]) -> tuple[InputConfig, ...]:
    inputs = tuple(_entries(where, tables, "input", InputConfig))
    names = [one.name for one in inputs]
    for name in names:
        if not is_step_id(name) or name == FRAMES:
            raise ConfigError(f"{where}: input {name!r} must be {STEP_ID_RULE}; not {FRAMES!r}")
        if names.count(name) > 1:
            raise ConfigError(f"{where}: two inputs are called {name!r}; give one of them another name")
    for one in inputs:
        of = None if one.pulses is None else one.pulses.of
        known = [FRAMES, *(name for name in names if name != one.name)]
        if of is not None and of not in known:
            raise ConfigError(f"{where}: input {one.name!r}: pulses: no other input {of!r}{did_you_mean(of, known)}")
        if of is not None and one.uri.startswith("frame:"):
            raise ConfigError(f"{where}: input {one.name!r}: pulses: it has the frames' own clock already")
    return inputs


def _place(where: str, steps: Sequence[StepConfig]) -> list[StepConfig]:
    """Give every step its id and the step it comes after."""
    placed: list[StepConfig] = []
    for step in steps:
        ids = [s.id for s in placed]
        name = step.id or _free(step.kind, ids)
        if not is_step_id(name) or name == SOURCE:
            raise ConfigError(f"{where}: step id {name!r} must be {STEP_ID_RULE}; not 'source'")
        if name in ids:
            raise ConfigError(f"{where}: two steps have the id {name!r}; give one of them another id")
        after = step.after or (ids[-1] if ids else SOURCE)
        if after not in (SOURCE, *ids):
            below = any(after in (s.id, s.kind) for s in steps)
            hint = "; it stands below, put it above" if below else did_you_mean(after, (SOURCE, *ids))
            raise ConfigError(f"{where}: step {name!r}: after = {after!r} is no step above it{hint}")
        placed.append(msgspec.structs.replace(step, id=name, after=after))
    return placed


def _free(kind: str, ids: Sequence[str]) -> str:
    name, n = kind, 1
    while name in ids:
        n += 1
        name = f"{kind}-{n}"
    return name


def _changed(
    where: str, steps: list[StepConfig], tables: dict[str, Any], change: str
) -> tuple[list[StepConfig], dict[str, Any]]:
    """Steps and tables with `name.key=value` in them; a step that has the name of a table goes first."""
    target, equals, stated = change.partition("=")
    name, dot, key = target.strip().partition(".")
    if not (equals and dot and key):
        raise ConfigError(f"--set {change}: write step.key=value, or source., chain., record. or publish.key=value")
    ids = [s.id for s in steps]
    if name not in (*ids, *_TABLES):
        raise ConfigError(f"--set {change}: no step {name!r} in {where}{did_you_mean(name, (*ids, *_TABLES))}")
    value = literal(stated)
    if name not in ids and isinstance(tables.get(name, {}), dict):
        return steps, {**tables, name: {**tables.get(name, {}), key: value}}
    replaced = [msgspec.structs.replace(s, params={**s.params, key: value}) if s.id == name else s for s in steps]
    return replaced, tables
