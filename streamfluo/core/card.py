"""A card: a device beside the processor that twins of operators run on, and the language of their kernels.

An array of a card is one of its array namespace `xp` (cupy on CUDA, numpy on the stand-in that tests use). Kernels are
written once, in C++ with these words, and compiled for the card:

    KERNEL name(const PIXEL* a, …, int n)   a kernel; types and numbers in capitals are given when it is compiled
    ITEMS(i, n) { … }       for i in 0 … n − 1, each by a thread of its own, in any order
    BLOCKS(b, n) { … }      for b in 0 … n − 1, each by a block of THREADS threads; inside it:
    SHARED float a[…];      memory of the block
    EACH(t) { … }           once for each thread t of the block; behind it all threads have done so
    TICKETS(b, n, next) { … }  BLOCKS of which each begins once all before it have begun; `next` (1,) int32 is 0 before
    AWAIT(done);            goes on once an expression is true that a block before this one makes so by TELL
    TELL(place, value);     in one thread: write there, behind all that this thread has written; read it as volatile
    GROUP                   in either: which of the blocks that run at once, below the n of CardKernel.blocks

A kernel is either one ITEMS, one BLOCKS or one TICKETS loop. Sums over threads have a fixed order, none is by atomic
additions, so that a card gives the same bits each time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from .errors import ConfigError, did_you_mean

ENTRY_POINTS = "streamfluo.cards"
CHOICE = "STREAMFLUO_CARD"
USUAL = "cuda"
C_TYPES = {
    "uint8": "unsigned char", "int8": "signed char", "uint16": "unsigned short", "uint32": "unsigned int",
    "int16": "short", "int32": "int", "int64": "long long", "float32": "float", "float64": "double",
}  # fmt: skip
_KERNEL = re.compile(r"\bKERNEL\s+(\w+)\s*\(")


class CardError(RuntimeError):
    """A card that fails: it is full, or lost."""


class CardFull(CardError):
    """No memory is left on the card; what is on it stays readable."""


class CardLost(CardError):
    """The card does not answer any more; what was on it is gone."""


class CardKernel(Protocol):
    """A compiled kernel. Numbers are passed as they are typed: int as long long, float as double, np.float32 as float.
    Arrays are those of the card, C-order. Raises TypeError for others."""

    def items(self, n: int, *arguments: Any) -> None:
        """Run an ITEMS loop over n items."""

    def blocks(self, n: int, *arguments: Any) -> None:
        """Run a BLOCKS loop over n blocks."""


class Card(Protocol):
    """What twins need of a device. All methods raise CardFull or CardLost; `fault` says which, of what `xp` raises."""

    name: str
    xp: Any

    def compiled(self, source: str, **given: str | int) -> Mapping[str, CardKernel]:
        """Compile a source's kernels, by name. `given`: what its words in capitals are, a dtype's name or a number;
        THREADS is 256 unless it is given. Cost: seconds once, then from a cache."""

    def put(self, pixels: np.ndarray) -> Any:
        """Copy frames to the card, beside what it computes. They must not change until what takes them is done."""

    def get(self, array: Any) -> np.ndarray:
        """Copy an array to the host, once all that was to be done before is done."""

    def pin(self, memory: np.ndarray) -> None:
        """Keep memory of the host where the card reads it at full speed, as long as the memory lives."""

    def fault(self, error: BaseException) -> CardError | None:
        """Return what an error says of the card; None: it is no fault of the card."""


_opened: dict[str, Card] = {}
_instead: list[Card] = []


def open_card() -> Card:
    """Return the card of this process: the one that the environment variable STREAMFLUO_CARD names, else `cuda`.

    Raises ConfigError where the library is missing, with what to install, and CardLost where no device answers.
    """
    if _instead:
        return _instead[-1]
    name = os.environ.get(CHOICE) or USUAL
    if name not in _opened:
        known = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
        if name not in known:
            raise ConfigError(f"{CHOICE}: no card {name!r}{did_you_mean(name, known)}")
        try:
            opener = known[name].load()
        except ImportError as error:
            raise ConfigError(f"device = 'gpu': {error}; install streamfluo[cuda12] or [cuda13]") from None
        _opened[name] = opener()
    return _opened[name]


@contextmanager
def using_card(card: Card) -> Iterator[None]:
    """Have `open_card` return another card inside a with statement."""
    _instead.append(card)
    try:
        yield
    finally:
        _instead.remove(card)


def card_fault(error: BaseException) -> CardError | None:
    """Return what an error says of the card that is open; None: there is none, or it is no fault of it."""
    if isinstance(error, CardError):
        return error
    found = (card.fault(error) for card in (*_instead, *_opened.values()))
    return next((fault for fault in found if fault is not None), None)


def kernel_names(source: str) -> list[str]:
    """Return the names of a source's kernels."""
    return _KERNEL.findall(source)


def definitions(given: Mapping[str, str | int]) -> str:
    """Return the lines that say what a source's words in capitals are. Raises TypeError for an unknown type."""
    lines = []
    for name, value in {"THREADS": 256, **given}.items():
        if isinstance(value, str) and value not in C_TYPES:
            raise TypeError(f"{name}: kernels know no type {value!r}")
        lines.append(f"#define {name} {C_TYPES[value] if isinstance(value, str) else value}\n")
    return "".join(lines)


def typed(argument: Any) -> Any:
    """Return a number of Python as kernels take it: int as int64, float as float64; all else as it is."""
    if isinstance(argument, bool | int):
        return np.int64(argument)
    return np.float64(argument) if type(argument) is float else argument
