"""`streamfluo keys`, and what commands say to servers on other machines."""

import pytest
from commands import command

from streamfluo.network import keys

OTHER = "ab" * 32


@pytest.fixture
def account(tmp_path, monkeypatch):
    """An account without a key."""
    monkeypatch.setenv(keys.FOLDER_VARIABLE, str(tmp_path / "keys"))
    return tmp_path


def said(account, *words):
    done = command(*words, cwd=account)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_key_is_made_once_shown_allowed_and_revoked(account):
    code, text = said(account, "keys", "new", "rig 2")
    mine = keys.identity().public
    assert code == 0
    assert text.startswith(f"{mine} rig 2")
    code, text = said(account, "keys", "new", "again")
    assert code == 1
    assert "this account has a key already" in text
    assert said(account, "keys", "allow", OTHER, "--role", "view,record", "--name", "office") == (
        0,
        f"office ({OTHER[:16]}…) may view, record",
    )
    text = said(account, "keys", "show")[1]
    assert mine in text
    assert f"{OTHER} view, record office" in text
    assert said(account, "keys", "allow", OTHER, "--name", "office")[0] == 0  # instead of what it had
    assert f"{OTHER} view office" in said(account, "keys", "show")[1]
    assert said(account, "keys", "revoke", "office") == (0, f"office ({OTHER[:16]}…) may come in no more")
    assert "no other key is allowed" in said(account, "keys", "show")[1]


WRONG = [
    (["keys", "show"], "this account has no key; make one: streamfluo keys new NAME"),
    (["keys", "allow", "5a0e"], "a key is 64 hexadecimal digits"),
    (["keys", "allow", OTHER, "--role", "owner"], "no role 'owner'; there is 'control', 'record', 'send', 'view'"),
    (["keys", "allow", OTHER, "--role", ","], "a key without a role may do nothing"),
    (["keys", "revoke", "nobody"], "no key or name 'nobody'"),
    (["status", "tcp://10.0.0.1:5560"], "no key is known of this server; give it once"),
    (["view", "tcp://10.0.0.1:5560", "--screenshot", "x.png"], "no key is known of this server; give it once"),
    (["record", "tcp://10.0.0.1:5560", "--out", "S"], "no key is known of this server; give it once"),
    (["protocol", "check", "tcp://10.0.0.1:5560?key=1"], "a key is 64 hexadecimal digits"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=lambda w: " ".join(w) if isinstance(w, list) else "")
def test_what_is_wrong_is_one_line(account, words, message):
    done = command(*words, cwd=account)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
