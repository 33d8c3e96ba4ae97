"""The house in figures: who imports whom against the floors, how long files and functions are, what docstrings say.

python tools/house.py
"""

import ast
import re
import statistics
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_floors import FILES, FLOORS, inside, ours, room

SHAPE_OR_UNIT = re.compile(
    r"\((?:[a-zK-Z0-9·_…≥+−/. ]+, ?)+[^)]*\)|\[[^\]]+\]|_(?:px|um|adu|e|s|ns|hz|nm)\b|\b(?:px|ADU|nm)\b"
)


def functions():
    """Yield (file, function, whether it is public) of every function and method of the package."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node, not node.name.startswith("_")


def parameters(function):
    """The number of a function's parameters, self and cls not counted."""
    a = function.args
    names = [x.arg for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg)))]
    return len([name for name in names if name not in ("self", "cls")])


def takes_or_gives_arrays(function):
    """Whether its annotations name arrays."""
    annotations = [function.returns, *(x.annotation for x in (*function.args.args, *function.args.kwonlyargs))]
    return any(annotation is not None and "ndarray" in ast.unparse(annotation) for annotation in annotations)


def print_imports():
    found = Counter((room(path), name.split(".")[0]) for path in FILES for name, _ in ours(path))
    print("room            imports (files' imports counted)                        beyond its floor")
    for name in FLOORS:
        there = {to: n for (of, to), n in sorted(found.items()) if of == name and to not in (name, "__version__")}
        beyond = [to for to in there if to not in FLOORS[name]] if name != "core" else sorted(there)
        print(f"{name:15} {' '.join(f'{to} {n}' for to, n in there.items()):65} {' '.join(beyond) or '-'}")


def main():
    print_imports()
    lines = {inside(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    largest = max(lines, key=lines.get)
    median = statistics.median(lines.values())
    print(f"\nfiles: {len(lines)}, median {median:.0f} lines, largest {lines[largest]} ({largest})")
    everything = list(functions())
    sizes = [f.end_lineno - f.lineno + 1 for _, f, _ in everything]
    wide = [(parameters(f), inside(path), f.name) for path, f, _ in everything if parameters(f) > 6]
    share = 100 / len(everything)
    print(f"functions: {len(everything)}, above 50 lines {sum(s > 50 for s in sizes) * share:.2f} %")
    print(f"above six parameters: {len(wide)}, {len(wide) * share:.2f} %; above eight:", [w for w in wide if w[0] > 8])
    public = [f for path, f, is_public in everything if is_public and "kernels" not in path.parts]
    told = [f for f in public if ast.get_docstring(f)]
    arrays = [f for f in told if takes_or_gives_arrays(f)]
    spoken = [f for f in arrays if SHAPE_OR_UNIT.search(ast.get_docstring(f))]
    print(f"public functions with a docstring: {len(told)} of {len(public)}")
    print(f"of those with arrays, with shapes or units: {len(spoken)} of {len(arrays)}")


if __name__ == "__main__":
    main()
