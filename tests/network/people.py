"""Accounts with folders of keys, and a server that other machines see."""

import contextlib
import time

import zmq
from toy_server import frames, same, serving

from streamfluo import SourceError, open_source
from streamfluo.network import access, keys
from streamfluo.network.socket import beside, connect, new_context

PATIENCE_S = 2.0


class People:
    """Accounts, each with a folder of keys: `become` one before connecting."""

    def __init__(self, folder, monkeypatch):
        self._folder, self._monkeypatch = folder, monkeypatch
        self.pairs = {}

    def become(self, name):
        self._monkeypatch.setenv(keys.FOLDER_VARIABLE, str(self._folder / name))
        if name not in self.pairs:
            self.pairs[name] = keys.new_identity(name)
        return self.pairs[name]

    def allow(self, name, *roles):
        """The server lets somebody in."""
        self.become(name)
        keys.allow(self.pairs[name].public, roles, name, self._folder / "server")
        time.sleep(access.LOOK_S)

    def revoke(self, name):
        keys.revoke(name, self._folder / "server")


@contextlib.contextmanager
def reachable(people, **options):
    """A server of frames with previews, as other machines see it; `uri` has its key."""
    server = people.become("server")
    with serving(uri="tcp://*:0", **options) as served:
        served.uri = beside(f"tcp://127.0.0.1:1?key={server.public}", served.uri)
        yield served


def may(question):
    """Whether a question is answered, not refused; any other error is one."""
    refused = None
    try:
        question()
    except SourceError as error:
        refused = str(error)
    assert refused is None or "not allowed" in refused or "has not the role" in refused
    return refused is None


def takes_frames(uri):
    with open_source(uri) as source:
        assert same(frames(source.blocks()))


def pushed_to(endpoint, messages):
    """A sender that has pushed."""
    context = new_context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 500)
    connect(socket, endpoint)
    for message in messages:
        with contextlib.suppress(zmq.Again):
            socket.setsockopt(zmq.SNDTIMEO, 500)
            socket.send(message)
    return context, socket
