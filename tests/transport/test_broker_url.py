"""Broker URLs: every form is understood, every mistake gets a clear line, and no password is ever shown."""

from pathlib import Path

import pytest

from workbench.errors import ConfigurationError
from workbench.transport.broker_url import BrokerAddress, parse_broker_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://localhost", BrokerAddress(scheme="mqtt", host="localhost", port=1883)),
        ("mqtt://10.0.0.1:2000/", BrokerAddress(scheme="mqtt", host="10.0.0.1", port=2000)),
        ("mqtt://[::1]:2000", BrokerAddress(scheme="mqtt", host="::1", port=2000)),
        ("mqtt://ann@h", BrokerAddress(scheme="mqtt", host="h", port=1883, user="ann")),
        ("mqtt://ann:p%40ss@h:9", BrokerAddress(scheme="mqtt", host="h", port=9, user="ann", password="p@ss")),
        ("mqtts://h", BrokerAddress(scheme="mqtts", host="h", port=8883)),
        ("unix:///run/m.sock", BrokerAddress(scheme="unix", host="/run/m.sock")),
    ],
)
def test_every_form_is_understood(url: str, address: BrokerAddress):
    assert parse_broker_url(url) == address


def test_a_ca_file_must_exist(tmp_path: Path):
    ca = tmp_path / "ca.pem"
    with pytest.raises(ConfigurationError, match="not there"):
        parse_broker_url(f"mqtts://h?ca={ca}")
    ca.touch()
    assert parse_broker_url(f"mqtts://h?ca={ca}").ca_path == ca


@pytest.mark.parametrize(
    ("url", "mistake"),
    [
        ("", "no scheme"),
        ("localhost:1883", "no scheme"),
        ("http://h", "'http'"),
        ("mqtt://", "no host"),
        ("mqtt://:1883", "no host"),
        ("mqtt://h:secret", "bad host or port"),
        ("mqtt://h:70000", "bad host or port"),
        ("mqtt://h:0", "port 0"),
        ("mqtt://[::1", "bad host or port"),
        ("mqtt://h/secret", "path"),
        ("mqtt://h?ca=secret", "option"),
        ("mqtt://ann:p?secret@h", "bad host or port"),
        ("mqtt://ann:12?secret@h", "option"),
        ("mqtt://ann:12#secret@h", "option"),
        ("mqtt://:secret@h", "no user"),
        ("unix://socket", "absolute path"),
        ("unix://", "absolute path"),
    ],
)
def test_every_mistake_gets_a_line_that_repeats_nothing_secret(url: str, mistake: str):
    with pytest.raises(ConfigurationError, match=mistake) as caught:
        parse_broker_url(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)


def test_neither_str_nor_repr_shows_the_password():
    address = parse_broker_url("mqtt://ann:secret@[::1]:7")
    assert str(address) == "mqtt://ann:***@[::1]:7"
    assert address.place == "::1:7"
    assert "secret" not in repr(address)
