"""Whose turn it is with the state, where both sides of a move and whoever moves them can see it.

On one machine that is the file of `rayctl.state.turn`. On Kubernetes it is a ConfigMap, of which each side keeps a
copy in a file of its own: the state's volume may be out of the mover's reach, or there may be none.
"""

from __future__ import annotations

import base64
import itertools
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import KubernetesError, ObjectNotFound
from rayctl.kube.kinds import CONFIG_MAPS, SECRETS
from rayctl.manifests.access import TOKEN, TURN
from rayctl.selfhost.upfile import ensure_token, replace_file
from rayctl.state.turn import Turn, read_turn, write_turn

__all__ = ["FileTurns", "MapTurns", "Mirror", "Turns", "parse_turn", "shared_token", "turn_map"]

log = logging.getLogger("rayctl.bootstrap")

NOBODY = Turn("?", "?")
"""No side's: until it is known whose turn it is."""
POLL_S = 0.5
TOKENS_EVERY = 20
"""Looks at the turn for one at the tokens."""

Document = dict[str, Any]


class Turns(Protocol):
    """Where the mover reads and writes it."""

    async def read(self) -> Turn:
        """Return whose turn it is."""

    async def write(self, turn: Turn) -> None:
        """Replace it. Raises WriteConflict if it was changed since it was read."""


class FileTurns:
    """Args: the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> Turn:
        """See `Turns`."""
        return read_turn(self._path)

    async def write(self, turn: Turn) -> None:
        """See `Turns`."""
        write_turn(self._path, turn)


class MapTurns:
    """Args: the way to the server; rayctl's namespace."""

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport, self._namespace = transport, namespace
        self._path = CONFIG_MAPS.path(namespace, TURN)
        self._found: Document | None = None

    async def read(self) -> Turn:
        """See `Turns`."""
        try:
            self._found = await self._transport.request(Call.get(self._path))
        except ObjectNotFound:
            self._found = None  # a write will say so
        return parse_turn(self._found)

    async def write(self, turn: Turn) -> None:
        """See `Turns`."""
        document = turn_map(self._found, self._namespace, turn)
        self._found = await self._transport.request(Call("PUT", self._path, body=document))


def parse_turn(document: Document | None) -> Turn:
    """Return what a ConfigMap says. Pure."""
    data = (document or {}).get("data") or {}
    return Turn(str(data.get("holder") or ""), str(data.get("wanted") or ""))


def turn_map(found: Document | None, namespace: str, turn: Turn) -> Document:
    """Return the ConfigMap to write over one that was found. Pure."""
    metadata = {"name": TURN, "namespace": namespace, **(found or {}).get("metadata", {})}
    metadata.pop("managedFields", None)
    data = {"holder": turn.holder, "wanted": turn.wanted}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class Mirror:
    """Keeps a side's file like the ConfigMap, in a thread of its own.

    While the API server does not answer the file stays as it is: nobody can have been given the state meanwhile without
    this side, unless its pod was gone.

    Args:
        request: Sends a call and returns its answer; only used in one thread at a time.
        namespace: rayctl's.
        path: The file; whatever it said in an earlier life of the pod is forgotten.
        tokens: The file of the HTTP API's tokens; kept like their Secret.
    """

    def __init__(self, request: Callable[[Call], Any], namespace: str, path: Path, tokens: Path) -> None:
        self._request, self._namespace, self._path, self._tokens = request, namespace, path, tokens
        self._lock, self._trouble = threading.Lock(), ""
        write_turn(path, NOBODY)

    def start(self) -> None:
        """Begin; ends with the process."""
        threading.Thread(target=self._run, name="turn", daemon=True).start()

    def _run(self) -> None:
        for count in itertools.count():
            time.sleep(POLL_S)
            self.try_to_look(with_tokens=count % TOKENS_EVERY == 0)

    def try_to_look(self, with_tokens: bool) -> None:
        """Copy what can be copied. What fails is tried again with the next look: without it a side would work on with
        a state that is another's. The log says why, once."""
        trouble = ""
        try:
            self.look()
            if with_tokens:
                self.copy_tokens()
        except (KubernetesError, OSError, ValueError) as error:  # no answer; a full disk; a Secret that is no text
            trouble = str(error)
            if trouble != self._trouble:
                log.warning("whose turn it is could not be copied: %s", error)
        self._trouble = trouble

    def copy_tokens(self) -> None:
        """Have the tokens that the Secret has. Raises KubernetesError, OSError."""
        with self._lock:
            shared_token(self._request, self._namespace, self._tokens)

    def look(self) -> None:
        """Copy it once. Raises KubernetesError, OSError."""
        with self._lock:
            turn = parse_turn(self._request(Call.get(CONFIG_MAPS.path(self._namespace, TURN))))
            if turn != read_turn(self._path):
                log.info("the state is %s's, and to be %s's", turn.holder or "anybody", turn.wanted or "anybody")
                write_turn(self._path, turn)

    def hand_over(self, side: str, to: str) -> None:
        """Say that a side has let go of the state. Not if it is to keep it after all. Raises KubernetesError."""
        path = CONFIG_MAPS.path(self._namespace, TURN)
        with self._lock:
            found = self._request(Call.get(path))
            turn = parse_turn(found)
            if turn == Turn(side, to):
                turn = Turn(to, to)
                self._request(Call("PUT", path, body=turn_map(found, self._namespace, turn)))
            write_turn(self._path, turn)


def shared_token(request: Callable[[Call], Any], namespace: str, path: Path) -> None:
    """Have a file of tokens as the Secret says; one with a fresh token in both, if the Secret has none.

    Raises KubernetesError, OSError.
    """
    place = SECRETS.path(namespace, TOKEN)
    found = request(Call.get(place))
    known = base64.b64decode((found.get("data") or {}).get("token") or "").decode()
    if known.split():
        if not path.exists() or path.read_text() != known:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, known.encode())
        return
    ensure_token(path, line_break=True)
    metadata = {name: value for name, value in found["metadata"].items() if name != "managedFields"}
    data = {"token": base64.b64encode(path.read_bytes()).decode()}
    body = {**found, "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
    request(Call("PUT", place, body=body))
