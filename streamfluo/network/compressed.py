"""Frames compressed on the wire, losslessly: blosc2 chunks, LZ4 of shuffled bits."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

from ..core import wire
from ..core.errors import SourceError, WireError
from ..core.header import Buffer

CODEC, NO_CODEC = "blosc2", "none"
_WORTH = 0.9  # of a frame's bytes: what saves less is sent as it is
_PASSED_OVER = 31  # frames after one that was not worth it; 16 bits of noise then cost 1 % instead of 20 %
_HEADER = struct.Struct("<4B3i6s2x6s2B")
_EXTENDED, _COMPRESSOR, _LZ4, _ZEROS = 0b101, 0b11100000, 1 << 5, 1 << 4
_FILTERS = [0, 0, 0, 0, 0, 2]  # shuffled bits alone


def codecs() -> tuple[str, ...]:
    """Return the codecs that this installation reads and writes: those of imagecodecs, or none."""
    return () if library() is None else (CODEC,)


def wanted(uri: str, codec: str | None, elsewhere: bool) -> tuple[str, ...]:
    """Return the codecs to ask a server for: by its URI, else all that there are for one that is `elsewhere`.

    1 Gbit/s carries 2.5 times as many frames of few photons compressed; where more than .8 GB/s pass, encrypted, it is
    no faster, and within a machine half as fast. Raises SourceError for a codec that is asked for and not here.
    """
    if codec == CODEC and not codecs():
        raise SourceError(f'{uri}: codec {codec} needs imagecodecs: pip install "streamfluo[formats]"')
    return codecs() if codec == CODEC or (codec is None and elsewhere) else ()


class Packing:
    """What one consumer is sent: frames compressed where that makes them smaller. 2.3 GB/s a core."""

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        self._encode = library().blosc2_encode if CODEC in wanted and codecs() else None
        self._passed_over = 0

    def packed(self, image: wire.Image, pixels: np.ndarray) -> tuple[wire.Image, np.ndarray | bytes]:
        """Return an image's header and second part."""
        if self._encode is None or self._passed_over:
            self._passed_over = max(0, self._passed_over - 1)
            return image, pixels
        itemsize = pixels.itemsize
        part: bytes = self._encode(
            pixels, level=1, compressor="lz4", shuffle="bitshuffle", typesize=itemsize, numthreads=1
        )
        if len(part) > _WORTH * pixels.nbytes:
            self._passed_over = _PASSED_OVER
            return image, pixels
        return msgspec.structs.replace(image, codec=CODEC, nbytes_wire=len(part)), part


def unpacked(image: wire.Image, part: Buffer, frame_nbytes: int) -> Buffer:
    """Return the bytes of the pixels that `part` holds: itself, or those of a frame of the series' `frame_nbytes`.

    All that the header and the chunk say is compared before anything is allocated. Raises WireError for a codec that is
    not read here, sizes that contradict each other, and a chunk that does not unpack.
    """
    if image.codec is msgspec.UNSET:
        return part
    if image.codec not in codecs():
        raise WireError("codec", f"frame {image.index} is compressed with {str(image.codec)[:20]!r}; none is read here")
    wire.check_frame(image.dtype, image.shape)
    if image.nbytes != frame_nbytes or image.nbytes_wire != len(part):
        raise WireError(
            "nbytes", f"frame {image.index}: {image.nbytes} bytes in {image.nbytes_wire}; the series has frames of "
            f"{frame_nbytes}, the part {len(part)}",
        )  # fmt: skip
    _check_chunk(image, part, np.dtype(image.dtype).itemsize)
    pixels = np.empty(image.nbytes, np.uint8)
    imagecodecs = library()
    try:
        imagecodecs.blosc2_decode(part, out=pixels, numthreads=1)
    except imagecodecs.Blosc2Error as error:
        raise WireError("damaged", f"frame {image.index}: {error}") from None
    return pixels.data


def _check_chunk(image: wire.Image, part: Buffer, itemsize: int) -> None:
    """Raises WireError for a chunk of other than shuffled bits and LZ4: blosc2 looks for others' decoders elsewhere on
    the machine, and runs a Python for that."""
    if len(part) < _HEADER.size:
        raise WireError("damaged", f"frame {image.index}: {len(part)} bytes are no chunk")
    header = _HEADER.unpack(bytes(part[: _HEADER.size]))
    _, _, flags, typesize, nbytes, blocksize, size, filters, metas, _, more = header
    ours = (
        flags & _EXTENDED == _EXTENDED
        and flags & _COMPRESSOR == _LZ4
        and sorted(filters) == _FILTERS
        and not any(metas)
        and more in (0, _ZEROS)
        and (typesize, nbytes, size) == (itemsize, image.nbytes, len(part))
        and 0 < blocksize <= nbytes
    )
    if not ours:
        raise WireError("damaged", f"frame {image.index}: a chunk that is not LZ4 of shuffled bits of {nbytes} bytes")


@cache
def library() -> Any:
    """Return imagecodecs, None where it is not there or does not load."""
    try:
        import imagecodecs
    except ImportError:
        return None
    return imagecodecs
