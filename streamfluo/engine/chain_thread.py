"""The chain's thread: ring buffer → steps by plain calls, and what they gave → values' queue and publisher."""

from __future__ import annotations

import time
from collections import deque
from functools import partial

from ..core.block import Block
from ..core.card import CardLost
from ..core.grid import GRID_FRAMES
from ..core.plane import in_plane
from ..core.source import Gap
from ..core.wire import SOURCE
from ..session.checkpoint import Checkpoint
from ..session.step_frames import StepFrames
from .acting import Frames
from .due_looks import PRESSED_HZ
from .falling_back import fall_back, surely
from .flow import StepResult
from .parts import Handed, Parts
from .recorded_frames import copied

IDLE_S = 0.05  # how often what is asked, and snapshots, are looked after while no frames come
PRESSED_FRAMES = 64
NEVER = 1 << 62
STREAM_S = 1 / PRESSED_HZ  # after which snapshots have their turn: the chain runs empty for them
CHECKPOINT_SHARE = 0.02  # of the time at most goes into checkpoints


def run_chain(parts: Parts) -> None:
    """Run every frame through the chain until the ring buffer is over or what waits in it is abandoned."""
    ring, chain, position = parts.ring, parts.chain, parts.position
    checkpoint_at = time.monotonic() + parts.config.record.checkpoint_s
    while not ring.over("chain") and not parts.stopping.abandoned.is_set():
        if parts.asked:
            parts.do_asked()
        item = ring.take("chain", wait_s=IDLE_S)
        if isinstance(item, Gap):
            gone = partial(chain.gap, item.first, item.count, parts.plane(item))
            _hand_on(parts, surely(parts, gone), None)
            position.reached[parts.plane(item)] = item.first + item.count
            if not parts.has_journal:
                parts.tell_gap(item)
        elif item is not None:
            _push(parts, item)
            due = parts.recording is not None and chain.steps and time.monotonic() >= checkpoint_at
            if due and chain.settled:
                checkpoint_at = time.monotonic() + max(parts.config.record.checkpoint_s, _put_checkpoint(parts))
        if parts.publisher is not None:
            surely(parts, partial(parts.publisher.put_snapshots, position.next_index - 1, _is_pressed(parts)))
    if parts.stopping.abandoned.is_set():
        if parts.recording is not None and chain.steps and chain.settled:
            _put_checkpoint(parts)
    else:
        _hand_on(parts, surely(parts, partial(chain.run_end, position.reached)), None)


def _push(parts: Parts, block: Block) -> None:
    """Run a block through the chain, without what a checkpoint has seen already, and those that wait behind it."""
    reached, plane = parts.position.reached, parts.plane(block)
    if block.stop <= reached[plane]:
        parts.accounts.count("chain", block)
        return
    new = block.cut(max(block.index, reached[plane]), block.stop)
    arrived_ns, taken_ns = parts.ring.arrived_ns("chain"), time.monotonic_ns()
    alone = parts.listening is not None or parts.acting is not None  # what they know of frames is of one block
    waits = _is_pressed(parts) and parts.ring.waiting("chain") >= GRID_FRAMES
    if waits and new is block and not alone and (frames := parts.chain.streams()):
        _stream(parts, block, (arrived_ns, taken_ns), frames)
        return
    if parts.listening is not None:
        parts.listening.arrived(new, arrived_ns)
    if parts.acting is not None:
        live_from = NEVER if parts.source.seekable else parts.position.resumed_at[plane]
        parts.acting.frames = Frames(new.index, new.times_ns, arrived_ns, taken_ns, live_from)
    _done(parts, block, new, surely(parts, partial(parts.chain.run, new)), (arrived_ns, taken_ns))


def _stream(parts: Parts, first: Block, when_ns: tuple[int, int], frames: int) -> None:
    """Run a block through the chain, and whole cells that wait behind it, until something else is to be done; so many
    frames at a time."""
    until = time.monotonic() + (NEVER if parts.publisher is None else STREAM_S)
    came: list[tuple[tuple[int, int], int]] = []  # of each block: when it arrived, and was taken; its number
    left = deque(_pieces(first, frames))  # of the cell that came last
    of_cell = when_ns, 0
    taken: list[Block] = []
    over: list[int] = []  # of those that are done

    def pull() -> Block | None:
        nonlocal of_cell
        if not left:
            if parts.asked or parts.stopping.abandoned.is_set() or time.monotonic() > until:
                return None
            if (more := parts.ring.take_more("chain")) is None:
                return None
            of_cell = (more[1], time.monotonic_ns()), more[2]
            left.extend(_pieces(more[0], frames))
        came.append(of_cell)
        taken.append(left.popleft())
        let_go()
        return taken[-1]

    def done(block: Block, results: list[StepResult]) -> None:
        _done(parts, block, block, results, came[len(over)][0])
        taken.pop(0)
        over.append(block.index)
        let_go()

    def let_go() -> None:
        if len(over) < len(came):
            parts.ring.let_go_before("chain", came[len(over)][1])

    try:
        parts.chain.run_stream(pull, done)
        while left:  # it takes so many blocks at most
            parts.chain.run_stream(pull, done)
    except CardLost as fault:
        fall_back(parts, fault)
        for block in list(taken):
            done(block, parts.chain.run(block))
        while left and (piece := pull()) is not None:
            done(piece, parts.chain.run(piece))


def _pieces(block: Block, frames: int) -> list[Block]:
    """A block in blocks of so many frames."""
    return [block.cut(at, at + frames) for at in range(block.index, block.stop, frames)]


def _done(parts: Parts, block: Block, new: Block, results: list[StepResult], when_ns: tuple[int, int]) -> None:
    """Hand on what the steps made of `new`, what was not seen before of a block; when it arrived, and was taken."""
    (arrived_ns, taken_ns), plane = when_ns, parts.plane(block)
    parts.latency.taken.add(taken_ns - arrived_ns, 1)
    parts.latency.through.add(time.monotonic_ns() - arrived_ns, 1)
    _hand_on(parts, results, new, arrived_ns)
    parts.accounts.processed(plane, new)
    parts.position.reached[plane] = block.stop
    if not parts.has_journal:
        parts.values.put(Handed(plane, block.stop), 64)
    parts.accounts.count("chain", block)


def to_utc_ns() -> int:
    """Return what makes a time of the monotonic clock one of UTC, as of now."""
    return time.time_ns() - time.monotonic_ns()


def _is_pressed(parts: Parts) -> bool:
    """Whether so many frames wait that reading snapshots must cost little."""
    return parts.ring.backlog > PRESSED_FRAMES * parts.chain.spec.frame_nbytes


def _put_checkpoint(parts: Parts) -> float:
    """Queue the chain's state behind the values that came before it; return how long to wait before the next one."""
    return surely(parts, partial(_queued_checkpoint, parts))


def _queued_checkpoint(parts: Parts) -> float:
    began = time.monotonic()
    uid, frames = parts.source.series.uid, parts.accounts.health.frames
    position = parts.position
    checkpoint = Checkpoint(uid, position.next_index, frames, parts.chain.state(), {}, dict(position.reached))
    parts.kept = checkpoint if parts.chain.on_card else None
    parts.values.put(checkpoint, checkpoint.nbytes)
    return (time.monotonic() - began) / CHECKPOINT_SHARE


def _hand_on(parts: Parts, results: list[StepResult], block: Block | None, arrived_ns: int = 0) -> None:
    publisher = parts.publisher
    arrived_ns = (arrived_ns or parts.ring.arrived_ns("chain")) + to_utc_ns()
    for result in results:
        if result.values is not None:
            parts.values.put(result.values, result.values.nbytes)
            parts.found.add(result.values)
        if result.output.block is not None and parts.session is not None and result.step in parts.session.step_frames:
            for handed in copied(result.output.block):
                parts.values.put(StepFrames(result.step, handed), handed.nbytes)
        if publisher is not None:
            if result.values is not None:
                publisher.put_values(result.values)
            if result.output.block is not None:
                publisher.put_frames(result.step, result.output.block, arrived_ns, _is_pressed(parts))
    if publisher is not None and block is not None:
        step = in_plane(parts.plane(block), SOURCE)
        publisher.put_frames(step, block, arrived_ns, _is_pressed(parts))
        if parts.shown_inputs is not None:
            for values in parts.shown_inputs.values(parts.plane(block), block):
                publisher.put_values(values)
    if parts.acting is not None:
        parts.acting.end_muted()
    while parts.chain.events:
        if not parts.told_before.again(event := parts.chain.events.pop(0)):
            parts.tell(event)
