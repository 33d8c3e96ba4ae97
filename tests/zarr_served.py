"""An OME-Zarr recording, and a web server that has one."""

import functools
import http.server
import threading
from contextlib import contextmanager

import numpy as np
import zarr


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def list_directory(self, path):
        self.send_error(404)  # as object stores behind a web server: nothing is listed


@contextmanager
def serving(folder):
    """Serve the files of a folder; yield the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def image(path, form=2, fill=0):
    movie = np.random.default_rng(1).poisson(40, (9, 12, 14)).astype(np.uint16)
    group = zarr.open_group(str(path), mode="w", zarr_format=form)
    array = group.create_array("0", shape=movie.shape, chunks=(2, 12, 14), dtype="uint16", fill_value=fill)
    array[:] = movie
    axes = [{"name": name, "type": kind} for name, kind in (("t", "time"), ("y", "space"), ("x", "space"))]
    scale = [{"type": "scale", "scale": [0.5, 0.2, 0.2]}]
    axes[0]["unit"] = "second"
    shown = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}], "version": "0.4"}]
    if form == 2:
        group.attrs["multiscales"] = shown
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": shown}
    return movie
