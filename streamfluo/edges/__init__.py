"""Floor 2: where frames come in and results go out.

What lives here: sources (`source.py` names them all), the network, the journal. Each heavy library has its one door
in this room: tifffile in `tiff.py`, zmq in `network/`. It may import core. To add a source: subclass `Source` in a
file of its own and name it in `source.open_source`.
"""
