"""The formats that schemas name, and the two forms of times."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from functools import lru_cache
from urllib.parse import urlsplit

__all__ = ["FORMATS", "micro_time", "now_micro", "now_seconds", "parse_time", "seconds_time"]

_RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(\.\d+)?(Z|z|[+-]\d{2}:\d{2})")
_DURATION = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d|w))+|0")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def parse_time(text: object) -> datetime:
    """Return an RFC 3339 time.

    Raises:
        ValueError: It is none.
    """
    found = _RFC3339.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("not an RFC 3339 time")
    day, clock, fraction, zone = found.groups()
    micro = ((fraction or ".")[1:] + "000000")[:6]
    moment = datetime.fromisoformat(f"{day}T{clock}.{micro}{'+00:00' if zone in 'Zz' else zone}")
    return moment.astimezone(timezone.utc)


def seconds_time(text: object) -> str:
    """Return a time in UTC with whole seconds. Raises ValueError like `parse_time`."""
    return _seconds_time(text) if isinstance(text, str) else parse_time(text).isoformat()


@lru_cache(maxsize=1_000)
def _seconds_time(text: str) -> str:
    return parse_time(text).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time(text: object) -> str:
    """Return a time in UTC with microseconds, which it must have. Raises ValueError like `parse_time`."""
    if not isinstance(text, str) or not re.search(r":\d{2}\.\d{6}(Z|[+-]\d{2}:\d{2})$", text):
        raise ValueError("microseconds are missing")
    return parse_time(text).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now_seconds(now: float) -> str:
    """Return seconds since the epoch as a time with whole seconds."""
    return _whole_seconds(int(now))


@lru_cache(maxsize=8)
def _whole_seconds(now: int) -> str:
    return datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_micro(now: float) -> str:
    """Return seconds since the epoch as a time with microseconds."""
    return f"{_whole_seconds(int(now))[:-1]}.{int(now * 1_000_000) % 1_000_000:06d}Z"


def _succeeds(work: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            work(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _hostname(text: str) -> bool:
    return len(text) <= 253 and all(_LABEL.fullmatch(part.lower()) for part in text.rstrip(".").split("."))


def _uri(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme) or text.startswith("/")


FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _succeeds(parse_time),
    "datetime": _succeeds(parse_time),
    "date": _succeeds(lambda text: datetime.strptime(text, "%Y-%m-%d")),
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "ipv4": _succeeds(ipaddress.IPv4Address),
    "ipv6": _succeeds(ipaddress.IPv6Address),
    "cidr": _succeeds(lambda text: ipaddress.ip_network(text, strict=False) if "/" in text else int("none")),
    "mac": lambda text: re.fullmatch(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}", text) is not None,
    "uuid": _succeeds(uuid.UUID),
    "uuid3": _succeeds(uuid.UUID),
    "uuid4": _succeeds(uuid.UUID),
    "uuid5": _succeeds(uuid.UUID),
    "byte": _succeeds(lambda text: base64.b64decode(text, validate=True)),
    "hostname": _hostname,
    "email": lambda text: re.fullmatch(r"[^@\s]+@[^@\s]+", text) is not None,
    "uri": _succeeds(lambda text: None if _uri(text) else int("none")),
    "bsonobjectid": lambda text: re.fullmatch(r"[0-9a-f]{24}", text) is not None,
}
"""Format → whether a text has it. Formats that are not here are not checked."""
