"""Send frames to streamfluo from any program: a start, an image per frame, an end. Needs pyzmq and numpy alone.

streamfluo run chain.toml --source ingest+tcp://127.0.0.1:5556        # or: streamfluo record ingest+tcp://…
python send_frames.py tcp://127.0.0.1:5556
"""

import json
import sys
import time

import numpy as np  # only to make up some pixels
import zmq

socket = zmq.Context().socket(zmq.PUSH)
socket.connect(sys.argv[1])
shape, frames = (256, 256), int(sys.argv[2]) if len(sys.argv) > 2 else 300
series = {"series_uid": f"example-{time.time_ns()}", "dtype": "<u2", "shape": shape}


def header(kind, **fields):
    return json.dumps({"type": kind, **series, **fields}).encode()


socket.send(header("start", interval_s=0.01, source="example", t0_ns=time.time_ns()))
for index in range(frames):
    pixels = np.random.default_rng(index).poisson(100, shape).astype("<u2").tobytes()
    t_ns = index * 10_000_000
    socket.send_multipart([header("image", seq=index, index=index, t_ns=t_ns, nbytes=len(pixels)), pixels])
    time.sleep(0.01)
socket.send(header("end", seq=frames, frames=frames))
socket.close()  # waits until everything is sent
zmq.Context.instance().term()
