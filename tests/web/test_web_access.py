"""Who may look at pages: tokens, where a page came from, where pages are served."""

import os
import stat

import pytest

from streamfluo.core.errors import ConfigError
from streamfluo.web.access import Place, is_own_page, is_token, new_token, parse_bind, token_of


@pytest.mark.parametrize(
    ("text", "place", "beyond"),
    [
        ("127.0.0.1:8080", Place("127.0.0.1", 8080), False),
        ("localhost:0", Place("localhost", 0), False),
        ("[::1]:8080", Place("::1", 8080), False),
        ("0.0.0.0:80", Place("0.0.0.0", 80), True),
        ("rig.local:8080", Place("rig.local", 8080), True),
    ],
)
def test_a_place_is_a_host_and_a_port(text, place, beyond):
    assert parse_bind(text) == place
    assert parse_bind(text).beyond == beyond


@pytest.mark.parametrize(
    "text", ["8080", ":8080", "127.0.0.1", "127.0.0.1:65536", "tcp://127.0.0.1:1", "::1:80", "a b:1"]
)
def test_what_is_no_place_is_refused_in_one_line(text):
    with pytest.raises(ConfigError, match="--bind is HOST:PORT") as refused:
        parse_bind(text)
    assert "\n" not in str(refused.value)


def test_the_address_to_open_names_a_host_that_can_be_reached():
    assert Place("0.0.0.0", 8080).url("t", "rig") == "http://rig:8080/?token=t"
    assert Place("::1", 8080).url("t", "rig") == "http://[::1]:8080/?token=t"


def test_a_token_is_new_each_time_and_kept_in_a_file_for_nobody_else(tmp_path):
    assert new_token() != new_token()
    path = tmp_path / "token"
    assert token_of(path) == token_of(path)
    assert len(token_of(path)) >= 32
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "short", "with space and more", "tokén-of-sixteen-or-more"])
def test_a_token_that_is_short_or_odd_is_refused(tmp_path, text):
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="a token has 16 or more"):
        token_of(path)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_a_token_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text(new_token())
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        token_of(path)


def test_a_token_that_cannot_be_kept_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read or made"):
        token_of(tmp_path / "nowhere" / "token")


SECRET = "secret-secret-secret"


@pytest.mark.parametrize(
    "path",
    ["/", "/ws", "/?token=", "/?token=abc", f"/?token={SECRET[:-1]}", f"/?token={SECRET}x", f"/?t={SECRET}",
     f"/?token={SECRET}&token={SECRET}", "/?token=\udcff", f"/?{'a=b&' * 20}token={SECRET}"],
)  # fmt: skip
def test_another_token_is_none(path):
    assert is_token(f"/?token={SECRET}", SECRET)
    assert not is_token(path, SECRET)


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("https://rig.lab", "RIG.lab", True),  # behind a proxy that speaks TLS
        ("http://127.0.0.1:9999", "127.0.0.1:8080", False),
        ("http://evil.example", "127.0.0.1:8080", False),
        ("http://127.0.0.1:8080@evil.example", "127.0.0.1:8080", False),
        ("file://127.0.0.1:8080", "127.0.0.1:8080", False),
        ("http://[", "127.0.0.1:8080", False),
        ("null", "127.0.0.1:8080", False),
        (None, "127.0.0.1:8080", False),
        ("http://127.0.0.1:8080", None, False),
    ],
)
def test_only_a_page_of_this_program_may_open_a_socket(origin, host, own):
    assert is_own_page(origin, host) is own
