"""Actions: what arrives at the other end, and what is said of one that cannot be."""

import http.server
import json
import os
import socket
import sys
import threading

import pytest
import zmq

from streamfluo import ConfigError
from streamfluo.actions.opening import open_action
from streamfluo.core.action import Decision

FIRED = Decision("fires", 812, 27_066_666_667, "uid-1", 1_000, 1_500, 2_000)
TOLD = {"type": "decision", **FIRED._asdict()}


@pytest.fixture
def opened():
    actions = []

    def open_one(uri, message=None):
        actions.append(open_action(uri, message))
        return actions[-1]

    yield open_one
    for action in actions:
        action.close()


def test_push_and_publish_over_zeromq(opened):
    context = zmq.Context()
    pull, subscriber = context.socket(zmq.PULL), context.socket(zmq.SUB)
    port = pull.bind_to_random_port("tcp://127.0.0.1")
    opened(f"push+tcp://127.0.0.1:{port}", "pulse $step $frame").do(FIRED)
    assert pull.poll(5000)
    assert pull.recv() == b"pulse fires 812"
    publisher = opened("pub+tcp://127.0.0.1:0")
    subscriber.connect(publisher.endpoint)
    subscriber.subscribe(b"fires")
    for _ in range(100):  # a subscription takes its time
        publisher.do(FIRED)
        if subscriber.poll(50):
            break
    step, told = subscriber.recv_multipart()
    assert (step, json.loads(told)) == (b"fires", TOLD)
    context.destroy(0)


def test_nobody_there_is_a_failure(opened):
    with pytest.raises(zmq.Again):
        opened("push+tcp://127.0.0.1:1").do(FIRED)


def test_osc_over_udp(opened):
    pytest.importorskip("pythonosc", reason="needs the extra [devices]")
    from pythonosc.osc_message import OscMessage

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        opened(f"osc://127.0.0.1:{receiver.getsockname()[1]}/stim/go").do(FIRED)
        message = OscMessage(receiver.recv(4096))
        assert message.address == "/stim/go"
        assert message.params[:2] == ["fires", 812]
        assert message.params[2] == pytest.approx(27.066666)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_line_on_a_serial_port(opened):
    pytest.importorskip("serial", reason="needs the extra [devices]")
    import pty

    ours, theirs = pty.openpty()
    opened(f"serial:{os.ttyname(theirs)}?baud=9600", "P$frame").do(FIRED)
    assert os.read(ours, 100).replace(b"\r", b"") == b"P812\n"
    os.close(ours)


def test_a_marker_on_the_lab_streaming_layer(opened):
    pylsl = pytest.importorskip("pylsl", reason="needs the extra [devices]")
    action = opened("lsl:streamfluo-test", "fired $frame")
    found = pylsl.resolve_byprop("name", "streamfluo-test", timeout=10)
    inlet = pylsl.StreamInlet(found[0])
    inlet.open_stream(timeout=10)
    action.do(FIRED)
    sample, _ = inlet.pull_sample(timeout=10)
    assert sample == ["fired 812"]


@pytest.fixture
def web():
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, body))
            self.send_response(503 if self.path == "/busy" else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    got = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", got
    server.shutdown()
    server.server_close()


def test_http_to_a_program_of_this_machine(opened, web):
    uri, got = web
    action = opened(f"{uri}/fired?dose=2")
    action.do(FIRED)
    action.do(FIRED)
    assert [path for path, _ in got] == ["/fired?dose=2"] * 2
    assert json.loads(got[0][1]) == TOLD
    with pytest.raises(OSError, match="answered 503"):
        opened(f"{uri}/busy").do(FIRED)


called = []


def test_a_function_that_the_config_names(opened):
    opened(f"python:{__name__}:note").do(FIRED)
    assert called[-1] == FIRED


def note(decision):
    called.append(decision)


@pytest.mark.parametrize(
    ("uri", "message", "says"),
    [
        ("ocs://127.0.0.1:9", None, "no action of scheme 'ocs'; did you mean 'osc'?"),
        ("fires", None, "no action of scheme"),
        ("push+tcp://127.0.0.1", None, "not an endpoint"),
        ("pub+tcp://0.0.0.0:5570", None, "refused to bind beyond this machine without encryption"),
        ("http://example.org/x", None, "posted to this machine alone"),
        ("osc://127.0.0.1/x", None, "write osc://HOST:PORT/address"),
        ("serial:/dev/nothing-there", None, "cannot open the serial line"),
        ("serial:/dev/null?baud=fast", None, "baud is a number, found 'fast'"),
        ("serial:/dev/null?speed=9", None, "a serial line says ?baud=, not 'speed'"),
        ("python:os", None, "write package.module:function"),
        ("python:no_such_module:f", None, "cannot import no_such_module"),
        ("python:os:nothing", None, "os has no nothing"),
        ("python:os:sep", None, "sep is no function"),
        ("http://127.0.0.1:1/", "at $fame", "a decision has no 'fame'; there is $step, $frame"),
        ("http://127.0.0.1:1/", "5 $", "Invalid placeholder"),
    ],
)
def test_an_action_that_cannot_be_is_refused_in_one_line(uri, message, says):
    with pytest.raises(ConfigError) as error:
        open_action(uri, message)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
