"""Floor 2: other streams beside the frames, a kind a file. It may import core.

opening        inputs by URI              udp, serial_line, lsl    one kind each, a door to its library
frame          of the frames' metadata     ni
ZeroMQ's are in network, `inputs.py`, `frame_times.py`
"""
