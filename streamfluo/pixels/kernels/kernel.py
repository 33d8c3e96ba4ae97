"""How every kernel is compiled, and numba's cache of them on disk, safe for processes that compile at the same time.

Numba writes a function's index and its machine code one after the other: of two processes that compile it for other
types at once, each may point to the other's code. Here reading and writing take a lock of the cache's folder, some
0.1 ms each.

Five more things keep compiling short, for whoever runs a config for the first time. Numba compiles a kernel once for
every constant that another kernel passes to it, as for types of their own; here a constant is a number like any other
(a twentieth of all compiling). And each process that assigns an array to a slice would compile Python's strings, for
the shapes in a message that no kernel of ours ever shows: here the message goes without (six seconds a process). At
each call that it types, numba looks options up in a table and reads all twenty of them for it, several times: here it
compares those that were set (a twentieth to a tenth). For each block of a `part` that becomes lines of its caller it
copies every name of the whole function, with all that these know: here the table of names alone (a twentieth). And it
optimises every function by itself, then with what it calls, then once more: here the last two (a fifth).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache, partial, wraps
from pathlib import Path
from typing import Any

from filelock import FileLock
from numba.core import errors, ir
from numba.core.caching import Cache, IndexDataCacheFile
from numba.core.codegen import CPUCodeLibrary
from numba.core.targetconfig import TargetConfig
from numba.core.types import unliteral
from numba.extending import overload
from numba.np import arrayobj

from .cache_faults import cached_if_possible, loads_in_spite, saves_in_spite
from .cache_misses import looked_for_again
from .cache_stamps import stamp_of

OPTIONS: Mapping[str, Any] = {"nogil": True, "cache": True, "no_cfunc_wrapper": True}


def kernel(function: Any = None, **options: Any) -> Any:
    """Compile a function without the GIL, into the cache on disk; `options` are further ones of numba.njit.

    Without the wrapper that C callers would need: of what numba compiles, a twelfth.
    """
    if function is None:
        return partial(kernel, **options)
    compiled = cached_if_possible(function, {**OPTIONS, **options})
    if (files := getattr(compiled._cache, "_cache_file", None)) is not None:
        with suppress(OSError):  # no file: numba's own stamp
            files._source_stamp = stamp_of(function.__code__.co_filename)
    compiled.get_call_template = _without_constants(compiled.get_call_template)
    return compiled


def part(function: Any = None, **options: Any) -> Any:
    """A kernel that one other kernel calls, at one place and with the same options: compiled as lines of that one.

    On its own it would be translated, optimised, made machine code and kept, and then once more within its caller.
    """
    return kernel(function, **options, inline="always")


def _without_constants(get_call_template: Callable[..., Any]) -> Callable[..., Any]:
    """How a kernel is called from another one: with the types of what it gets, never with a type for one constant."""

    @wraps(get_call_template)
    def of_types(args: Any, kws: Any) -> Any:
        return get_call_template(tuple(map(unliteral, args)), {name: unliteral(kind) for name, kind in kws.items()})

    return of_types


def _refuse_shapes(source: Any, target: Any) -> None:
    raise TypeError("_refuse_shapes is for kernels only")


@overload(_refuse_shapes)
def _refuse_shapes_in_kernels(source: Any, target: Any) -> Callable[..., None]:
    def refuse(source: Any, target: Any) -> None:
        raise ValueError("cannot assign an array to a slice of another shape")

    return refuse


arrayobj.raise_with_shape_context = _refuse_shapes


def _own_names(scope: ir.Scope, memo: dict[int, Any]) -> ir.Scope:
    """A scope that may be given further names, with the ones of another."""
    names = memo[id(scope)] = ir.Scope(scope.parent, scope.loc)
    names.localvars._con.update(scope.localvars._con)
    names.redefined.update(scope.redefined)
    names.var_redefinitions.update({name: set(later) for name, later in scope.var_redefinitions.items()})
    return names


ir.Scope.__deepcopy__ = _own_names  # type: ignore[attr-defined]
ir.Loc.__deepcopy__ = lambda place, memo: place  # type: ignore[attr-defined]
CPUCodeLibrary._optimize_functions = lambda library, module: None  # type: ignore[method-assign]


def _same_options(one: TargetConfig, other: object) -> bool:
    if not isinstance(other, TargetConfig):
        return NotImplemented
    return one._values == other._values or one.values() == other.values()


def _options_hash(config: Any) -> int:
    return len(config.options)  # numba's own is that of their names


TargetConfig.__hash__ = _options_hash  # type: ignore[method-assign]
TargetConfig.__eq__ = _same_options  # type: ignore[method-assign]
vars(errors)["ColorShell"] = nullcontext  # of messages why a call does not fit; each one would set up the terminal


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def one_at_a_time(files: IndexDataCacheFile, *args: Any) -> Any:
        with _lock(files._cache_path):
            return method(files, *args)

    return one_at_a_time


@cache
def _lock(folder: str) -> AbstractContextManager[Any]:
    """The lock of a cache's folder; none where nothing can be written."""
    lock = FileLock(Path(folder) / "kernels.lock")
    try:
        with lock:
            return lock
    except OSError:
        return nullcontext()


Cache.load_overload = looked_for_again(Cache.load_overload)  # type: ignore[method-assign]
IndexDataCacheFile.load = _locked(loads_in_spite(IndexDataCacheFile.load))  # type: ignore[method-assign]
IndexDataCacheFile.save = _locked(IndexDataCacheFile.save)  # type: ignore[method-assign]
Cache._save_overload = saves_in_spite(Cache._save_overload)  # type: ignore[method-assign]
