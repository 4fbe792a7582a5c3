"""What ``rayctl status`` says: ``up.json`` checked against the processes that run, and the service's own words."""

from __future__ import annotations

import base64
import json
import ssl
import time
from datetime import datetime, timezone
from typing import Any

import yaml

from rayctl.clock import format_duration
from rayctl.selfhost.down import remains
from rayctl.selfhost.layout import Layout
from rayctl.selfhost.processes import ProcessId
from rayctl.selfhost.upfile import UpFile, read_up

__all__ = ["ask", "kubernetes_verdict", "local_status", "rows"]

_PARTS = ("supervisor", "ray", "kube", "resident")
_DOWN_UP = "Run `rayctl down`, then `rayctl up`."


def local_status(layout: Layout, *, timeout_s: float = 5.0, now: float | None = None) -> dict[str, Any]:
    """Return the status document of a home. Never raises because something is broken: that is what it reports."""
    now = time.time() if now is None else now
    up = read_up(layout.up_file)
    if up is None:
        left = remains(layout, None)
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            return _verdict("broken", f"nothing is recorded, but processes run: {pids}", "Run `rayctl down`.")
        return _verdict("not-running", "", "Run `rayctl up`.")
    document = {**_judge(layout, up), **_facts(up, now)}
    if document["state"] == "ready":
        document |= {**_service(up, timeout_s), **kubernetes_verdict(up, timeout_s)}
    return document


def _verdict(state: str, reason: str, hint: str) -> dict[str, Any]:
    found = {"state": state, "reason": reason, "hint": hint}
    return {name: text for name, text in found.items() if text}


def _judge(layout: Layout, up: UpFile) -> dict[str, Any]:
    dead = [part for part in _PARTS if getattr(up, part) and not up.alive(part)]
    if up.state == "failed":
        return _verdict("failed", up.reason, f"Look into {layout.logs}, then run `rayctl up` again.")
    if "supervisor" in dead:
        others = [part for part in dead if part != "supervisor"]
        also = f"; {' and '.join(others)} too" if others else "; the rest still runs, but nobody repairs it"
        return _verdict("broken", f"the supervisor has died{also}", "Run `rayctl up`: it takes over what still runs.")
    if up.state == "stopping":
        return _verdict("stopping", up.reason, "")
    if dead or (up.state != "ready" and any(part.get("last_exit") for part in up.parts.values())):
        reason = up.reason or f"{' and '.join(dead)} died"
        return _verdict("broken", reason, "The supervisor is repairing it; `rayctl up` waits for that.")
    return _verdict(up.state, up.reason, "" if up.state == "ready" else "`rayctl up` waits until it is ready.")


def _facts(up: UpFile, now: float) -> dict[str, Any]:
    parts = {}
    for part in _PARTS:
        process: ProcessId | None = up.process(part)
        if process is None:
            continue
        known = up.parts.get(part, {})
        alive = process.alive()
        since = known.get("since") or up.started_at
        parts[part] = {
            "pid": process.pid,
            "state": "running" if alive else "dead",
            "since": _iso(since),
            "for_s": round(now - since, 1),
            "restarts": known.get("restarts", 0),
            "last_exit": known.get("last_exit") or None,
        }
    return {
        "since": _iso(up.since),
        "uptime_s": round(now - up.started_at, 1),
        "version": up.release,
        "home": up.home,
        "http_url": up.http_url,
        "dashboard_url": up.dashboard_url,
        "ray_client_address": up.ray_client_address,
        "gcs_address": up.gcs_address,
        "token_file": up.token_file,
        "ray_token_file": up.ray_token_file,
        "attached": up.attached,
        "kubernetes_url": up.kubernetes_url,
        "kubeconfig": up.kubeconfig,
        "system": up.system or None,
        "parts": parts,
    }


def _service(up: UpFile, timeout_s: float) -> dict[str, Any]:
    try:
        words = _token(up.token_file).split()
        return {"info": ask(up.http_url, words[0] if words else "", timeout_s)}
    except OSError as error:
        reason = f"the service does not answer: {error}"
        return _verdict("broken", reason, "The resident repairs it within seconds; otherwise: " + _DOWN_UP)


def kubernetes_verdict(up: UpFile, timeout_s: float) -> dict[str, Any]:
    """Return what is wrong with the embedded API server, asked itself: on a full disk nobody can write that down."""
    import httpx2

    if not up.kubernetes_url or not up.kubeconfig:
        return {}
    try:
        with open(up.kubeconfig, encoding="utf-8") as file:
            cluster = yaml.safe_load(file)["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        answer = httpx2.get(f"{up.kubernetes_url}/readyz", verify=context, timeout=timeout_s, trust_env=False)
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError, httpx2.HTTPError) as error:
        reason = f"the Kubernetes API does not answer: {type(error).__name__}: {error}"
        return _verdict("broken", reason, f"Should that stay so: {_DOWN_UP}")
    if answer.status_code == 200:
        return {}
    reason = f"the Kubernetes API is in trouble: {answer.text.strip().removeprefix('[-]store failed: ')}"
    return _verdict("broken", reason, f"Is there room on the disk of {up.home}? It goes on by itself when there is.")


def _token(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def ask(http_url: str, token: str, timeout_s: float) -> dict[str, Any]:
    """Return the answer of ``GET /v1/info``; raises OSError with the reason when there is none."""
    import httpx2

    try:
        answer = httpx2.get(
            f"{http_url}/v1/info",
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            trust_env=False,  # a proxy server of the environment has no business on the loopback address
        )
        answer.raise_for_status()
        document = json.loads(answer.content)
    except (httpx2.HTTPError, ValueError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    return document if isinstance(document, dict) else {}


def rows(document: dict[str, Any], *, wide: bool = False) -> list[tuple[str, str]]:
    """Return the lines of ``rayctl status`` for people: a name and a text each."""
    state = document["state"]
    if state == "not-running":
        return [("state", "not running")]
    lines = [("state", state + (f": {document['reason']}" if document.get("reason") else ""))]
    if "since" in document:
        lines.append(("since", f"{document['since']} (up {format_duration(document['uptime_s'])})"))
    for part, seen in document.get("parts", {}).items():
        if wide or seen["state"] != "running" or seen["restarts"]:
            text = f"{seen['state']} for {format_duration(seen['for_s'])}, pid {seen['pid']}"
            text += f", restarts {seen['restarts']}" if seen["restarts"] else ""
            text += f", last end: {seen['last_exit']}" if seen["last_exit"] else ""
            lines.append((part, text))
    lines += [(title, text) for title, text in _service_rows(document.get("info") or {}) if text]
    lines += _system_rows(document.get("system") or {})
    shown = {"kubernetes": "kubernetes_url", "kubeconfig": "kubeconfig"}
    shown |= {"http": "http_url", "dashboard": "dashboard_url", "ray client": "ray_client_address"}
    if wide:
        shown |= {"gcs": "gcs_address", "token": "token_file", "ray token": "ray_token_file", "home": "home"}
    lines += [(title, str(document[key])) for title, key in shown.items() if document.get(key)]
    return lines


def _system_rows(system: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the lines about the cluster that the control plane runs on, and who leads there."""
    if not system:
        return []
    leading: dict[str, list[str]] = {}
    for name, holder in system.get("leaders", {}).items():
        leading.setdefault(holder.partition("_")[0] or "nobody", []).append(name.removesuffix("-controller"))
    texts = [f"{', '.join(names)} on {side}" for side, names in sorted(leading.items())]
    move = system.get("move") or {}
    under_way = f"from {move.get('from')} to {move.get('to')}: {move.get('step')}" if move else ""
    lines = [("cluster", f"raycluster/{system.get('cluster')} {system.get('state')}"), ("leaders", "; ".join(texts))]
    return [*lines, ("upgrade", under_way)] if under_way else lines


def _service_rows(info: dict[str, Any]) -> list[tuple[str, str]]:
    runs = info.get("runs")
    counts = ", ".join(f"{count} {name}" for name, count in runs.items()) if isinstance(runs, dict) else ""
    versions = info.get("versions")
    texts = ", ".join(f"{name} {text}" for name, text in versions.items()) if isinstance(versions, dict) else ""
    return [("runs", counts or ("none" if isinstance(runs, dict) else "")), ("cpus", _cpus(info)), ("versions", texts)]


def _cpus(info: dict[str, Any]) -> str:
    cluster = info.get("cluster")
    resources = cluster.get("resources") if isinstance(cluster, dict) else None
    cpus = resources.get("CPU") if isinstance(resources, dict) else None
    return f"{cpus:g}" if isinstance(cpus, (int, float)) else ""


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
