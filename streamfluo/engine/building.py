"""Steps built from a config: each placed in its plane's tree, behind what it gets frames and values from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ..core.card import card_fault
from ..core.errors import ConfigError, FrameError, did_you_mean
from ..core.operator import Gives, Operator, SnapshotOperator
from ..core.params import build_params
from ..core.plane import Plane, in_plane, select_planes
from ..core.registry import find_operator
from ..core.spec import Spec
from ..core.step_values import Gate
from ..core.wire import SOURCE
from ..session.health import StepTimes
from .config import Config, StepConfig
from .loading import with_files


@dataclass
class Step:
    """An operator placed in a chain: where its frames and inputs come from, and how it fares.

    Of a stream of several planes each has steps of its own, whose ids begin with it: `green/0/extract`. `after` is the
    step whose frames it takes. `givers` maps each name in `needs`, and in `may_need` where one gives it, to (step id,
    name); `pools` each name that it takes of several planes to all of theirs; `snapshots` are the needs that are met by
    one. `met` and `planes` are what its operator was told of them. A `late` step takes values of planes that take some
    of its own: it runs once they all have come to its frames.
    `axis` names the frame axis it sees: steps on the same axis see the same frames. `muted` holds the error that took
    it out of the chain, `doubt` what its operator says against its results; `usual_ns` is what a frame took of late.
    """

    config: StepConfig
    plane: str
    after: str
    operator: Operator
    axis: str
    givers: dict[str, tuple[str, str]]
    gate: Gate
    params: Any = None
    pools: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    late: bool = False
    snapshots: tuple[str, ...] = ()
    next_index: int | None = None
    muted: str | None = None
    doubt: str = ""
    times: StepTimes = field(default_factory=StepTimes)
    usual_ns: float = 0.0
    met: Mapping[str, Gives] = field(default_factory=dict)
    planes: Sequence[Plane] = ()

    @property
    def card(self) -> str:
        """The card that it runs on, "" on the processor."""
        return self.operator.card.name if self.operator.card is not None else ""

    def to_processor(self) -> None:
        """Build its operator anew on the processor; it knows nothing yet."""
        before = self.operator
        self.operator = type(before)(self.params, before.spec, "cpu")
        self.operator.meet(self.met)
        self.operator.meet_planes(self.planes)
        self.gate = Gate(self.id, self.operator)

    @property
    def id(self) -> str:
        """The step's id."""
        return in_plane(self.plane, self.config.id)

    @property
    def pools_of(self) -> set[str]:
        """The steps that it takes values of several planes of."""
        return {giver for givers in self.pools.values() for giver, _ in givers}

    @property
    def takes_of(self) -> set[str]:
        """The steps that it takes values of."""
        return self.pools_of | {giver for giver, _ in self.givers.values()}

    @property
    def lives_on_frames(self) -> bool:
        """Whether it takes values of frames, not snapshots."""
        return not isinstance(self.operator, SnapshotOperator)


class Builder:
    """Builds the steps of a config for one spec, planes by planes. Raises ConfigError with file, step and parameter."""

    def __init__(self, config: Config, spec: Spec) -> None:
        self.steps: list[Step] = []
        self.events: list[dict[str, Any]] = []
        self._config, self._spec = config, spec
        self._after = {step.id: step.after for step in config.steps}
        for step in config.steps:
            place = f"{config.where}: step {step.id!r}"
            try:
                planes = select_planes(step.planes, spec.plane_names) if step.planes else spec.plane_names
            except FrameError as error:
                raise ConfigError(f"{place}: {error}") from None
            if find_operator(step.kind, place).once:
                self.steps += self._build_once(place, step, planes)
            else:
                self.steps += [self._build(place, step, plane) for plane in planes]
        self._check_order()

    def leaders(self) -> dict[str, set[str]]:
        """Return for each plane those whose frames must come first: its steps take values of them."""
        leaders: dict[str, set[str]] = {}
        for step in self.steps if self._spec.planes else ():
            others = self._planes_of(step) - {step.plane}
            if others and step.lives_on_frames and not step.late:
                leaders.setdefault(step.plane, set()).update(others)
        return leaders

    def awaited(self) -> set[str]:
        """Return the planes that late steps wait for."""
        return {plane for step in self.steps if step.late for plane in {step.plane, *self._planes_of(step)}}

    def _planes_of(self, step: Step) -> set[str]:
        """The planes that a step takes values of."""
        return {other.plane for other in self.steps if other.id in step.takes_of}

    def _build_once(self, place: str, config: StepConfig, planes: Sequence[str]) -> list[Step]:
        """Build a step that stands once for the slices of a channel, in the first of those in which it finds something.

        It takes frames only as they came. Raises ConfigError where nothing gives what it takes.
        """
        wanted = find_operator(config.kind, place).of_planes
        for name in wanted:
            if not _is_pool(named := config.inputs.get(name, "*/step")):
                raise ConfigError(f"{place}: {name!r} is of several planes, `*/step.{name}`, found {named!r}")
        slices: dict[str, list[str]] = {}
        for plane in planes:
            if all(name in config.inputs or self._nearest(plane, name) for name in wanted):
                slices.setdefault(plane.rpartition("/")[0], []).append(plane)
        built = []
        for channel, found in slices.items():
            own = f"{channel}/*/" if channel else "*/"
            names = {name: f"{own}{self._nearest(found[0], name)}.{name}" for name in wanted}
            stated = msgspec.structs.replace(config, after=SOURCE, inputs=names | config.inputs)
            built.append(self._build(place, stated, found[0], found))
        if not built:
            raise ConfigError(f"{place}: nothing above gives all of {', '.join(wanted)}; put what does before it")
        return built

    def _nearest(self, plane: str, name: str) -> str:
        """The nearest step of a plane that gives a value of a name, "" if none does."""
        own = (step for step in reversed(self.steps) if step.plane == plane)
        return next((s.config.id for s in own if any(g.name == name for g in s.operator.gives)), "")

    def _build(self, place: str, config: StepConfig, plane: str, among: Sequence[str] = ()) -> Step:
        operator_class = find_operator(config.kind, place)
        parent = self._parent(config, plane)
        root = in_plane(plane, SOURCE)
        spec = parent.operator.out_spec if parent else self._spec.plane(plane)
        axis = root if parent is None else parent.axis
        if parent is not None and parent.operator.frame_axis == "own":
            axis = parent.id
        try:
            stated = with_files(operator_class, config.params, spec)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None
        params = build_params(operator_class.Params, stated, place)
        operator = self._operator(place, in_plane(plane, config.id), config, params, spec)
        gate = Gate(in_plane(plane, config.id), operator)
        step = Step(config, plane, parent.id if parent else root, operator, axis, {}, gate, params)
        step.givers = self._givers(place, step)
        step.pools = self._pools(place, step, among)
        step.snapshots = self._snapshots(place, step)
        step.met = {need: self._given(*giver) for need, giver in step.givers.items()}
        step.planes = self._pooled_planes(step)
        try:
            operator.meet(step.met)
            operator.meet_planes(step.planes)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None
        own = {other.id for other in self.steps if other.plane == plane}
        step.late = (parent is not None and parent.late) or bool(step.pools_of & own)
        self._check_late(place, step)
        return step

    def _operator(self, place: str, name: str, config: StepConfig, params: Any, spec: Spec) -> Operator:
        """The operator of a step, on the device that it or the chain states; on the processor, which is noted, where
        the card fails and where the chain's device is none that it runs on."""
        kind, device = find_operator(config.kind, place), config.device or self._config.chain.device
        why = ""
        if config.device is None and device not in kind.devices:
            why, device = "it has no twin on a card", "cpu"
        try:
            operator = kind(params, spec, device)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None
        except Exception as error:
            if device == "cpu" or (fault := card_fault(error)) is None:
                raise
            why, operator = str(fault), kind(params, spec, "cpu")
        if why:
            self.events.append(runs_on_processor(name, 0, why))
        return operator

    def _parent(self, config: StepConfig, plane: str) -> Step | None:
        """The nearest step on the way to the source that this plane has."""
        built = {step.config.id: step for step in self.steps if step.plane == plane}
        after = config.after
        while after != SOURCE and after not in built:
            after = self._after[after]
        return built.get(after)

    def _givers(self, place: str, step: Step) -> dict[str, tuple[str, str]]:
        config, operator = step.config, step.operator
        for name in config.inputs:
            if name not in (known := (*operator.needs, *operator.may_need)):
                hint = did_you_mean(name, known) if known else "; it takes none"
                raise ConfigError(f"{place}: no input {name!r}{hint}")
        wanted = (*operator.needs, *(name for name in operator.may_need if name in config.inputs))
        givers = {need: self._giver(place, need, step) for need in wanted if not _is_pool(config.inputs.get(need))}
        return self._givers_on_the_way(step) | givers

    def _snapshots(self, place: str, step: Step) -> tuple[str, ...]:
        """The needs of a step of frames that are met by snapshots. Raises ConfigError behind a frame axis of its own:
        there nothing cuts blocks where they are read."""
        if not step.lives_on_frames:
            return ()
        met = step.givers | {need: givers[0] for need, givers in step.pools.items()}
        found = tuple(need for need, giver in met.items() if self._given(*giver).kind == "snapshot")
        if found and step.axis != in_plane(step.plane, SOURCE):
            raise ConfigError(
                f"{place}: {found[0]!r} is a snapshot; take it before a step that hands on its own frames"
            )
        return found

    def _pools(self, place: str, taker: Step, among: Sequence[str]) -> dict[str, tuple[tuple[str, str], ...]]:
        """For each name that the config takes of several planes, `*/motion.shift_px`, the (step id, name) of theirs.

        `among`: of these planes alone, where there are any.
        """
        pools = {}
        for need, named in taker.config.inputs.items():
            if not _is_pool(named):
                continue
            if need not in taker.operator.of_planes:
                raise ConfigError(f"{place}: {need!r} is of one plane, not of several, found {named!r}")
            channel, _, value = named.rpartition("/")
            channel = channel.removesuffix("*").removesuffix("/")
            names = self._spec.plane_names
            try:
                planes = select_planes([channel], names) if channel else names
            except FrameError as error:
                raise ConfigError(f"{place}: {error}") from None
            having = [p for p in planes if self._has(p, value.partition(".")[0]) and (not among or p in among)]
            pools[need] = tuple(self._named(place, f"{plane}/{value}", need, taker) for plane in having or planes[:1])
        return pools

    def _pooled_planes(self, step: Step) -> list[Plane]:
        """The planes that a step takes of, in their order, with the pixel size of the frames that its givers saw."""
        by_id, by_name = {s.id: s for s in self.steps}, {plane.name: plane for plane in self._spec.planes}
        givers = [by_id[giver] for giver, _ in next(iter(step.pools.values()), ())]
        return [replace(by_name[s.plane], pixel_um=s.operator.spec.pixel_um) for s in givers if s.plane in by_name]

    def _has(self, plane: str, step_id: str) -> bool:
        return any(step.plane == plane and step.config.id == step_id for step in self.steps)

    def _check_late(self, place: str, step: Step) -> None:
        """Raises ConfigError for a late step that gets frames which do not wait, or one that takes of late ones."""
        if step.late and step.after not in (in_plane(step.plane, SOURCE), *(s.id for s in self.steps if s.late)):
            raise ConfigError(
                f"{place}: it waits for all planes, and can take frames only as they came; write after = {SOURCE!r}"
            )
        for giver in self.steps:
            if giver.id in step.takes_of and giver.late and apart(giver, step) and not step.operator.once:
                raise ConfigError(f"{place}: step {giver.id!r} waits for all planes; take what it takes instead")

    def _givers_on_the_way(self, taker: Step) -> dict[str, tuple[str, str]]:
        """For each name in `may_need` the nearest step that this one's frames came through and that gives it."""
        givers: dict[str, tuple[str, str]] = {}
        by_id = {step.id: step for step in self.steps}
        after = taker.after
        while (step := by_id.get(after)) is not None and step.axis == taker.axis:
            given = {g.name for g in step.operator.gives if g.kind == "per_frame"}
            names = [name for name in taker.operator.may_need if name in given and name not in givers]
            givers |= {name: (step.id, name) for name in names}
            after = step.after
        return givers

    def _giver(self, place: str, need: str, taker: Step) -> tuple[str, str]:
        """The step and the name that a need is met by: what the config names, else the nearest above that gives it."""
        named = taker.config.inputs.get(need) or (need if "." in need else None)
        return self._named(place, named, need, taker)

    def _given(self, giver: str, name: str) -> Gives:
        """What a step gives under a name."""
        gate = next(step.gate for step in self.steps if step.id == giver)
        return gate.given(name)

    def _named(self, place: str, named: str | None, need: str, taker: Step) -> tuple[str, str]:
        wanted: tuple[str, ...] = ("per_frame", "by_id", "table") if taker.lives_on_frames else ("snapshot",)
        wanted += ("snapshot",) if taker.operator.reads_every else ()
        selector, _, value = (named or f".{need}").rpartition("/")
        step_id, _, name = value.partition(".")
        plane = self._plane_named(place, selector, taker.plane)
        for step in reversed(self.steps):
            if step.plane != plane or (step_id and step.config.id != step_id):
                continue
            given = [g for g in step.operator.gives if g.name == (name or need) and g.kind in wanted]
            if given and taker.lives_on_frames:
                _check_frames(place, f"{need!r} of step {step.id!r}", step, taker, given[0].kind)
            if given:
                return step.id, given[0].name
        everything = [
            f"{step.id if step.plane != taker.plane else step.config.id}.{g.name}"
            for step in self.steps
            for g in step.operator.gives
            if g.kind in wanted
        ]
        raise ConfigError(f"{place}: nothing above gives {named or need!r}{did_you_mean(named or need, everything)}")

    def _plane_named(self, place: str, selector: str, own: str) -> str:
        """The plane that an input names; of a channel the slice beside this plane's, or the only one."""
        if not selector:
            return own
        try:
            planes = select_planes([selector], self._spec.plane_names)
        except FrameError as error:
            raise ConfigError(f"{place}: {error}") from None
        beside = f"{selector}/{own.rpartition('/')[2]}"
        if len(planes) == 1 or beside not in planes:
            if len(planes) > 1:
                raise ConfigError(f"{place}: {selector!r} is {len(planes)} planes; name one: {', '.join(planes)}")
            return planes[0]
        return beside

    def _check_order(self) -> None:
        """Raises ConfigError where planes take values from each other in a circle: none could come first."""
        leaders, done = self.leaders(), set[str]()
        while waiting := [plane for plane in leaders if plane not in done]:
            ready = [plane for plane in waiting if not leaders[plane] & set(waiting)]
            if not ready:
                where = self._config.where
                raise ConfigError(
                    f"{where}: planes {', '.join(waiting)} take values from each other; one must be first"
                )
            done.update(ready)


def runs_on_processor(step: str, frame: int, why: str) -> dict[str, Any]:
    """Return the event that says that a step which was to run on a card does not."""
    return {"event": "noted", "step": step, "frame": frame, "said": f"runs on the processor: {why}"}


def apart(giver: Step, taker: Step) -> bool:
    """Return whether values go from one step to another by a detour: over planes, or from one to a late one."""
    return giver.plane != taker.plane or giver.late != taker.late


def _is_pool(named: str | None) -> bool:
    return named is not None and named.rpartition("/")[0].endswith("*")


def _check_frames(place: str, what: str, giver: Step, taker: Step, kind: str) -> None:
    """Raises ConfigError for values that belong to other frames than those that a step sees."""
    if giver.plane != taker.plane and kind not in ("per_frame", "snapshot") and not taker.operator.once:
        raise ConfigError(
            f"{place}: {what} is neither a value of each frame nor a picture; of another plane only those can be taken"
        )
    same = giver.axis == taker.axis
    if giver.plane != taker.plane:  # their frames have the same indices as long as they are the planes' own
        same = all(step.axis == in_plane(step.plane, SOURCE) for step in (giver, taker))
    if not same:
        raise ConfigError(f"{place}: {what} belongs to other frames: a step in between hands on its own")


def named_planes(steps: Sequence[StepConfig]) -> Mapping[str, None]:
    """Return the planes that steps ask for, `green` or `green/0`, each once."""
    return dict.fromkeys(name for step in steps for name in step.planes)
