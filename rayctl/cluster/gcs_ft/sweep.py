"""Removes one cluster's keys from Redis and verifies that none is left. Its text runs in a pod of the cluster's own
image, so it needs nothing but Python; everything it is told comes from variables, nothing from its arguments.

Exit codes: 0: no key is left; 1: something went wrong, said in one line.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

TERMINATION_LOG = "/dev/termination-log"
PATTERN_SIGNS = "\\*?[]^-"


class Redis:
    """A connection that speaks Redis' protocol (RESP2)."""

    def __init__(self, host: str, port: int, tls: bool, timeout_s: float = 10.0) -> None:
        raw = socket.create_connection((host, port), timeout=timeout_s)
        if tls:
            context = ssl.create_default_context(cafile=os.environ.get("RAY_REDIS_CA_CERT") or None)
            raw = context.wrap_socket(raw, server_hostname=host)
        self._socket = raw
        self._file = raw.makefile("rb")

    def call(self, *words: object) -> Any:
        """Send a command, return its answer; an error of the server is raised."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        body = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%s" % (len(parts), body))
        return self._answer()

    def _answer(self) -> Any:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RuntimeError("Redis: " + rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2]
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        raise RuntimeError("Redis answered something that is not its protocol")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def patterns(namespace: str) -> list[str]:
    """Return what a cluster's keys look like: RAY, its namespace, then @ and a table; in old versions nothing more."""
    quoted = "".join("\\" + sign if sign in PATTERN_SIGNS else sign for sign in namespace)
    return ["RAY" + quoted + "@*", "RAY" + quoted]


def keys(redis: Redis, namespace: str) -> list[bytes]:
    """Return a cluster's keys."""
    found = set()
    for pattern in patterns(namespace):
        cursor = b"0"
        while True:
            cursor, some = redis.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            found.update(some)
            if cursor == b"0":
                break
    return sorted(found)


def sweep(redis: Redis, namespace: str) -> tuple[int, int]:
    """Remove a cluster's keys; returns how many went and how many are left."""
    gone = 0
    for _ in range(3):
        found = keys(redis, namespace)
        if not found:
            break
        for start in range(0, len(found), 500):
            gone += int(redis.call("DEL", *found[start : start + 500]))
    return gone, len(keys(redis, namespace))


def connect(address: str, username: str, password: str, tries: int, pause_s: float) -> Redis:
    """Return a connection that has logged in. Redis may be slow to come: several tries."""
    first = address.split(",", 1)[0].strip()
    parts = urlsplit(first if "://" in first else "redis://" + first)
    if not parts.hostname:
        raise ValueError("RAY_REDIS_ADDRESS is not an address")
    for left in reversed(range(max(1, tries))):
        try:
            redis = Redis(parts.hostname, parts.port or 6379, parts.scheme == "rediss")
            break
        except OSError:
            if not left:
                raise
            time.sleep(pause_s)
    if password:
        redis.call("AUTH", *([username, password] if username else [password]))
    return redis


def run(env: Mapping[str, str]) -> str:
    """Do all, return one line for people; raises if keys are left."""
    namespace = env.get("RAY_external_storage_namespace", "")
    if not namespace:
        raise ValueError("RAY_external_storage_namespace is not set: whose keys?")
    password = env.get("REDIS_PASSWORD", "")
    if password.startswith("$"):  # rayStartParams named another variable
        password = env.get(password[1:].strip("{}"), "")
    redis = connect(
        env.get("RAY_REDIS_ADDRESS", ""),
        env.get("REDIS_USERNAME", ""),
        password,
        int(env.get("RAY_redis_db_connect_retries", "120")),
        int(env.get("RAY_redis_db_connect_wait_milliseconds", "500")) / 1000,
    )
    try:
        gone, left = sweep(redis, namespace)
    finally:
        redis.close()
    if left:
        raise RuntimeError(str(left) + " keys came back: something still writes them")
    return str(gone) + " keys removed, none is left"


def main() -> int:
    """Run, tell in one line (also where Kubernetes looks for it), return the exit code."""
    try:
        text, code = run(os.environ), 0
    except Exception as error:
        text, code = type(error).__name__ + ": " + str(error), 1
    print(text, flush=True)
    if os.path.exists(TERMINATION_LOG):
        with open(TERMINATION_LOG, "w") as file:
            file.write(text)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
