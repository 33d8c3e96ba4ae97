"""Conditions as people write them: `extract.traces[12] > 3 σ for 2 frames and motion.valid`.

    condition    and ( or and )*                      or, and, not: true, false or unknown
    and          not ( and not )*
    not          not* comparison [ for N frames | for N s | for N ms ]
    comparison   sum [ < | <= | > | >= | == | != sum ]
    sum          product ( + | - product )*           units must agree
    product      sign ( * | / sign )*
    atom         3.5 σ · true · false · frame · time · level · step.value · step.value[3, 7] · ( condition )
                 mean max min sum median ( values ) · abs ( sum ) · count ( table )
                 rising falling ( condition ) · package.module:function ( values, … )

`step.value` is what a step before gives, or `value` of the nearest step that gives it; [ ] choose by id, or by place.
It may be one number of a snapshot (`sofi.change[0]`), as it was read last. A function is a Python function of an
installed package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ..core.errors import ConfigError
from ..core.function import function_named
from ..core.operator import Gives
from .condition_function import Called
from .condition_nodes import (
    NUMBER,
    TRUTH,
    Arithmetic,
    Clock,
    Comparison,
    Frames,
    Logic,
    Node,
    Number,
    Reduced,
    RowCount,
    Values,
    needs_one,
    truth,
)
from .condition_over_frames import Edge, Lasting

MAX_CHARACTERS, MAX_DEPTH = 2000, 40
COMPARISONS = ("<=", ">=", "==", "!=", "<", ">")
KEYWORDS = frozenset({"and", "or", "not", "for", "true", "false"})
EDGES = ("rising", "falling")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<function>[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*)"
    r"|(?P<name>[^\W\d][\w-]*\.[^\W\d]\w*|[^\W\d]\w*)|(?P<sign><=|>=|==|!=|[-+*/<>()\[\],%]))"
)


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    stop: int


class Condition:
    """A condition of values of steps, read from text. Raises ConfigError that says where it cannot be understood."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._level = Number("level", 0.0, None)
        self._tree = _Parser(text, self._level).condition()
        self._nodes = list(self._tree.walk())
        named = [node.of if isinstance(node, RowCount) else node for node in self._nodes]
        self._values = [node for node in named if isinstance(node, Values)]
        self.needs: tuple[str, ...] = tuple(dict.fromkeys(node.need for node in self._values))

    @property
    def level(self) -> float:
        """What `level` is in it."""
        return self._level.number

    @level.setter
    def level(self, level: float) -> None:
        self._level.number = level

    def settle(self, given: Mapping[str, Gives]) -> None:
        """Check it against what its needs are met by. Raises ConfigError where kinds or units do not fit."""
        self._tree.settle(given)
        needs_one(self._tree)
        if self._tree.kind == NUMBER:
            raise ConfigError(f"{self.text!r} is a number; a condition compares it with another")

    def holds(self, now: Frames) -> np.ndarray:
        """Return for each frame (t,) whether it holds: 1, 0, or NaN where that is not known."""
        return truth(self._tree, now)

    @property
    def absent(self) -> list[str]:
        """The values by id that the last frames did not have, as they are written."""
        return [f"{node.need}[{place}]" for node in self._values for place in sorted(node.absent)]

    def notes(self) -> list[tuple[int, str]]:
        """Return what happened to its ids since this was asked last: the frame and a sentence each."""
        followed = [one for node in self._values for one in node.followed]
        found = sorted({note for one in followed for note in one.notes})
        for one in followed:
            one.notes.clear()
        return found

    @property
    def failed(self) -> str:
        """What a function of it raised last, "" where none did."""
        return next(
            (f"{node.text}: {node.failed}" for node in self._nodes if isinstance(node, Called) and node.failed), ""
        )

    def interrupt(self) -> None:
        """Frames never came."""
        for node in self._nodes:
            node.interrupt()

    def memory(self) -> dict[str, float]:
        """Return what it keeps of earlier frames, by a name for each."""
        return {f"{n}.{name}": value for n, node in enumerate(self._nodes) for name, value in node.memory().items()}

    def recall(self, memory: Mapping[str, float]) -> None:
        """Take over what `memory` returned. Raises KeyError for that of another condition."""
        for n, node in enumerate(self._nodes):
            node.recall({name: memory[f"{n}.{name}"] for name in node.memory()})


class _Parser:
    """A recursive descent over the words of a condition."""

    def __init__(self, text: str, level: Number) -> None:
        self._text, self._level, self._at, self._depth = text, level, 0, 0
        if len(text) > MAX_CHARACTERS:
            raise ConfigError(f"a condition of {len(text)} characters; {MAX_CHARACTERS} is the most")
        self._tokens = list(self._split(text))

    def condition(self) -> Node:
        """Return the tree of the whole text."""
        found = self._or()
        if (rest := self._next).kind != "end":
            raise self._error(rest, "and, or, for, or the end")
        return found

    def _split(self, text: str) -> list[_Token]:
        tokens, at = [], 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                start = at + len(text[at:]) - len(text[at:].lstrip())
                raise ConfigError(f"{text!r}, character {start + 1}: {text[start]!r} means nothing here")
            tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup), match.end()))
            at = match.end()
        return [*tokens, _Token("end", "the end", len(text), len(text))]

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> _Token | None:
        """The next token where it is one of these."""
        token = self._next
        if token.kind == "end" or token.text not in texts:
            return None
        self._at += 1
        return token

    def _want(self, text: str) -> None:
        if self._take(text) is None:
            raise self._error(self._next, repr(text))

    def _error(self, token: _Token, expected: str) -> ConfigError:
        return ConfigError(f"{self._text!r}, character {token.start + 1}: expected {expected}, found {token.text!r}")

    def _since(self, start: int) -> str:
        return self._text[start : self._tokens[self._at - 1].stop]

    def _or(self) -> Node:
        return self._chain("or", lambda: self._chain("and", self._not))

    def _chain(self, word: str, one: Callable[[], Node]) -> Node:
        start, parts = self._next.start, [one()]
        while self._take(word):
            parts.append(one())
        return parts[0] if len(parts) == 1 else Logic(self._since(start), word, *parts)

    def _not(self) -> Node:
        start = self._next.start
        if self._take("not"):
            of = self._deeper(self._not)
            return Logic(self._since(start), "not", of)
        found = self._comparison()
        while self._take("for"):
            found = self._lasting(start, found)
        return found

    def _deeper(self, one: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConfigError(f"{self._text[:60]!r} …: parts within parts, more than {MAX_DEPTH} deep")
        found = one()
        self._depth -= 1
        return found

    def _lasting(self, start: int, of: Node) -> Node:
        count = self._next
        if count.kind != "number":
            raise self._error(count, "a number of frames, s or ms")
        self._at += 1
        unit = self._take("frames", "frame", "s", "ms")
        if unit is None:
            raise self._error(self._next, "frames, s or ms")
        number = float(count.text)
        if unit.text.startswith("frame"):
            if number < 1 or number != int(number):
                raise self._error(count, "a whole number of frames, at least 1")
            return Lasting(self._since(start), of, int(number), 0.0)
        return Lasting(self._since(start), of, 1, number if unit.text == "s" else number / 1e3)

    def _comparison(self) -> Node:
        start, left = self._next.start, self._sum()
        if (sign := self._take(*COMPARISONS)) is None:
            return left
        right = self._sum()
        if (again := self._take(*COMPARISONS)) is not None:
            raise self._error(again, "one comparison; join two with and")
        return Comparison(self._since(start), sign.text, left, right)

    def _sum(self) -> Node:
        return self._left_to_right(("+", "-"), lambda: self._left_to_right(("*", "/"), self._signed))

    def _left_to_right(self, signs: tuple[str, ...], one: Callable[[], Node]) -> Node:
        start, found = self._next.start, one()
        while sign := self._take(*signs):
            right = one()
            found = Arithmetic(self._since(start), sign.text, found, right)
        return found

    def _signed(self) -> Node:
        start = self._next.start
        if self._take("-"):
            of = self._deeper(self._signed)
            return Arithmetic(self._since(start), "negative", of)
        return self._atom()

    def _atom(self) -> Node:
        token = self._next
        self._at += 1
        if token.kind == "number":
            return self._number(token)
        if token.text == "(":
            found = self._deeper(self._or)
            self._want(")")
            return found
        if token.kind == "function":
            return self._function(token)
        if token.text in ("true", "false"):
            return Number(token.text, float(token.text == "true"), None, TRUTH)
        if token.kind != "name" or token.text in KEYWORDS:
            raise self._error(token, "a value, a number or (")
        if self._take("("):
            return self._call(token)
        if token.text == "level":
            return self._level
        return Clock(token.text) if token.text in ("frame", "time") else self._values(token)

    def _number(self, token: _Token) -> Node:
        """A number, and the unit behind it: a word that is none of the language's, `σ/s`, or %."""
        number, unit = float(token.text), self._next
        if self._take("%"):
            return Number(self._since(token.start), number / 100, "")
        if unit.kind != "name" or unit.text in KEYWORDS or "." in unit.text:
            return Number(token.text, number, None)
        self._at += 1
        slash, per = self._tokens[self._at : self._at + 2] if self._next.kind != "end" else (unit, unit)
        if slash.text == "/" and per.kind == "name" and (slash.start, per.start) == (unit.stop, slash.stop):
            self._at += 2
        text = self._since(unit.start)
        return Number(self._since(token.start), number / 1e3 if text == "ms" else number, "s" if text == "ms" else text)

    def _call(self, name: _Token) -> Node:
        known = (*Reduced.OF, "abs", "count", *EDGES)
        if name.text not in known:
            raise self._error(name, f"one of {', '.join(known)} before (")
        of = self._deeper(self._or)
        self._want(")")
        text = self._since(name.start)
        if name.text in EDGES:
            return Edge(text, name.text, of)
        if name.text == "abs":
            return Arithmetic(text, "abs", of)
        if name.text == "count":
            if not isinstance(of, Values) or of.places is not None:
                raise ConfigError(f"{text}: count is of a table of a step, found {of.text!r}")
            return RowCount(text, of)
        return Reduced(text, name.text, of)

    def _function(self, name: _Token) -> Node:
        self._want("(")
        parts = [self._deeper(self._or)]
        while self._take(","):
            parts.append(self._deeper(self._or))
        self._want(")")
        return Called(self._since(name.start), function_named(name.text, repr(self._text)), *parts)

    def _values(self, token: _Token) -> Node:
        places: list[int] | None = None
        if self._take("["):
            places = [self._place()]
            while self._take(","):
                places.append(self._place())
            self._want("]")
        return Values(self._since(token.start), token.text, None if places is None else tuple(places))

    def _place(self) -> int:
        token = self._next
        if token.kind != "number" or not token.text.isdecimal():
            raise self._error(token, "the number of a component, 0 or more")
        self._at += 1
        return int(token.text)
