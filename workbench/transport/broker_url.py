"""Addresses of MQTT brokers: `mqtt://`, `mqtts://` and `unix://` URLs, parsed and printed without their password."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from workbench.errors import ConfigurationError

_FORMS = "mqtt://[user:password@]host[:1883], mqtts://host[:8883][?ca=/path/to/ca.pem] or unix:///path/to/socket"


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerAddress:
    """Where a broker listens and who we are to it. `str()` hides the password."""

    scheme: Literal["mqtt", "mqtts", "unix"]
    host: str
    """Host name or address; for `unix`, the path of the socket."""
    port: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_path: Path | None = None

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.host}"
        who = "" if self.user is None else f"{self.user}@" if self.password is None else f"{self.user}:***@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{who}{host}:{self.port}"

    @property
    def place(self) -> str:
        """`host:port`, or the path of the socket; for messages."""
        return self.host if self.scheme == "unix" else f"{self.host}:{self.port}"


def parse_broker_url(url: str) -> BrokerAddress:
    """Read a broker URL. Raises `ConfigurationError`, which never repeats the URL, for it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _mistake("the broker URL has a bad host or port") from None  # the cause may quote the password
    if parts.scheme not in ("mqtt", "mqtts", "unix"):
        raise _mistake(
            f"a broker URL cannot begin with {parts.scheme!r}" if "://" in url else "no scheme in broker URL"
        )
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.fragment or set(query) - ({"ca"} if parts.scheme == "mqtts" else set()):
        raise _mistake("the broker URL has an unknown option; write ?, #, / and @ in a password as %3F, %23, %2F, %40")
    if parts.scheme == "unix":
        return _unix_address(parts)
    if not parts.hostname:
        raise _mistake("the broker URL has no host")
    if parts.path not in ("", "/"):
        raise _mistake("the broker URL has a path after its host")
    if port == 0 or (parts.password is not None and not parts.username):
        raise _mistake("the broker URL has port 0" if port == 0 else "the broker URL has a password but no user")
    return BrokerAddress(
        scheme="mqtts" if parts.scheme == "mqtts" else "mqtt",
        host=parts.hostname,
        port=port or (8883 if parts.scheme == "mqtts" else 1883),
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        ca_path=_ca_path(query.get("ca")),
    )


def _unix_address(parts: SplitResult) -> BrokerAddress:
    if parts.netloc or not parts.path.startswith("/"):
        raise _mistake("the broker URL needs an absolute path of a socket")
    return BrokerAddress(scheme="unix", host=unquote(parts.path))


def _ca_path(text: str | None) -> Path | None:
    if text is None:
        return None
    path = Path(text)
    if not path.is_file():
        raise ConfigurationError(f"the broker URL names a CA file that is not there: {text}", hint="a PEM file")
    return path


def _mistake(message: str) -> ConfigurationError:
    return ConfigurationError(message, hint=f"expected {_FORMS}")
