"""Writing cells as a ZIP of ROIs, which ImageJ and Fiji open in their ROI Manager."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import SourceError

if TYPE_CHECKING:
    from .cell_writers import Components


def write_rois(path: Path, cells: Components) -> Path:
    """Write the contour of each accepted component as a traced ROI called by its id, and return the file.

    A contour runs along the edges of the pixels above a fifth of the footprint's peak; corners are whole numbers, as
    ImageJ counts from the corner of the first pixel. Raises SourceError without roifile, OSError.
    """
    try:
        import roifile
    except ImportError:
        raise SourceError(f'{path}: needs roifile; install it with pip install "streamfluo[formats]"') from None
    ids = np.sort(cells.ids[cells.accepted])
    rois = []
    for i, contour in zip(ids.tolist(), cells.contours(ids.tolist()), strict=True):
        if len(contour):
            corners = np.rint(contour[:, ::-1] + 0.5).astype(np.int32)
            rois.append(roifile.ImagejRoi.frompoints(corners, name=f"cell-{i:04d}"))
            rois[-1].roitype = roifile.ROI_TYPE.TRACED
    path.unlink(missing_ok=True)
    if rois:
        roifile.roiwrite(path, rois)
    else:
        _empty_zip(path)
    return path


def _empty_zip(path: Path) -> None:
    import zipfile

    zipfile.ZipFile(path, "w").close()
