"""The notebooks of the documentation hold what they showed when they were run, and they still run."""

import base64
import json
import os

import pytest
from pages import ROOT, python_faults

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LARGEST_PICTURE_BYTES = 200_000


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def outputs(path):
    return [output for cell in cells(path) for output in cell.get("outputs", [])]


def test_each_science_has_one():
    assert {path.stem for path in NOTEBOOKS} == {"calcium", "sofi", "gain", "spots", "counting"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_was_run_from_top_to_bottom_and_its_pictures_are_small(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [fault for cell in code for fault in python_faults("".join(cell["source"]))]
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs(path))
    pictures = [output["data"]["image/png"] for output in outputs(path) if "image/png" in output.get("data", {})]
    assert pictures
    assert all(len(base64.b64decode("".join(picture))) < LARGEST_PICTURE_BYTES for picture in pictures)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # of jupyter's own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, 4)
    run = nbclient.NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()  # raises CellExecutionError
    counts = [cell["execution_count"] for cell in run["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
