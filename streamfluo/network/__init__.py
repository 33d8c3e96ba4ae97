"""Frames over ZeroMQ: `server.py` serves them, `consumer.py` asks for them, `core/wire.py` says in which words.

The only door to zmq.
"""
