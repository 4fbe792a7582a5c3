"""Stands for ``ray`` in a pod's PATH: ``ray start`` gets the options that a pod of processes needs, then Ray takes
over.

What is put in (an option that the pod gives wins, except for ports that would collide on this machine):

- always: ``--node-ip-address`` (the pod's; 127.0.0.1 in mode *ports*, because Ray listens on all interfaces of the
  machine for any other one), ``--disable-usage-stats``; ``--object-store-memory``, because Ray would
  take 30 % of the whole machine for each node.
- network mode *ports*, in which all pods share the machine's ports: each port that Ray binds on all addresses is
  moved to one that the kubelet keeps for this pod (``--port``, ``--ray-client-server-port``, ``--dashboard-agent-
  listen-port``, ``--metrics-export-port`` and further ports that the pod names); ``--dashboard-host`` becomes the
  pod's address; worker ports are left to the kernel; ``--temp-dir`` is a short folder of this container.
- a worker in mode *ports* is started by `ON_LOOPBACK`: Ray's command would put the machine's outer address for
  127.0.0.1, where it and its metrics, which ask for no token, would answer everybody.

- a head's processes get ``GRPC_ENABLE_FORK_SUPPORT=0``, unless the pod says otherwise: Ray's client server forks a
  process for each client while gRPC's threads run, and gRPC's own care for forks aborts some of these before they
  begin (ray-project/ray#63202).

Facts come in the variable ``RAYCTL_RAY_START`` (JSON). Part of the shim: nothing of rayctl may be imported here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

HEAD_PORTS = {"port": 6379, "ray-client-server-port": 10001}
NODE_PORTS = {"dashboard-agent-listen-port": 52365, "metrics-export-port": 8080}
NAMED_PORTS = (
    "node-manager-port",
    "object-manager-port",
    "runtime-env-agent-port",
    "dashboard-agent-grpc-port",
)
_LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""``0``: Ray takes 127.0.0.1 at its word; ``ray start`` refuses it for workers, their processes do not."""
ON_LOOPBACK = f"""
import os, sys
from ray._private import services
from ray.scripts.scripts import main
services.resolve_ip_for_localhost = lambda host: host
os.environ["{_LOOPBACK_ONLY}"] = "0"
sys.argv[0] = "ray"
sys.exit(main())
"""
"""Program of Python: ``ray``, with 127.0.0.1 taken at its word by it and by all that it starts."""
_SWITCHES = ("head", "block", "no-monitor", "disable-usage-stats", "no-redirect-output", "verbose", "v", "autoscaling")


def rewrite(argv: Sequence[str], facts: Mapping[str, Any]) -> list[str]:
    """Return the arguments of ``ray`` with what is missing put in; other commands than ``start`` stay as they are.

    Args:
        argv: Without the program's name.
        facts: ``ip``; ``object_store_memory`` in bytes or None; ``mode``: ports or netns; for ports also ``ports``
            (wanted → real, keys as text) and ``temp_dir``.
    """
    if not argv or argv[0] != "start" or "--help" in argv:
        return list(argv)
    options = _parse(argv[1:])
    names = {name for name, _ in options}
    _default(options, names, "node-ip-address", "127.0.0.1" if facts["mode"] == "ports" else facts["ip"])
    if facts.get("object_store_memory"):
        _default(options, names, "object-store-memory", str(facts["object_store_memory"]))
    if facts["mode"] == "ports":
        _move(options, names, facts)
    if "disable-usage-stats" not in names and "enable-usage-stats" not in names:
        options.append(("disable-usage-stats", None))
    return ["start", *(f"--{name}" if value is None else f"--{name}={value}" for name, value in options)]


def _parse(words: Sequence[str]) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    waiting = list(words)
    while waiting:
        name, equals, value = waiting.pop(0).lstrip("-").partition("=")
        if equals:
            found.append((name, value))
        elif waiting and not waiting[0].startswith("--") and name not in _SWITCHES:
            found.append((name, waiting.pop(0)))
        else:
            found.append((name, None))
    return found


def _default(options: list[tuple[str, str | None]], names: set[str], name: str, value: str) -> None:
    if name not in names:
        options.append((name, value))
        names.add(name)


def _put(options: list[tuple[str, str | None]], name: str, value: str) -> None:
    options[:] = [(known, old) for known, old in options if known != name]
    options.append((name, value))


def _move(options: list[tuple[str, str | None]], names: set[str], facts: Mapping[str, Any]) -> None:
    given = dict(options)
    moved: Mapping[str, int] = facts["ports"]
    fixed = {**NODE_PORTS, **(HEAD_PORTS if "head" in names else {})}
    for name, usual in fixed.items():
        wanted = given.get(name) or str(usual)
        if wanted in moved:
            _put(options, name, str(moved[wanted]))
    for name in NAMED_PORTS:
        if given.get(name) in moved:
            _put(options, name, str(moved[str(given[name])]))
    if "head" in names and given.get("dashboard-host") in (None, "0.0.0.0", "127.0.0.1", "localhost"):  # noqa: S104
        _put(options, "dashboard-host", facts["ip"])
    for name in ("min-worker-port", "max-worker-port"):
        _put(options, name, "0")
    options[:] = [(name, value) for name, value in options if name != "worker-port-list"]
    if "temp-dir" not in names or given.get("temp-dir") == "/tmp/ray":  # noqa: S108
        _put(options, "temp-dir", facts["temp_dir"])


def main() -> None:
    """Hand over to the ``ray`` of the pod's environment."""
    facts = json.loads(os.environ.get("RAYCTL_RAY_START", "null"))
    real = os.environ.get("RAYCTL_RAY", "")
    if not real:
        raise SystemExit("ray: this pod's environment has no Ray")
    words = sys.argv[2:] if facts is None else rewrite(sys.argv[2:], facts)
    if words[:1] != ["start"] or "--help" in words:
        os.execv(real, [real, *words])  # noqa: S606
    if "--head" in words:
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    elif os.environ.pop(_LOOPBACK_ONLY, "") == "0" and facts is not None and facts["mode"] == "ports":
        python = os.path.join(os.path.dirname(real), "python")
        os.execv(python, [python, "-c", ON_LOOPBACK, *words])  # noqa: S606
    os.execv(real, [real, *words])  # noqa: S606
