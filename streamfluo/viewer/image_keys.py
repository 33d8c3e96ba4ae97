"""What a key does to the image under the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .image_menu import next_gamma
from .saving import save_image

if TYPE_CHECKING:
    from .window import Window

IMAGE_KEYS = ("F", "R", "H", "V", "L", "C", "Shift+C", "G", "M", "N", "B", "S", "D")


def act_on_image(window: Window, key: str) -> None:
    """Do to the image under the mouse what a key of IMAGE_KEYS asks for."""
    if (image := window.active) is None:
        return
    planes = window.model.planes
    actions = {
        "F": image.canvas.fit, "R": image.canvas.rotate, "H": lambda: image.canvas.flip(1),
        "V": lambda: image.canvas.flip(0), "M": image.next_mode, "Shift+C": image.next_colours,
        "G": lambda: next_gamma(image),
        "B": image.swap, "N": image.line.add,
        "C": planes.next_channel if len(planes.channels) > 1 else image.next_colours,
        "L": lambda: image.lock_levels(not image.locked),
        "S": lambda: save_image(window, image, "PNG"), "D": lambda: save_image(window, image, "TIFF"),
    }  # fmt: skip
    actions[key]()
