"""The house keeps its floors and doors: who may import whom, how long a file may be, what an import may load."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import streamfluo

PACKAGE = Path(streamfluo.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

SCIENCES = ("motion", "calcium", "sofi", "gain", "spots", "counting", "closed_loop", "voltage")
FACES = {"__init__", "analysis", "client", "simulate", "testing"}  # lists of names for notebooks and third parties
# room → rooms of ours it may import; a science never imports another one
FLOORS = {
    "core": set(),
    "pixels": {"core"},
    **{science: {"core", "pixels"} for science in SCIENCES},
    "sources": {"core"},
    "network": {"core"},
    "actions": {"core"},
    "inputs": {"core"},
    "session": {"core", "sources"},
    "advise": {"core", "pixels", *SCIENCES, "sources"},  # looks at a recording with what every science has
    "engine": {"core", "sources", "network", "session", "actions", "inputs"},
    "reprocess": {"core", "sources", "session", "engine"},
    "report": {"core", "pixels", "session"},
    "catalogue": {"core", "pixels", "session", "report"},
    "verify": {"core", "sources", "session", "engine", "reprocess"},
    "sweep": {"core", "pixels", "sources", "session", "engine", "report", "catalogue", "reprocess"},
    "viewer": {"core", "network"},
    "web": {"core", "network", "viewer"},  # of the viewer what knows no Qt: tests/web
    "cli": {
        "core",
        "pixels",
        *SCIENCES,
        "sources",
        "advise",
        "network",
        "session",
        "engine",
        "reprocess",
        "report",
        "catalogue",
        "verify",
        "sweep",
        "viewer",
        "web",
        *FACES,
    },
    "__main__": {"cli"},
    "__init__": {"core", "sources", "session", "engine", *SCIENCES},
    "analysis": {"core", *SCIENCES},
    "client": {"core", "network"},
    "simulate": {"core", "sources"},
    "testing": {"core", "sources", "session", "engine"},
}

# library → where its door stands, as patterns of the path inside the package
DOORS = {
    "numba": ("*/kernels/*.py",),
    "cupy": ("pixels/card_gpu.py",),
    "zmq": ("network/*.py",),
    "tifffile": ("sources/tiff*.py", "session/tiff_writer.py", "viewer/saving.py"),
    "h5py": ("sources/*.py", "session/hdf5_writer.py", "session/caiman_writer.py", "session/nwb_writer.py"),
    "roifile": ("session/roi_writer.py",),
    "pythonosc": ("actions/osc.py",),
    "serial": ("actions/serial_line.py", "inputs/serial_line.py"),
    "nidaqmx": ("actions/ni.py", "inputs/ni.py"),
    "pylsl": ("actions/lsl.py", "inputs/lsl.py"),
    "pynwb": ("session/nwb_writer.py",),
    "zarr": ("sources/*.py", "session/*.py"),
    "fsspec": ("sources/zarr_remote.py",),
    "av": ("sources/video.py", "viewer/movie.py"),  # reading, and writing what a window shows
    "imagecodecs": ("network/compressed.py",),
    "matplotlib": ("*/report.py", "report/*.py", "cli/*.py"),
    "typer": ("cli/*.py",),
    "rich": ("cli/*.py",),
    "pyqtgraph": ("viewer/*.py",),
    "PySide6": ("viewer/*.py",),
    "websockets": ("web/server.py",),
    "dask": ("reprocess/cluster.py",),
    "distributed": ("reprocess/cluster.py",),
    "dask_jobqueue": ("reprocess/cluster.py",),
    "PIL": ("web/run_view.py",),
    "pymmcore": ("sources/camera*.py",),
    "pymmcore_plus": ("sources/camera*.py",),
    "p4p": ("network/pva.py",),
    "cbor2": ("network/dectris*.py",),
    "dectris": ("network/dectris*.py",),
    "useq": ("sources/camera*.py",),
    "yaml": ("sources/camera*.py",),
}
LAZY_DOORS = {("numba", "testing/subject.py")}  # there inside a function only

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
MAX_LINES = 400


def inside(path):
    return path.relative_to(PACKAGE).as_posix()


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(path):
    """Return (absolute dotted name, line, whether inside a function) of every import in a file, lazy ones too."""
    return list(_imports(path))


def _imports(path):
    package = ["streamfluo", *path.relative_to(PACKAGE).parts[:-1]]
    nodes = [(ast.parse(path.read_text(encoding="utf-8")), False)]  # and whether inside a function
    while nodes:
        node, lazy = nodes.pop()
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        nodes += [(child, lazy) for child in ast.iter_child_nodes(node)]
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            dotted = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{dotted}.{alias.name}", node.lineno, lazy
        elif isinstance(node, ast.Call):
            yield from ((name, node.lineno, True) for name in _imported_by_string(node))


def _imported_by_string(call):
    """Names that a call imports by a string: the keys of `lazy_names`, what `import_module` and `__import__` get."""
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if called == "lazy_names" and call.args and isinstance(call.args[0], ast.Dict):
        yield from (f"streamfluo.{key.value}" for key in call.args[0].keys)
    if called in ("import_module", "__import__"):
        yield ast.unparse(call.args[0]).strip("f'\"")


def ours(path):
    """Yield (name below streamfluo, line) of what a file imports from the package."""
    for name, line, _ in imports(path) if inside(path) != "core/lazy.py" else []:  # it imports what the faces name
        if name.startswith("streamfluo."):
            yield name.removeprefix("streamfluo."), line


def test_every_room_has_its_floor():
    assert {room(path) for path in FILES} == FLOORS.keys()


def test_a_floor_imports_only_from_floors_below():
    assert not [
        f"{inside(path)}:{line} imports {name}"
        for path in FILES
        if inside(path) != "core/lazy.py"  # it imports what the public faces name, and those tables are read here
        for name, line in ours(path)
        if name.split(".")[0] not in FLOORS[room(path)] | {room(path), "__version__"}
    ]


def test_a_kernel_imports_kernels_of_its_room_and_of_pixels():
    assert not [
        f"{inside(path)}:{line} imports {name}"
        for path in FILES
        if path.parent.name == "kernels"
        for name, line in ours(path)
        if not name.startswith((f"{room(path)}.kernels.", "pixels.kernels."))
    ]


def test_a_command_computes_nothing():
    commands = [path for path in FILES if room(path) == "cli"]
    found = [f"{inside(path)}:{line} imports {name}" for path in commands for name, line in ours(path)]
    assert len(found) > 100
    assert not [fault for fault in found if ".kernels." in fault or " kernels." in fault]


def test_a_heavy_library_has_one_door():
    assert not [
        f"{inside(path)}:{line} imports {name}"
        for path in FILES
        for name, line, lazy in imports(path)
        if (library := name.split(".")[0]) in DOORS
        and not any(path.relative_to(PACKAGE).match(pattern) for pattern in DOORS[library])
        and not (lazy and (library, inside(path)) in LAZY_DOORS)
    ]


def test_no_file_grows_past_400_lines():
    lengths = {inside(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {path: lines for path, lines in lengths.items() if lines > MAX_LINES}


def test_no_module_has_a_name_that_says_nothing():
    names = {path.stem for path in FILES} | {path.parent.name for path in FILES}
    assert not names & VAGUE_NAMES


def test_no_code_loads_a_pickle():
    found = [
        f"{inside(path)}:{line} imports {name}"
        for path in FILES
        for name, line, _ in imports(path)
        if name.split(".")[0] in ("pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "msgpack_numpy")
    ]
    assert not found


HEAVY = ("numba", "cupy", "zmq", "PySide6", "pyqtgraph", "matplotlib", "scipy", "tifffile", "h5py", "zarr")
LIGHT = ("import streamfluo", "from streamfluo import Block, Spec, Operator, ConfigError, open_source, Source, Params")


@pytest.mark.parametrize("line", LIGHT)
def test_importing_streamfluo_loads_nothing_heavy(line):
    script = f"import sys; {line}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_a_command_line_starts_without_numba_and_scipy():
    script = f"import sys, streamfluo.cli.cli; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"numba", "scipy", "matplotlib", "PySide6"} & set(done.stdout.split())


def test_operators_are_known_without_what_scipy_takes_long_to_load():
    slow = {"scipy.signal", "scipy.stats", "scipy.optimize", "scipy.interpolate"}
    asked = "import sys; from streamfluo.core.registry import operators; operators()"
    script = f"{asked}; print({slow} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", streamfluo.__all__)
def test_every_public_name_resolves(name):
    assert getattr(streamfluo, name) is not None
    assert name in dir(streamfluo)


@pytest.mark.parametrize("name", sorted(FACES - {"__init__"} | {"counting"}))
def test_a_face_is_an_attribute_without_being_imported(name):
    script = f"import streamfluo; print(streamfluo.{name}.__name__, {name!r} in dir(streamfluo))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [f"streamfluo.{name}", "True"]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = streamfluo.nothing
