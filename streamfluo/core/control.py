"""What may be asked of a running program, and its answer: the control endpoint's messages, one schema.

A request is a map in msgpack or a JSON object, its answer the same. What is not in the schema is refused: a word
misspelled must not be taken for another request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec

from .decision import UNDO
from .errors import ConfigError, WireError, did_you_mean
from .header import Buffer, decode_map
from .params import explain, literal
from .wire import VERSION

MAX_REQUEST_BYTES = 4096  # what a pipe takes at once
MAX_TEXT = 1000
MAX_NUMBER = 1 << 63
MAX_IDS = 256  # of one decision
MAX_POLYGONS, MAX_CORNERS = 32, 256  # of one decision, of one polygon: 4096 bytes hold some 200 corners in all
MAX_AUTHOR = 100
MAX_SESSIONS = 200  # told of in one answer, the newest

_Place = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]  # [px]
_Drawn = Annotated[list[tuple[_Place, _Place]], msgspec.Meta(min_length=3, max_length=MAX_CORNERS)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Change(NamedTuple):
    """A parameter that was changed while frames flowed; `frame` is the first one under it, of the step's plane."""

    frame: int
    step: str
    param: str
    value: Any


class _Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="verb", tag=str.lower, forbid_unknown_fields=True):
    """`nonce` is a text of the asker's that is answered once; `source` is one of a daemon's, "" all of them."""

    nonce: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    version: int = VERSION
    source: Annotated[str, msgspec.Meta(max_length=64)] = ""


class Start(_Request, frozen=True, kw_only=True):
    """Take series again."""


class Stop(_Request, frozen=True, kw_only=True):
    """End the series with everything written; a daemon's source takes no other one until it is started."""


class Pause(_Request, frozen=True, kw_only=True):
    """Take no frames for now: a file waits, what a stream sends meanwhile is a gap with the reason "paused"."""


class Resume(_Request, frozen=True, kw_only=True):
    """Take frames again."""


class Mark(_Request, frozen=True, kw_only=True):
    """Note a text in the session, with the number of the frame that comes next."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]


class Set(_Request, frozen=True, kw_only=True):
    """Change a live parameter of a step, of one plane (`green/0/motion`) or of all that have it (`motion`)."""

    step: _Name
    param: _Name
    value: Any


class Snapshot(_Request, frozen=True, kw_only=True):
    """Write a snapshot of a step as of now into the session; all that it gives without a `name`."""

    step: _Name
    name: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Curate(_Request, frozen=True, kw_only=True):
    """Decide about results of a step: one of the verbs that it takes, mostly with ids of its results.

    `undo_of` is the number of the decision that an undo takes back, 0 the last one; `polygons` are what was drawn, each
    its corners [y, x] in px.
    """

    step: _Name
    decision: _Name
    ids: Annotated[list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]], msgspec.Meta(max_length=MAX_IDS)] = []
    note: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""
    author: Annotated[str, msgspec.Meta(max_length=MAX_AUTHOR)] = ""
    undo_of: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)] = 0
    polygons: Annotated[list[_Drawn], msgspec.Meta(max_length=MAX_POLYGONS)] = []


class Sessions(_Request, frozen=True, kw_only=True):
    """Tell which sessions there are, how they ended, and how many frames they have."""


class Reload(_Request, frozen=True, kw_only=True):
    """Read a daemon's config anew, for the next series of each source."""


Request = Start | Stop | Pause | Resume | Mark | Set | Snapshot | Curate | Sessions | Reload
VERBS: dict[str, type[Request]] = {cls.__name__.lower(): cls for cls in Request.__args__}


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a request: at which frame it took effect, or in one line why it did not.

    `number` is that of a decision, `sources` has the answer of each source of a daemon that was asked, `sessions` a map
    for each session.
    """

    ok: bool
    nonce: str = ""
    frame: int | None = None
    said: str = ""
    number: int = 0
    sources: dict[str, Answer] = {}
    sessions: list[dict[str, Any]] = []


def decode_request(data: Buffer) -> Request:
    """Return the request in a message. Raises WireError with the rule that it breaks."""
    if len(data) > MAX_REQUEST_BYTES:
        raise WireError("control_size", f"a request has at most {MAX_REQUEST_BYTES} bytes, found {len(data)}")
    return request_of(decode_map(data))


def request_of(fields: dict[str, Any]) -> Request:
    """Return the request that a map is. Raises WireError with the rule that it breaks."""
    verb = fields.get("verb")
    if not isinstance(verb, str) or verb not in VERBS:
        raise WireError("verb", f"no verb {str(verb)[:40]!r}{did_you_mean(str(verb)[:40], VERBS)}")
    version = fields.get("version", VERSION)
    if version != VERSION:
        raise WireError("version", f"version {str(version)[:20]} is not spoken here; supported: {VERSION}")
    try:
        request: Request = msgspec.convert(fields, VERBS[verb])
    except msgspec.ValidationError as error:
        raise WireError("fields", f"{verb}: {explain(error, fields)[:300]}") from None
    if isinstance(request, Set) and not _is_plain(request.value):
        raise WireError("fields", "set: value: expected true or false, a text, a finite number, or a list of these")
    return request


def request_from_words(verb: str, words: dict[str, Any]) -> Request:
    """Return the request that a person's words are. Raises ConfigError."""
    try:
        return request_of({"verb": verb, **words})
    except WireError as error:
        raise ConfigError(str(error)) from None


def _is_plain(value: Any) -> bool:
    """Whether a value is one that a parameter may have, and JSON can say."""
    if isinstance(value, list | tuple):
        return all(_is_plain(v) for v in value)
    if isinstance(value, int | float):
        return abs(value) < MAX_NUMBER  # neither infinite nor NaN
    return value is None or isinstance(value, str)


def request_words(verb: str, words: Sequence[str]) -> Mapping[str, Any]:
    """Return what a request says besides its verb, as people write it: `set STEP.PARAM=VALUE`. Raises ConfigError."""
    if verb not in VERBS:
        raise ConfigError(f"control: no verb {verb!r}{did_you_mean(verb, VERBS)}")
    if verb == "mark":
        return {"text": " ".join(words)}
    if verb == "set":
        target, equals, value = " ".join(words).partition("=")
        step, dot, param = target.strip().rpartition(".")
        if not (equals and dot and step and param):
            raise ConfigError("control: write set STEP.PARAM=VALUE, as in set motion.max_shift_px=5")
        return {"step": step, "param": param, "value": literal(value)}
    if verb == "curate":
        return _decision_words(words)
    if verb == "snapshot" and len(words) == 1:
        step, _, name = words[0].partition(".")
        return {"step": step, "name": name}
    if words or verb == "snapshot":
        usage = "snapshot STEP[.NAME]" if verb == "snapshot" else f"{verb} alone"
        raise ConfigError(f"control: write {usage}; found {' '.join(words) or 'no step'!r}")
    return {}


def _decision_words(words: Sequence[str]) -> Mapping[str, Any]:
    """What `curate STEP VERB [ID …]` says, or of what is drawn `curate STEP VERB [[y,x],…] …`.

    Behind an undo stands the number of a decision.
    """
    step, decision, *numbers = *words, *[""] * (2 - len(words))
    if step and decision and numbers and all(number.startswith("[") for number in numbers):
        return {"step": step, "decision": decision, "polygons": [literal(number) for number in numbers]}
    if not (step and decision and all(number.isdecimal() for number in numbers)):
        raise ConfigError(
            "control: write curate STEP VERB [ID …], as in curate extract reject 12 14, or curate STEP undo"
        )
    ids = [int(number) for number in numbers]
    if decision != UNDO:
        return {"step": step, "decision": decision, "ids": ids}
    if len(ids) > 1:
        raise ConfigError(f"control: {UNDO} takes back one decision, found the numbers {' '.join(numbers)}")
    return {"step": step, "decision": decision, "undo_of": ids[0] if ids else 0}
