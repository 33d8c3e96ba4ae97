"""Floor 2: what is done when a trigger fires, a kind a file. It may import core.

opening                                        actions by URI
http, osc, serial_line, lsl, ni, function      one kind each, a door to its library
ZeroMQ's are in network, `actions.py`
"""
