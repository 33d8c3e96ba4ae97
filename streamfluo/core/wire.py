"""Wire protocol 1: frames and results over ZeroMQ. This text is normative; the code below keeps it.

A message has a **header**, a map with the key `type`, in msgpack (a JSON object is accepted: `{` can never start a
msgpack map), and raw C-order little-endian arrays, one part each.

    endpoint   socket                     parts                  promise
    data       ROUTER, consumers DEALER   header, pixels         lossless, each consumer its own cursor
    ingest     PULL, senders PUSH         header, pixels         simple; frames in flight die with the receiver
    results    XPUB, viewers SUB          topic, header, arrays  values in order; of snapshots the newest, computed
                                                                 only while watched, the last one to late joiners
    preview    XPUB, viewers SUB          one record             newest only, rate-limited, binned on request

A user knows one URI, the **data** endpoint; it names the others. From a consumer:

    hello      who is there? answered by hello: version, program, series (a start, or null), steps
               [[id, kind, after], …], gives {step: [[name, kind, dims, unit, meaning], …]}, frames {step: [shape,
               dtype, pixel_um, interval_s]} of what each step hands on ("source": what comes in), endpoints
               {name: uri}; of several planes each has steps and frames of its own, "green/0/extract", "green/0/source";
               where that is too much, gives and frames say once, of "extract" or "source", what most planes have alike;
               presents (optional) {kind: [pictures, details]}: how a viewer may arrange them; compares (optional)
               {kind: picture}: what the first of them may be compared with; drawn (optional) {kind: {choice {name:
               [picture, …]}: one at a time; colours {picture: colour map}; over_time [name, …]: snapshots of one axis
               as frames go by, and values shown from the first frame on; ticks {values by id: others that stand
               beneath them}; gauges {number: [worth a look, too much]}; places {table, value, doubtful, chances, first,
               trace, fitted}: single things at places, by what steps give}}; live (optional) {step: [[param, value,
               least, most, meaning], …]}: numbers and switches that control may set, as they are now;
               takes (optional) {kind: {verb: [ids, polygons or nothing, what it does]}}: the decisions that people
               may take about a step's results
    status     how does it fare? answered by status: program, state, series_uid, counters
    look       step ("source", or that of a plane), index, bin_px: a frame that was recorded; answered by the image of
               the first one from index on, binned as asked, of an index and a user of its own, or by error
    past       step, names (at most 64; none: all), before: values per frame that the step gave of frames before that
               one; answered by a result of the last of them that are held or recorded, without a hole between, and of
               64 KiB to 1 MiB at most (the less, the smaller the frames), its before that of the question; count 0:
               there are none; of a table that is named the newest rows, whatever before is; of a snapshot (n,) that
               is named, (t, n), what it was when it was looked at (of an interval: low, number, high), and frames (t,),
               when; or by error
    preview    step ("source" for its frames), bin_px; answered by preview with the endpoint that sends them
    subscribe  series ("current" or a uid), from_seq (a number, "oldest" or "live"), credit (frames it can take now),
               codecs (optional: those that it reads, as ["blosc2"]), memory (optional: true of one that attaches to
               shared memory)
    credit     n more frames
    ack        seq: everything up to and including seq is safe with the consumer; `end` is acknowledged by its seq
    bye        leave

To a consumer, besides those answers:

    start      version, series_uid, source, t0_ns (UTC epoch), frames (null: unbounded), dtype, shape [y, x], channel,
               pixel_um, exposure_s, interval_s, camera {…, offset_adu, gain_e_per_adu, read_noise_e, qe,
               saturation_adu, excess_noise (none: 1), maps (names of those that follow as a calibration)}, planes
               [{name, channel, z, z_um, pixel_um, exposure_s, colour}, …] (64 at most; none: the stream has one; what
               is not known is left out), user (empty where it would break the limits)
    calibration  series_uid, arrays [{name, dtype, shape, nbytes}, …], one part each: maps (y, x) of the camera, named
               as in start; it follows a start that announces maps
    image      version, series_uid, seq (+1 per frame emitted, never reused), index (the camera's counter; its drops
               are jumps of index without a jump of seq; each plane has its own), channel and z (of a stream of several
               planes: which of them), t_ns (since series start), dtype, shape, nbytes,
               crc32 (optional: that of zlib, of the pixels before they are compressed), user (what the sender says of
               this frame, kept with it: at most 4 KiB and 128 keys, else dropped and counted), codec and nbytes_wire
               (only where the pixels are compressed); one plane, second part: the pixels
    memory     series_uid, memory: the name of what its sender shares with programs on its machine
    slab       as image, but of one part: the pixels are in shared memory; memory (its name), slab (the number)
    gap        series_uid, first, last: these seqs are gone; reason
    end        series_uid, seq (one past the last frame's), frames, dropped_camera, dropped_transport,
               reason (finished, aborted or error)
    heartbeat  every second
    error      reason, supported (versions)

An **ingest** endpoint takes start, image, memory, slab and end from a foreign sender; a series may begin with its first
image. It belongs to the connection that began it, until that one ends it, closes, or is silent for 10 s; then another
may go on with the same series. A start of another series from who has that say ends the run; anybody else's messages
are refused.

Order: a seq that goes back is refused, so a stream that begins again has a series_uid of its own. A frame, or an end,
more than 2²⁰ ahead of the last one is refused, unless a gap said that all before it is gone; an index likewise. A frame
whose crc32 is not that of its pixels is refused. What is refused is counted in status by its rule: seq, jump, index,
damaged, series, sender, memory, overwritten; frames that are missing then are a gap. A t_ns that is not behind that of
the frame before is no time: the frame is then one interval later, where that is known, and counted as time.

On **results** a topic is a path that ends in `/`, and a subscription the beginning of one: `series/` (start, end),
`health/` (status), `event/`, `values/STEP/`, `snapshot/STEP/NAME/`.

    event      event (what happened), utc, fields
    result     series_uid, step, kind (values or snapshot), index, count, arrays [{name, dtype, shape, nbytes, dims,
               unit}, …], before (only in answers to past)

On **control** a REQ asks and a ROUTER answers, one part each: a map {verb, nonce, …} in msgpack or a JSON object of at
most 4096 bytes; the answer comes in the same. Keys that a verb does not have are refused, and so is a nonce (a text of
at most 64) that was answered before, of the last 4096. `source` names one of a daemon's sources, else all are meant.

    start, stop, pause, resume, sessions, reload
    mark       text (at most 1000 characters): noted at the frame that comes next
    set        step, param, value: a live parameter, from a frame on
    snapshot   step, name (none: all that it gives): written into the session as of a frame
    curate     step, decision (a verb that it takes), ids (at most 256), note (at most 1000 characters), author (100),
               undo_of (a decision's number, of an undo; 0: the last one), polygons (at most 32, each a list of corners
               [y, x] in px, for verbs that need what is drawn): about results of a step, from a frame on
    answer     ok, nonce, frame (at which it took effect), said (why not, or what else), number (of a decision),
               sources, sessions

A **preview** message is a record (`core/records.py`): an image whose `user` holds step, bin_px and arrived_ns (UTC
epoch, when the frame reached the program), and its pixels.

A frame may be compressed for a consumer that reads its codec: "blosc2", one chunk of it, of LZ4 and shuffled bits, or
of zeros; nothing else that a chunk may be is taken. Its nbytes is that of the pixels, nbytes_wire that of the part.
Each frame says for itself whether it is compressed. Who pushes to an ingest endpoint, after a start, may do the same.

**Shared memory**, of two programs of one account on one machine: its name is sf- and 16 hexadecimal digits (a file in
/dev/shm, where there is that, else as the system has it), a dot, and 32 digits of a secret. It is open to its account
alone (0600). Little-endian, at byte 0 `sfslabs1`, at 8 the secret, and as u64 at 24 how many slabs there are (256 at
most), at 32 the bytes of each, at 64 attached, at 128 taken, from 256 on a stamp of each slab; slabs stand from 4096
on, each from a multiple of 4096. Its sender says memory behind start, to a consumer that asked for it. A receiver that
can open it, and finds the secret and a size that fits, writes 1 to attached; until then images come. Then a frame may
be written to a slab: 0 to its stamp, the pixels, seq + 1 to its stamp; and slab is sent. The receiver copies the pixels
and looks at the stamp before and after: where it is another the frame is lost, and counted as overwritten. To taken it
writes one more than the seq of the last frame that came, image or slab; the sender writes to no slab whose frame was
not taken. Where all are full it waits, or sends images, which may stand between slabs.

Credit counts frames. A consumer silent for 10 s is taken for dead and its cursor kept; one the server does not know
is told so by `error` and subscribes anew from the seq it needs. A file replayed serves any seq again.

Unknown keys are ignored; an unknown major version is refused with an `error` naming those supported; an unknown type
is counted and skipped.

Limits, checked before anything is allocated: exact part count, header ≤ 64 KiB, nesting ≤ 8, ≤ 512 keys, 1 ≤ side ≤
65536, product × itemsize = nbytes = length of the part (compressed: nbytes_wire), dtype one of |u1 <u2 >u2 <u4 <i2 <f4;
results of at most 64 arrays and 1 GiB (`core/results.py`). Arrays are read by `np.frombuffer` alone. Names from the
wire never become paths; that of shared memory is checked, and looked for there alone. A bad message is dropped and
counted.

Budgets: 256 connections to a data endpoint, 128 to results, 16 to each preview, 32 to ingest, 32 to control; the next
one is hung up on. Who has not finished a handshake after 10 s is hung up on too, and so is who sends 4 MiB of a message
without its end (ingest: 64 MiB, its sender 32 frames more; where the system tells, which is Linux). The frames that
consumers do not read share 256 MiB, 64 MiB each at most; shared memory has 256 MiB besides, and what nobody attaches to
within 10 s is taken back. A preview that nobody watches for 30 s is closed, but the one that hello names.

Endpoints are `tcp://HOST:PORT` and `ipc://PATH`, nothing else. Beyond this machine they speak CURVE: who connects pins
the server's key, and its own is on a list with roles: view (status, preview, look, past, results), record (subscribe
and what follows), send (ingest), control. Until its key is accepted a peer is answered nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from zlib_ng import zlib_ng

from .block import Block
from .errors import WireError
from .header import Buffer, decode_map
from .messages import (
    SOURCE,
    VERSION,
    Ack,
    ArrayHeader,
    Bye,
    Calibration,
    Credit,
    End,
    Error,
    Event,
    FrameFacts,
    Gap,
    Heartbeat,
    Hello,
    Image,
    LiveFacts,
    Look,
    Memory,
    Message,
    Past,
    Preview,
    Result,
    Slab,
    Start,
    Status,
    Subscribe,
)
from .plane import in_plane
from .spec import MAX_SIDE_PX, Spec

__all__ = [
    "FRAME_DTYPES", "SOURCE", "VERSION", "Ack", "ArrayHeader", "Bye", "Calibration", "Credit", "End", "Error",
    "Event", "FrameFacts", "Gap", "Heartbeat", "Hello", "Image", "LiveFacts", "Look", "Memory", "Message",
    "Past", "Preview", "Result", "Slab", "Start", "Status", "Subscribe", "check_frame", "decode", "encode", "fits",
    "fitting", "frame_facts", "frame_pixels", "image_of", "source_facts",
]  # fmt: skip

FRAME_DTYPES = ("|u1", "<u2", ">u2", "<u4", "<i2", "<f4")

_TYPES = {cls.__name__.lower(): cls for cls in Message.__args__}
_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """Return the header's bytes."""
    return _encoder.encode(message)


def decode(data: Buffer) -> Message:
    """Return the message in a header. Raises WireError with the rule it breaks, before building anything large."""
    fields = decode_map(data)
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise WireError("type", f"unknown message type {str(kind)[:40]!r}")
    version = fields.get("version", VERSION)
    if version != VERSION:
        raise WireError("version", f"version {str(version)[:20]} is not spoken here; supported: {VERSION}")
    try:
        return msgspec.convert(fields, _TYPES[kind])
    except msgspec.ValidationError as error:
        raise WireError("fields", f"{kind}: {error}") from None


def fits(message: Message) -> bool:
    """Return whether a message's header is within the limits."""
    try:
        decode_map(encode(message))
    except (WireError, OverflowError):
        return False
    return True


def fitting(start: Start) -> Start:
    """Return a start within the limits: where it is too much without its `user`, then of planes their names alone."""
    if fits(start):
        return start
    start = msgspec.structs.replace(start, user={})
    if fits(start):
        return start
    names = [{"channel": plane["channel"], "z": plane["z"]} for plane in start.planes or ()]
    return msgspec.structs.replace(start, planes=names)


def frame_facts(spec: Spec) -> FrameFacts:
    """Return what `hello` says of a step's frames."""
    return spec.shape, np.dtype(spec.dtype).str, spec.pixel_um, spec.interval_s


def source_facts(spec: Spec) -> dict[str, FrameFacts]:
    """Return what `hello` says of the frames that come in: those of "source", or of each plane, `green/0/source`."""
    return {in_plane(name, SOURCE): frame_facts(spec.plane(name)) for name in spec.plane_names}


def image_of(series_uid: str, block: Block, n: int, seq: int, user: dict[str, Any] | None = None) -> Image:
    """Return the header of a block's n-th frame; `user` in place of the frame's own."""
    pixels = block.pixels[n]
    return Image(
        series_uid=series_uid,
        seq=seq,
        index=block.index + n,
        t_ns=int(block.times_ns[n]),
        channel=block.channel,
        z=block.z,
        dtype=pixels.dtype.str,
        shape=(pixels.shape[0], pixels.shape[1]),
        nbytes=pixels.nbytes,
        user=dict(block.user.get(block.index + n, {})) if user is None else user,
    )


def frame_pixels(image: Image, part: Buffer) -> np.ndarray:
    """Return the pixels (y, x) of an image message, native byte order; a view of `part` where that is possible.

    Raises WireError if dtype, shape, nbytes and the part's length do not agree, or the pixels with crc32.
    """
    y, x = check_frame(image.dtype, image.shape)
    dtype = np.dtype(image.dtype)
    if not y * x * dtype.itemsize == image.nbytes == len(part):
        raise WireError(
            "nbytes", f"{y} × {x} × {image.dtype} is {y * x * dtype.itemsize} bytes; nbytes says {image.nbytes}, "
            f"the part has {len(part)}",
        )  # fmt: skip
    if image.crc32 is not None and image.crc32 != zlib_ng.crc32(part):
        raise WireError("damaged", f"frame {image.index}: its pixels are not those that crc32 was made of")
    pixels = np.frombuffer(part, dtype).reshape(y, x)
    return pixels if dtype.isnative else pixels.astype(dtype.newbyteorder("="))


def check_frame(dtype: str, shape: Sequence[int]) -> tuple[int, int]:
    """Return the shape (y, x). Raises WireError for a dtype or sides outside the limits."""
    if dtype not in FRAME_DTYPES:
        raise WireError("dtype", f"frames of dtype {dtype[:20]!r}; the wire carries {' '.join(FRAME_DTYPES)}")
    y, x = shape
    if not (1 <= y <= MAX_SIDE_PX and 1 <= x <= MAX_SIDE_PX):
        raise WireError("shape", f"a frame's sides are 1 to {MAX_SIDE_PX} pixels, found {(y, x)}")
    return y, x
