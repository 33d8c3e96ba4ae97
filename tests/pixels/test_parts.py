"""Kernels that are compiled as lines of their caller have one, and its options."""

import dis
from importlib import import_module
from inspect import getsource
from pathlib import Path

from numba.core.dispatcher import Dispatcher

import streamfluo

PACKAGE = Path(streamfluo.__file__).parent


def kernels():
    """Every kernel of the package, for any processor."""
    files = [file for file in PACKAGE.glob("*/kernels/*.py") if not file.stem.endswith("_gpu")]
    modules = [import_module(f"streamfluo.{file.parts[-3]}.kernels.{file.stem}") for file in files]
    found = {id(o): o for module in modules for o in vars(module).values() if issubclass(type(o), Dispatcher)}
    return [kernel for kernel in found.values() if kernel.py_func.__module__.startswith("streamfluo.")]


def called(kernel):
    """The kernels that a kernel calls, once for each place."""
    names = [i.argval for i in dis.get_instructions(kernel.py_func) if i.opname == "LOAD_GLOBAL"]
    return [kernel.py_func.__globals__.get(name) for name in names]


def options(kernel):
    return {name: option for name, option in kernel.targetoptions.items() if name != "inline"}


def test_a_part_has_one_caller_at_one_place_with_the_same_options():
    callers = [(part, kernel) for kernel in kernels() for part in called(kernel)]
    parts = [kernel for kernel in kernels() if getsource(kernel.py_func).startswith("@part")]
    assert len(parts) > 90
    wrong = []
    for part in parts:
        found = [kernel for called_there, kernel in callers if called_there is part]
        if len(found) != 1 or options(found[0]) != options(part):
            wrong.append((part.py_func.__name__, [kernel.py_func.__name__ for kernel in found]))
    assert wrong == []
