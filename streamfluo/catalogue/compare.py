"""Two sessions beside each other: what ran, which frames came, and every value and snapshot of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import StreamfluoError
from ..core.findings import Matched, counted, spelled
from ..core.step_values import IDS
from ..report.steps import operator_or_none, short
from ..session.reader import Session
from ..session.recorded_step import SessionStep
from .arrays import ArrayDifference, array_difference, missing

Progress = Callable[[str], None]
Values = Mapping[str, Any]


class Fact(NamedTuple):
    """Something of a session that another one has otherwise; `counts`: it makes the results others."""

    what: str
    a: str
    b: str
    counts: bool = True


class Same(NamedTuple):
    """How many things of a step are those of the other session, and how alike, or why that cannot be told."""

    step: str
    said: str
    missing: int = 0


@dataclass
class Comparison:
    """What differs: facts and parameters, then each array of each step, then cells; `verdict` in a sentence."""

    facts: list[Fact] = field(default_factory=list)
    params: list[Fact] = field(default_factory=list)
    arrays: list[ArrayDifference] = field(default_factory=list)
    same: list[Same] = field(default_factory=list)
    same_recording: bool = True

    @property
    def equal(self) -> bool:
        """Whether both have the same frames, losses and steps, and all values and snapshots to the bit."""
        return not any(fact.counts for fact in self.facts) and all(array.equal for array in self.arrays)

    @property
    def verdict(self) -> str:
        """What it comes to."""
        compared, others = len(self.arrays), [array for array in self.arrays if not array.equal]
        params = f"{counted(len(self.params), 'parameter')} differ{'s' if len(self.params) == 1 else ''}"
        beside = f"; {params}" if self.params else ""
        if self.equal:
            said = f"Equal: the same frames, and all {counted(compared, 'array')} of values and snapshots to the bit"
            return (said if compared else "Equal: the same frames; there are no values to compare") + beside + "."
        if not self.same_recording:
            return f"Different: these are two recordings{beside}; {len(others)} of {counted(compared, 'array')} differ."
        facts = [fact.what for fact in self.facts if fact.counts]
        said = f"{len(others)} of {counted(compared, 'array')} differ" if others else "what both have is equal"
        worst = max(others, key=lambda array: array.weight, default=None)
        if worst is not None and np.isfinite(worst.weight) and worst.weight > 0:
            said += f", most of all {worst.step}.{worst.name} ({worst.said})"
        lead = f"other {', '.join(facts)}; " if facts else ""
        return f"Different: {lead}{said}{beside}."

    def plain(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        told = {name: [each._asdict() for each in getattr(self, name)] for name in ("facts", "params", "same")}
        arrays = [asdict(array) for array in self.arrays]
        return {"equal": self.equal, "verdict": self.verdict, **told, "arrays": arrays}


def compare(a: Session, b: Session, progress: Progress = lambda step: None) -> Comparison:
    """Return what differs between two sessions; `progress` hears which step is read.

    Values are aligned by frame, cells by their footprints. A step's values are in memory at once. Raises SessionError.
    """
    found = Comparison(same_recording=a.series["uid"] == b.series["uid"])
    found.facts += _facts(a, b)
    for name in dict.fromkeys([*a.steps, *b.steps]):
        if name not in a.steps or name not in b.steps:
            one_has, other_has = ("there" if name in s.steps else "not there" for s in (a, b))
            found.facts.append(Fact(f"step {name}", one_has, other_has))
            continue
        progress(name)
        found.params += _params(name, a, b)
        index = a.index(name), b.index(name)
        if not np.array_equal(*index):  # one was muted, or its values are damaged
            p, q = (spelled(len(frames)) for frames in index)
            found.facts.append(Fact(f"frames with values of {name}", p, q))
        matched = _matched(name, a, b, found)
        found.arrays += _values(name, (a.values(name), b.values(name)), index, matched)
        one, other = a.snapshot(name), b.snapshot(name)
        for key in dict.fromkeys([*one, *other]):
            found.arrays.append(_pair(name, key, "snapshot", one.get(key), other.get(key)))
    if a.damaged_so_far or b.damaged_so_far:
        found.facts.append(Fact("damage", _damage(a), _damage(b), counts=False))
    return found


def _facts(a: Session, b: Session) -> list[Fact]:
    def fact(what: str, of: Callable[[Session], object], counts: bool = True) -> Fact:
        return Fact(what, str(of(a)), str(of(b)), counts)

    found = [
        fact("series uid", lambda s: s.series["uid"]),
        fact("source", lambda s: s.series["source"], False),
        fact("state", lambda s: s.state, False), fact("frames", lambda s: spelled(s.frames)),
        fact("lost frames", lambda s: spelled(s.lost)), fact("gaps", _gaps),
        fact("frame shape", lambda s: s.spec.shape),
        fact("interval [s]", lambda s: s.spec.interval_s, False), fact("pixel [µm]", lambda s: s.spec.pixel_um, False),
    ]  # fmt: skip
    for name in dict.fromkeys([*_versions(a), *_versions(b)]):
        found.append(Fact(f"version of {name}", _versions(a).get(name, "none"), _versions(b).get(name, "none"), False))
    return [each for each in found if each.a != each.b]


def _gaps(session: Session) -> str:
    """The gaps, those joined that follow each other: how one was cut, as by parts, is none of the results."""
    joined = list[tuple[int, int, str]]()
    for gap in sorted(session.gaps, key=lambda gap: gap.first):
        if joined and sum(joined[-1][:2]) == gap.first and joined[-1][2] == gap.reason:
            joined[-1] = (joined[-1][0], joined[-1][1] + gap.count, gap.reason)
        else:
            joined.append((gap.first, gap.count, gap.reason))
    listed = ", ".join(f"{count} at {first} ({reason})" for first, count, reason in joined[:8])
    return f"{len(joined)}: {listed}" if listed else "none"


def _damage(session: Session) -> str:
    places = list(dict.fromkeys(f"{damage.file.name}: {damage.reason}" for damage in session.damaged_so_far))
    return ", ".join(places[:4]) + (f" and {len(places) - 4} more" if len(places) > 4 else "") or "none"


def _versions(session: Session) -> dict[str, str]:
    found = session.facts.get("versions")
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, Mapping) else {}


def _params(name: str, a: Session, b: Session) -> list[Fact]:
    one, other = a.steps[name], b.steps[name]
    pairs: dict[str, tuple[Any, Any]] = {"kind": (one.kind, other.kind), "version": (one.version, other.version)}
    pairs |= {"after": (one.after, other.after)}
    keys = dict.fromkeys([*one.params, *other.params])
    pairs |= {key: (one.params.get(key, _NONE), other.params.get(key, _NONE)) for key in keys}
    return [Fact(f"{name}.{key}", short(p), short(q)) for key, (p, q) in pairs.items() if p != q]


class _None:
    def __str__(self) -> str:
        return "not there"


_NONE = _None()


def _matched(name: str, a: Session, b: Session, found: Comparison) -> Matched | None:
    operator = operator_or_none(a.steps[name].kind)
    if operator is None or a.steps[name].kind != b.steps[name].kind:
        return None
    try:
        matched = operator.matched(SessionStep(a, name), SessionStep(b, name), found.same_recording)
    except StreamfluoError as error:
        found.same.append(Same(name, f"cannot be matched: {error}"))
        return None
    except Exception as error:  # snapshots that another version left
        found.same.append(Same(name, f"cannot be matched: {type(error).__name__}: {error}"))
        return None
    if matched is not None:
        p, q = matched.counts
        said = f"{len(matched.ids)} {matched.what} are in both, {p - len(matched.ids)} in A alone, "
        said += f"{q - len(matched.ids)} in B alone"
        if len(matched.ids):
            said += f"; alike by {spelled(float(np.median(matched.alike)))} (median)"
        found.same.append(Same(name, said, p + q - 2 * len(matched.ids)))
    return matched


def _values(
    name: str, values: tuple[Values, Values], index: tuple[np.ndarray, np.ndarray], matched: Matched | None
) -> Iterator[ArrayDifference]:
    one, other = values
    at = np.intersect1d(*index, return_indices=True)[1:]
    per_frame = len(index[0]), len(index[1])
    ids = _ids(one, other, matched)
    for key in dict.fromkeys([*one, *other]):
        p, q = one.get(key), other.get(key)
        if isinstance(p, Mapping) and isinstance(q, Mapping):
            rows = [len(table.get("frame", ())) for table in (p, q)]
            if rows[0] != rows[1]:
                yield missing(name, key, "table", f"{spelled(rows[0])} and {spelled(rows[1])} rows")
                continue
            for column in dict.fromkeys([*p, *q]):
                yield _pair(name, f"{key}.{column}", "table", p.get(column), q.get(column))
            continue
        if p is None or q is None or key == IDS or isinstance(p, Mapping) or isinstance(q, Mapping):
            yield _pair(name, key, "values", p, q)
            continue
        if (len(p), len(q)) == per_frame:
            p, q = p[at[0]], q[at[1]]
            if ids is not None and p.ndim == 2 and (p.shape[1], q.shape[1]) == (len(one[IDS]), len(other[IDS])):
                p, q = p[:, ids[0]], q[:, ids[1]]
        yield _pair(name, key, "values", p, q)


def _ids(one: Mapping[str, Any], other: Mapping[str, Any], matched: Matched | None) -> tuple[Any, Any] | None:
    """Where columns of values by id of things that both have stand."""
    if IDS not in one or IDS not in other:
        return None
    p, q = np.asarray(one[IDS]), np.asarray(other[IDS])
    if matched is None or (np.array_equal(p, q) and np.array_equal(*matched.ids.T)):
        return np.intersect1d(p, q, return_indices=True)[1:]
    places = [{int(i): n for n, i in enumerate(ids)} for ids in (p, q)]
    both = [(places[0].get(i, -1), places[1].get(j, -1)) for i, j in matched.ids.tolist()]
    both = [pair for pair in both if min(pair) >= 0]
    columns = np.array(both, np.int64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


def _pair(step: str, name: str, kind: str, p: Any, q: Any) -> ArrayDifference:
    if p is None or q is None or isinstance(p, Mapping) or isinstance(q, Mapping):
        return missing(step, name, kind, "B has none" if q is None else "A has none" if p is None else "of other kinds")
    return array_difference(step, name, kind, np.asarray(p), np.asarray(q))
