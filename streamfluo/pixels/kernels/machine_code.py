"""Machine code for the kernels that Python calls, and for no others.

Numba optimises every function and turns it into machine code by itself, and does so again within each function that
calls it, up to the one that Python calls: code five calls deep is optimised six times, and one of these is ever run.
Here a function that only kernels call stays as it was lowered, in memory and in the cache, without the wrapper for
Python; it is optimised once, as part of the kernel that Python calls (of all compiling, the rest was a third). Should
Python call it as well, wrapper and machine code are made then, and kept in the cache.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import wraps
from typing import Any
from weakref import WeakSet

from llvmlite.binding import ffi
from numba.core import compiler, environment
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen, RuntimeLinker
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu import CPUContext
from numba.core.dispatcher import Dispatcher
from numba.core.environment import lookup_environment
from numba.core.runtime.nrt import rtsys
from numba.core.sigutils import normalize_signature
from numba.core.targetconfig import ConfigStack

ENVIRONMENT = "_ZN08NumbaEnv"  # what the names of a function's globals and constants begin with


class _Caller(threading.local):
    kernels = 0  # how many kernels this thread types a call within; 0: Python calls


_caller = _Caller()
_waiting: WeakSet[Any] = WeakSet()


def waits(library: Any) -> bool:
    """Whether a function's library has no machine code yet."""
    return getattr(library, "only_lowered", False)


def _has_wrapper(result: Any) -> bool:
    """Whether Python can call what was compiled."""
    return result.library.codegen._engine.is_symbol_defined(result.fndesc.llvm_cpython_wrapper_name)


_optimize, _finalize = JITCodeLibrary._optimize_final_module, JITCodeLibrary._finalize_final_module
_pointer, _serialize = JITCodeLibrary.get_pointer_to_function, JITCodeLibrary.serialize_using_object_code
_rebuild_env = environment._rebuild_env
_set_env, _wrap = JITCPUCodegen.set_env, CPUContext.create_cpython_wrapper
_call_template, _compile, _add_overload = Dispatcher.get_call_template, Dispatcher.compile, Dispatcher.add_overload


def _optimize_later(library: Any) -> None:
    """Leave what was just linked as it is."""


def _finalize_later(library: Any) -> None:
    if not library._object_caching_enabled:
        library.enable_object_caching()
    elif library._compiled_object is not None:  # machine code from the cache
        _finalize(library)
        return
    library._finalize_dynamic_globals()
    library._finalized = library.only_lowered = True
    _waiting.add(library)
    prefix = RuntimeLinker.PREFIX
    named = {v.name.removeprefix(prefix) for v in library._final_module.global_variables if v.name.startswith(prefix)}
    if named:  # functions that call each other in a circle find each other by their addresses
        rtsys.library.get_pointer_to_function("nrt_unresolved_abort")
        for each in (*(other for other in tuple(_waiting) if any(_defines(other, name) for name in named)), library):
            _make(each)


def _defines(library: Any, name: str) -> bool:
    return any(f.name == name and not f.is_declaration for f in library._final_module.functions)


def _make(library: Any) -> None:
    """Optimise a library and make its machine code, with the globals and constants of every function within it."""
    with global_compiler_lock:
        if not waits(library):
            return
        library._get_module_for_linking()  # as it was lowered
        _optimize(library)
        _finalize(library)
        library.only_lowered = False
        _waiting.discard(library)
        for variable in library._final_module.global_variables:
            name = variable.name
            if name.startswith(ENVIRONMENT) and (environment := lookup_environment(name)) is not None:
                _set_env(library.codegen, name, environment)


def _pointer_now(library: Any, name: str) -> int:
    library._ensure_finalized()
    if waits(library) and _defines(library, name):
        _make(library)
    return _pointer(library, name)


def _serialize_as_it_is(library: Any) -> Any:
    return library.serialize_using_bitcode() if waits(library) else _serialize(library)


def _set_env_where_there_is_code(codegen: JITCPUCodegen, name: str, environment: Any) -> None:
    if codegen._engine.is_symbol_defined(name):
        _set_env(codegen, name, environment)


@wraps(_rebuild_env)
def _rebuild_with_constants_of_the_wrapper(modname: Any, consts: Any, env_name: Any) -> Any:
    """Globals and constants of a function from the cache: one that was kept with a kernel that calls the function,
    before that had its wrapper, lacks those of the wrapper, which come last."""
    rebuilt = _rebuild_env(modname, consts, env_name)
    rebuilt.consts.extend(consts[len(rebuilt.consts) :])
    return rebuilt


def _wrap_what_python_calls(context: CPUContext, library: Any, description: Any, *rest: Any, **options: Any) -> None:
    if not (_caller.kernels and description.native):  # Python runs what is not native, such as a block in object mode
        _wrap(context, library, description, *rest, **options)


@wraps(_call_template)
def _typed_within_a_kernel(dispatcher: Any, args: Any, kws: Any) -> Any:
    _caller.kernels += 1
    try:
        return _call_template(dispatcher, args, kws)
    finally:
        _caller.kernels -= 1


@wraps(_compile)
def _compile_for_its_caller(dispatcher: Any, sig: Any) -> Any:
    entry = _compile(dispatcher, sig)
    if _caller.kernels:
        return entry
    with global_compiler_lock:
        args, _ = normalize_signature(sig)
        result = dispatcher.overloads.get(tuple(args))
        if result is None or _has_wrapper(result):
            return entry
        result = _callable(dispatcher, result)
        dispatcher.add_overload(result)
        dispatcher._cache.save_overload(sig, result)
        return result.entry_point


def _callable(dispatcher: Any, result: Any) -> Any:
    """What was compiled for kernels, with a wrapper for Python and machine code."""
    flags = compiler.Flags()
    dispatcher.targetdescr.options.parse_as_flags(flags, dispatcher.targetoptions)
    context = compiler._make_subtarget(dispatcher.targetdescr.target_context, flags)  # one from the cache has no flags
    library = result.library.codegen.create_library(result.library.name)
    if waits(result.library):  # a definition of its own, not one that gives way to a copy within another kernel
        library._final_module.link_in(result.library._final_module, preserve=True)
        library._reload_init.update(result.library._reload_init)
    else:
        library.add_linking_library(result.library)
    with ConfigStack().enter(flags.copy()):
        _wrap(context, library, result.fndesc, result.environment, None, release_gil=flags.release_gil)
    entry = context.get_executable(library, result.fndesc, result.environment)
    context.insert_user_function(entry, result.fndesc, [library])
    return result._replace(library=library, entry_point=entry)


@wraps(_add_overload)
def _add_what_has_code(dispatcher: Any, result: Any) -> None:
    if _has_wrapper(result):
        _add_overload(dispatcher, result)
    else:
        dispatcher.overloads[tuple(result.signature.args)] = result


CHANGES: tuple[tuple[Any, Mapping[str, Any]], ...] = (
    (
        JITCodeLibrary,
        {
            "_optimize_final_module": _optimize_later,
            "_finalize_final_module": _finalize_later,
            "get_pointer_to_function": _pointer_now,
            "serialize_using_object_code": _serialize_as_it_is,
        },
    ),
    (environment, {"_rebuild_env": _rebuild_with_constants_of_the_wrapper}),
    (JITCPUCodegen, {"set_env": _set_env_where_there_is_code}),
    (CPUContext, {"create_cpython_wrapper": _wrap_what_python_calls}),
    (
        Dispatcher,
        {
            "get_call_template": _typed_within_a_kernel,
            "compile": _compile_for_its_caller,
            "add_overload": _add_what_has_code,
        },
    ),
)
for kind, methods in CHANGES:
    for name, method in methods.items():
        setattr(kind, name, method)
for callbacks in tuple(ffi.lib._lock._cblist):
    ffi.unregister_lock_callback(*callbacks)
