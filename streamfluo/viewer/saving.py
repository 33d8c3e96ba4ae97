"""Saving what an image shows: as it is seen, or its pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
from PySide6.QtWidgets import QFileDialog, QMessageBox, QWidget

from .image_panel import ImagePanel


def save_image(window: QWidget, image: ImagePanel, form: Literal["PNG", "TIFF"]) -> None:
    """Ask where to, and save what an image shows."""
    suffix = ".png" if form == "PNG" else ".tif"
    proposed = f"{image.panel.title.replace(': ', '-')}-frame{image.shown_index}{suffix}"
    path, _ = QFileDialog.getSaveFileName(window, f"Save as {form}", proposed, f"{form} (*{suffix})")
    if not path:
        return
    try:
        save_picture(image, Path(path)) if form == "PNG" else save_data(image, Path(path))
    except OSError as error:
        QMessageBox.warning(window, "streamfluo", f"{path} could not be written: {error.strerror or error}")


def save_picture(image: ImagePanel, path: Path) -> None:
    """Write what is seen as PNG. Raises OSError."""
    if not image.canvas.grab().save(str(path), "PNG"):
        raise OSError(f"{path}: the picture could not be written")


def save_data(image: ImagePanel, path: Path) -> None:
    """Write the pixels shown as TIFF, of several planes all of them in the order shown. Raises OSError."""
    images = [one.astype(np.float32) if one.dtype == np.float64 else one for one in image.images()]
    if len(images) == 1:
        tifffile.imwrite(path, images[0], photometric="minisblack")
    elif images:
        tifffile.imwrite(path, np.stack(images), photometric="minisblack", metadata={"axes": "QYX"})
