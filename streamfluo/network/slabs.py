"""A ring of slabs: frames between two programs of one machine in shared memory; messages say where they are.

A frame is copied into a slab and out of it. Its stamp, one more than its seq, stands there before it may be read, and
is looked at before and after it is: a slab that was written meanwhile is a frame lost, never other pixels. The sender
writes to slabs alone whose frames were taken.
"""

from __future__ import annotations

import contextlib
import heapq
import hmac
import re
import secrets
import struct
import time
from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np

from ..core import wire
from ..core.errors import WireError
from .shared_memory import Segment, remove_orphans

LEAST_FRAME_BYTES = 32 << 10  # from where it is a tenth faster, for two thirds of the processor
RING_BYTES = 64 << 20
CACHED_BYTES = 16 << 20  # of frames that can wait: what stays in a processor's cache
MAX_SLABS, LEAST_SLABS = 256, 3
_MAGIC = b"sfslabs1"
_HEADER = struct.Struct("<8s16sQQ")  # magic, secret, slabs, bytes of each; all else in words of 8 bytes
_PAGE = 4096
_ATTACHED, _TAKEN, _STAMPS = 8, 16, 32  # words: by the receiver twice, by the sender one a slab
_UNATTACHED_S = 10.0
_RING = re.compile(r"(sf-[0-9a-f]{16})\.([0-9a-f]{32})")


class ElsewhereError(WireError):
    """There is no such memory here, or none of this account."""


class SlabWriter:
    """The sender's side, for frames of `frame_nbytes`. `ring` is what a receiver opens it by: a name, and a secret that
    only who can read the memory knows, so that a name alone, which every account sees, leads nowhere.

    Raises OSError where there is no shared memory, or no room in it.
    """

    def __init__(self, frame_nbytes: int, max_bytes: int = RING_BYTES, most: int = MAX_SLABS) -> None:
        remove_orphans()
        stride = _stride(frame_nbytes)
        count = max(LEAST_SLABS, min(most, max_bytes // stride))
        self._segment = Segment(_PAGE + count * stride)
        self._stride, self._words = stride, self._segment.buffer[:_PAGE].cast("Q")
        secret = secrets.token_bytes(16)
        _HEADER.pack_into(self._segment.buffer, 0, _MAGIC, secret, count, frame_nbytes)
        self.ring, self.nbytes = f"{self._segment.name}.{secret.hex()}", count * stride
        self._made, self._named = time.monotonic(), True
        self._free = list(range(count))  # a heap: the lowest ones are used again, and stay in the processor's cache
        self._under_way: deque[tuple[int, int]] = deque()  # stamp and slab, in order

    @property
    def attached(self) -> bool:
        """Whether a receiver reads here."""
        return self._words[_ATTACHED] == 1

    @property
    def given_up(self) -> bool:
        """Whether nobody has come for long: the receiver is elsewhere, or of another account."""
        return not self.attached and time.monotonic() - self._made > _UNATTACHED_S

    @property
    def under_way(self) -> int:
        """How many frames wait here to be taken."""
        self._let_go()
        return len(self._under_way)

    @property
    def free(self) -> int:
        """How many slabs may be written."""
        self._let_go()
        return len(self._free)

    def put(self, image: wire.Image, pixels: np.ndarray) -> wire.Slab | None:
        """Copy a frame into a slab; returns its header that says so, None where none is free."""
        self._let_go()
        if not self._free or pixels.nbytes > self._stride:
            return None
        slab, stamp = heapq.heappop(self._free), image.seq + 1
        self._words[_STAMPS + slab] = 0
        place = np.frombuffer(self._segment.buffer, np.uint8, pixels.nbytes, _PAGE + slab * self._stride)
        np.copyto(place, pixels.reshape(-1).view(np.uint8))
        self._words[_STAMPS + slab] = stamp
        self._under_way.append((stamp, slab))
        return wire.Slab(**msgspec.structs.asdict(image), memory=self.ring, slab=slab)

    def detach(self) -> None:
        """The receiver is gone; another one attaches when it is told of the ring."""
        self._words[_ATTACHED] = 0

    def forget_name(self) -> None:
        """The receiver has it open: now nothing is left when both are killed."""
        if self._named:
            self._named = False
            self._segment.forget_name()

    def close(self) -> None:
        """Give the memory back; the receiver keeps what it has not taken."""
        self.forget_name()
        self._words.release()
        self._segment.close()

    def _let_go(self) -> None:
        taken = self._words[_TAKEN]
        while self._under_way and self._under_way[0][0] <= taken:
            heapq.heappush(self._free, self._under_way.popleft()[1])


class Slabs:
    """The receiver's side: the ring that a sender named last."""

    def __init__(self) -> None:
        self._ring = ""
        self._segment: Segment | None = None

    def offered(self, memory: wire.Memory) -> None:
        """Attach to the ring that is offered; where it is not here, frames come in messages.

        Raises WireError for a name that none can be, and memory that is not what it says.
        """
        with contextlib.suppress(ElsewhereError):
            self._attach(memory.memory)

    def pixels(self, image: wire.Slab) -> memoryview:
        """Return a copy of the bytes in an image's slab. Raises WireError where they are not there."""
        self._attach(image.memory)
        assert self._segment is not None
        slab, stamp = image.slab, image.seq + 1
        what = f"frame {image.index}, slab {slab} of shared memory"
        if image.codec is not msgspec.UNSET:
            raise WireError("memory", f"{what}: compressed, which frames there are not")
        if slab >= self._count:
            raise WireError("memory", f"{what}: there are {self._count}")
        y, x = wire.check_frame(image.dtype, image.shape)
        if not y * x * np.dtype(image.dtype).itemsize == image.nbytes <= self._frame_nbytes:
            raise WireError("nbytes", f"{what}: {y} × {x} × {image.dtype} are not {image.nbytes} bytes, or more than "
                                      f"the {self._frame_nbytes} that it has")  # fmt: skip
        pixels = np.empty(image.nbytes, np.uint8)
        before = self._words[_STAMPS + slab]
        np.copyto(pixels, np.frombuffer(self._segment.buffer, np.uint8, image.nbytes, _PAGE + slab * self._stride))
        if not before == self._words[_STAMPS + slab] == stamp:
            raise WireError("overwritten", f"{what}: written again before it was read; the frame is lost")
        return pixels.data

    def taken(self, image: wire.Image) -> None:
        """All frames up to this one were taken: their slabs may be written again."""
        if self._segment is not None and image.seq >= self._words[_TAKEN]:
            self._words[_TAKEN] = image.seq + 1

    def close(self) -> None:
        """Give the memory back, and its name, if the sender is gone."""
        if self._segment is not None:
            self._words.release()
            self._segment.forget_orphan()
            self._segment.close()
            self._segment = None
        self._ring = ""

    def _attach(self, ring: str) -> None:
        """Open a ring if it is not the one that is open. Raises WireError for what is none."""
        if ring == self._ring:
            return
        named = _RING.fullmatch(ring)
        if named is None:
            raise WireError("memory", f"{ring[:60]!r} is no name of shared memory")
        try:
            segment = Segment.opened(named[1])
        except OSError as error:
            why = error.strerror or error
            raise ElsewhereError("memory", f"shared memory {named[1]} cannot be read here: {why}") from None
        try:
            count, frame_nbytes = _checked(segment, named[2])
        except WireError:
            segment.close()
            raise
        self.close()
        self._ring, self._segment = ring, segment
        self._count, self._frame_nbytes, self._stride = count, frame_nbytes, _stride(frame_nbytes)
        self._words = segment.buffer[:_PAGE].cast("Q")
        self._words[_ATTACHED] = 1


def check_parts(image: wire.Image, parts: Sequence[object]) -> None:
    """Raises WireError for an image that has not one part besides its header, or, in a slab, none."""
    wanted = 1 if isinstance(image, wire.Slab) else 2
    if len(parts) != wanted:
        raise WireError("parts", f"{'an image' if wanted == 2 else 'a slab'} has {wanted} parts, found {len(parts)}")


def _checked(segment: Segment, secret: str) -> tuple[int, int]:
    """Return slabs and bytes of each. Raises WireError where they are not those of the segment, or its secret is not
    the one that was told."""
    size = len(segment.buffer)
    if size < _PAGE:
        raise WireError("memory", f"shared memory {segment.name} of {size} bytes holds no slabs")
    magic, inside, count, frame_nbytes = _HEADER.unpack_from(segment.buffer)
    if magic != _MAGIC or not hmac.compare_digest(inside, bytes.fromhex(secret)):
        raise WireError("memory", f"shared memory {segment.name} is not that of the sender")
    over = size - _PAGE - count * _stride(frame_nbytes)  # what the system has rounded up
    if not (1 <= count <= MAX_SLABS and frame_nbytes and 0 <= over < 1 << 16):
        raise WireError("memory", f"shared memory {segment.name}: {count} slabs of {frame_nbytes} bytes in {size}")
    return count, frame_nbytes


def _stride(frame_nbytes: int) -> int:
    return -(-frame_nbytes // _PAGE) * _PAGE
