"""What a catalogue's columns are called, and what they mean."""

from __future__ import annotations

TEXT, NUMBER, TIME = "text", "number", "time"

# Of every session; what steps measured comes beside them under the names that operators give.
COLUMNS: dict[str, tuple[str, str]] = {
    "began": (TIME, "UTC of the first frame, of the run where frames do not say"),
    "name": (TEXT, "the folder's name"),
    "path": (TEXT, "the folder"),
    "state": (TEXT, "finished, aborted, running, interrupted, failed, unreadable"),
    "reason": (TEXT, "why it failed or cannot be read"),
    "steps": (TEXT, "kinds of the chain's steps"),
    "frames": (NUMBER, "frames that came"),
    "lost": (NUMBER, "frames that never came"),
    "lost_share": (NUMBER, "of all frames"),
    "duration_s": (NUMBER, "frames times their interval"),
    "interval_s": (NUMBER, "between frames"),
    "height_px": (NUMBER, "of a frame"),
    "width_px": (NUMBER, "of a frame"),
    "pixel_um": (NUMBER, "side of a pixel"),
    "nbytes": (NUMBER, "of the session's files"),
    "doubts": (NUMBER, "steps that were muted or doubt their results"),
    "source": (TEXT, "URI of the frames"),
    "uid": (TEXT, "of the series"),
    "rig": (TEXT, "what the sender calls rig or microscope, else machine and source"),
    "camera": (TEXT, "what the sender calls camera, else the channel"),
    "host": (TEXT, "the machine that ran it"),
    "version": (TEXT, "of streamfluo"),
    "gone": (TIME, "UTC of the scan that did not find it any more"),
    "sha256": (TEXT, "of session.json"),
    "config_sha256": (TEXT, "of config.toml"),
}
