"""Keys as files: whose they are, who is on the list, and what is wrong with one."""

import socket as sockets

import pytest
from toy_server import Serving

from streamfluo import SourceError
from streamfluo.core import wire
from streamfluo.core.errors import ConfigError
from streamfluo.network import keys
from streamfluo.network.client import ask

LINES = [
    ("", []),
    ("nonsense", []),
    ("{key}", []),
    ("{key} view", ["view"]),
    ("  {key}   view,record   Anna's laptop", ["view", "record"]),
    ("{key} view,owner anna", []),
    ("# {key} view", []),
    ("{key}00 view", []),
]


@pytest.mark.parametrize(("line", "roles"), LINES)
def test_a_line_of_the_list_that_is_none_lets_nobody_in(tmp_path, line, roles):
    (tmp_path / "allowed").write_text(line.format(key="ab" * 32) + "\n")
    assert [a.roles for a in keys.read_allowed(tmp_path / "allowed")] == ([frozenset(roles)] if roles else [])


def test_keys_are_for_their_owner_alone(people, tmp_path):
    people.become("anna")
    file = tmp_path / "anna" / "identity"
    if hasattr(sockets, "AF_UNIX"):
        assert file.stat().st_mode & 0o777 == 0o600
        file.chmod(0o640)
        with pytest.raises(ConfigError, match="others may read this secret key; chmod 600"):
            keys.identity()
    assert people.pairs["anna"].secret not in repr(people.pairs["anna"])


WRONG = [
    (lambda: keys.parse_key("abc"), "a key is 64 hexadecimal digits"),
    (lambda: keys.allow("ab" * 32, ["owner"], "x"), "no role 'owner'; there is"),
    (lambda: keys.allow("ab" * 32, [], "x"), "a key without a role may do nothing"),
    (lambda: keys.allow("ab" * 32, ["view"], "a\nb"), "a name has 1 to 64 printable characters"),
    (lambda: keys.revoke("anna"), "no key or name 'anna'"),
    (lambda: keys.new_identity("again"), "this account has a key already"),
    (lambda: keys.know_server("rig:5555", "cd" * 32), "its key is known as abab"),
    (lambda: ask("tcp://10.0.0.1:5555", wire.Hello()), "no key is known of this server; give it once"),
    (lambda: ask(f"tcp://rig:5555?key={'cd' * 32}", wire.Hello()), "its key is known as abab"),
    (lambda: ask("tcp://rig:5555?key=short", wire.Hello()), "a key is 64 hexadecimal digits"),
    (lambda: Serving(uri=f"tcp://*:0?key={'ab' * 32}"), "leave \\?key= away"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_what_is_wrong_with_a_key_is_said_in_one_line(people, call, message):
    people.become("anna")
    keys.know_server("rig:5555", "ab" * 32)
    with pytest.raises((ConfigError, SourceError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_is_no_key_pair_is_said(people, tmp_path):
    people.become("anna")
    for text in ("", "name = 1", "not toml [", 'name = "a"\npublic = "x"\nsecret = "y"'):
        (tmp_path / "anna" / "identity").write_text(text)
        with pytest.raises(ConfigError, match="no key pair"):
            keys.identity()
