"""Saving what an image shows: as it is seen, or its pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PySide6.QtCore import QPointF
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import QFileDialog, QMessageBox

from .image_panel import ImagePanel
from .timeline import spelled_time

if TYPE_CHECKING:
    from .window import Window

STAMP_PX = 14  # from the corner


def save_image(window: Window, image: ImagePanel, form: Literal["PNG", "TIFF"]) -> None:
    """Ask where to, and save what an image shows."""
    suffix = ".png" if form == "PNG" else ".tif"
    proposed = f"{image.panel.title.replace(': ', '-')}-frame{image.shown_index}{suffix}"
    path, _ = QFileDialog.getSaveFileName(window, f"Save as {form}", proposed, f"{form} (*{suffix})")
    if not path:
        return
    try:
        at = f"{spelled_time(image.shown_index, window.model.interval_s)} · frame {image.shown_index}"
        save_picture(image, Path(path), at if window.stamps else "") if form == "PNG" else save_data(image, Path(path))
    except OSError as error:
        QMessageBox.warning(window, "streamfluo", f"{path} could not be written: {error.strerror or error}")


def save_picture(image: ImagePanel, path: Path, stamp: str = "") -> None:
    """Write what is seen as PNG, with its scale bar, and with words `stamp` in its lower left. Raises OSError."""
    picture = image.canvas.grab()
    if stamp:
        canvas = image.canvas
        corner = canvas.over.mapRectToScene(canvas.frame_rect).intersected(canvas.box.sceneBoundingRect()).bottomLeft()
        painter = QPainter(picture)
        painter.setFont(canvas.font())
        for apart, colour in ((1, "black"), (0, "white")):  # legible on any image
            painter.setPen(QColor(colour))
            painter.drawText(corner + QPointF(STAMP_PX + apart, -STAMP_PX + apart), stamp)
        painter.end()
    if not picture.save(str(path), "PNG"):
        raise OSError(f"{path}: the picture could not be written")


def save_data(image: ImagePanel, path: Path) -> None:
    """Write the pixels shown as TIFF, of several planes all of them in the order shown. Raises OSError."""
    import tifffile  # takes 40 ms to load, of a second in which the window opens

    images = [one.astype(np.float32) if one.dtype == np.float64 else one for one in image.images()]
    if len(images) == 1:
        tifffile.imwrite(path, images[0], photometric="minisblack")
    elif images:
        tifffile.imwrite(path, np.stack(images), photometric="minisblack", metadata={"axes": "QYX"})
