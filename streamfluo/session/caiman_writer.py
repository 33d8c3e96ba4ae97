"""Writing cells as the HDF5 that CaImAn keeps its estimates in, as far as its documentation names them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .cell_writers import Components


def write_caiman(path: Path, cells: Components, rate_hz: float | None) -> Path:
    """Write A, C, S, YrA, F_dff and what was accepted of all components, and return the file.

    A (pixels, K) is sparse, in columns; its pixels are numbered along y first. C is the denoised activity in noise σ,
    C + YrA the demixed one; with a structural channel `structural` (K,) says which lie on its cells. Raises ImportError
    without h5py, OSError.
    """
    import h5py

    footprints = in_column_order(cells)
    accepted = cells.accepted
    with h5py.File(path, "w") as file:
        estimates = file.create_group("estimates")
        sparse = estimates.create_group("A")
        parts = {"data": footprints.data, "indices": footprints.indices, "indptr": footprints.indptr}
        for name, array in {**parts, "shape": np.array(footprints.shape)}.items():
            sparse[name] = array
        arrays = {
            "C": cells.traces, "S": cells.spikes, "YrA": cells.raw.astype(float) - cells.traces, "F_dff": cells.dff,
            "idx_components": np.flatnonzero(accepted), "idx_components_bad": np.flatnonzero(~accepted),
            "SNR_comp": cells.snr, "r_values": cells.spatial_corr, "dims": np.array(cells.shape),
            "b": np.zeros((footprints.shape[0], 0)), "f": np.zeros((0, len(cells.frame))),
            "Cn": np.nan_to_num(cells.background), "id": cells.ids,
        }  # fmt: skip
        if np.isfinite(cells.structural_chance).any():
            arrays |= {"structural": cells.structural, "structural_chance": cells.structural_chance}
        for name, array in arrays.items():
            estimates[name] = array
        file["dims"] = np.array(cells.shape)
        data = file.create_group("params/data")
        data["dims"] = np.array(cells.shape)
        if rate_hz is not None:
            data["fr"] = rate_hz
    return path


def in_column_order(cells: Components) -> Any:
    """Return the footprints (pixels, K) with pixels numbered along y first."""
    import scipy.sparse

    height, width = cells.shape
    own = cells.footprints.tocoo()
    y, x = np.divmod(own.row, width)
    return scipy.sparse.csc_matrix((own.data, (x * height + y, own.col)), shape=own.shape)
