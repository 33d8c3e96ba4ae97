"""What an operator needs only after its first frames: done while it is built, or put off and done beside the frames."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from .errors import StreamfluoError
from .learning import Learning

Within = Callable[[], AbstractContextManager[object]]
_ended = threading.Event()


@atexit.register
def end() -> None:
    """Do no more of what was put off, in this process: who waits for it is told so. The program ends."""
    _ended.set()


def ended() -> bool:
    """Return whether nothing of what was put off is done any more."""
    return _ended.is_set()


class PutOff:
    """Work that operators put off while they are built; `start` has it done on a thread, one after the other.

    Each piece is done within what `within` returns.
    """

    def __init__(self, within: Within = nullcontext) -> None:
        self.within, self.work = within, list[Later]()
        self._thread: Learning[Later] | None = None

    def start(self) -> None:
        """Begin with it, beside whatever comes."""
        self._thread = Learning(lambda: None, Later.wait)
        for work in self.work:
            self._thread.put(work)


class Later:
    """Pieces of work that are done once, by whoever comes first: the thread they were put off to, or who needs them."""

    def __init__(self, pieces: Iterable[Callable[[], object]], put_off: PutOff) -> None:
        self._left, self._lock = list(pieces), threading.Lock()
        self._put_off = put_off  # with the thread, which would end if nobody held it

    def wait(self) -> None:
        """Return once all of it is done. Raises what it raises, and StreamfluoError once the program ends."""
        with self._lock:
            if not self._left:
                return
            with self._put_off.within():
                while self._left:
                    if ended():
                        raise StreamfluoError("the program ends before its kernels are compiled; --resume goes on")
                    self._left[0]()
                    del self._left[0]


_asked: ContextVar[PutOff | None] = ContextVar("put off", default=None)


def later(*pieces: Callable[[], object]) -> Later:
    """Return work that is done by now, or put off where whoever builds operators said so."""
    put_off = _asked.get()
    work = Later(pieces, put_off or PutOff())
    if put_off is None:
        work.wait()
    else:
        put_off.work.append(work)
    return work


@contextmanager
def putting_off(within: Within = nullcontext) -> Iterator[PutOff]:
    """Have operators that are built within put off what they need later."""
    put_off = PutOff(within)
    token = _asked.set(put_off)
    try:
        yield put_off
    finally:
        _asked.reset(token)
