"""An `ssh` for tests: takes the words that the real one is given, and is the SOCKS5 server (RFC 1928) it would be.

Each connection is noted in $FAKE_SSH_LOG: the host and the port. To a host called nowhere it says what ssh says.
"""

import os
import socket
import sys
import threading

words = sys.argv[1:]
host = words[words.index("--") + 1]
if host == "nowhere":
    sys.exit("ssh: Could not resolve hostname nowhere: Name or service not known")
here, _, port = words[words.index("-D") + 1].partition(":")


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def carry(client):
    with client:
        if not client.recv(2 + 255):
            return  # somebody looked whether we are there
        client.sendall(b"\x05\x00")
        wanted = int.from_bytes(client.recv(262)[-2:], "big")
        with open(os.environ["FAKE_SSH_LOG"], "a") as file:
            file.write(f"{host} {wanted}\n")
        with socket.create_connection(("127.0.0.1", wanted)) as server:
            client.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01" + wanted.to_bytes(2, "big"))
            threading.Thread(target=pump, args=(server, client), daemon=True).start()
            pump(client, server)


listener = socket.create_server((here, int(port)))
while True:
    threading.Thread(target=carry, args=(listener.accept()[0],), daemon=True).start()
