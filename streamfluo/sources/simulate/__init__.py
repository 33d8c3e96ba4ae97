"""Simulators: frames whose truth is known, as a source like any other.

What lives here: `source.py` (the URI and the source), one file per simulator beside it (`calcium.py`, `blinking.py`,
`gain.py`, `spots.py`, `bleaching_steps.py`, `voltage.py`; `days.py`: an animal's days of `calcium.py`), and what they
share: `camera.py` (photons to grey values), `psf.py` (the image of a point), `telegraph.py` (switching on and off),
`timeline.py` (time courses with a memory), `tissue.py` (what lies still).
It may import core, numpy and scipy.

To add a simulator: one file with a parameter struct derived from `camera.CameraParams` and a class with `Params`,
`version`, `spec`, `render(start, stop)` and `truth(frames)` (`source.Simulator` says what each means), and one line in
`source.SIMULATORS`. Frame i must depend on the parameters and i alone, to the bit: take its random numbers from
`camera.generator(seed, stream, i)`. Raise `version` whenever the pixels of a given set of parameters change.
"""
