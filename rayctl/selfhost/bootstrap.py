"""The job in the control plane's Ray head that makes its actors and stays: ``python -m rayctl.selfhost.bootstrap``.

It runs in the head's container, as a driver of its own cluster. When the head ends and is started again, the actors
are gone with it, and this job makes them anew: the control plane heals without a controller.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rayctl.automl.port import PROXY_NAME, RAY_NAMESPACE
from rayctl.core.actor import ActorOptions
from rayctl.kube.errors import KubernetesError
from rayctl.selfhost.logs import tell_on_stdout
from rayctl.selfhost.ports import LOOPBACK, answers
from rayctl.selfhost.resident import Resident
from rayctl.selfhost.services import Problem, RayServices
from rayctl.selfhost.upfile import ensure_token
from rayctl.state.turn import Turn, read_turn, turn_file, write_turn

__all__ = ["HTTP_PORT", "SystemServices", "actor_options", "main"]

log = logging.getLogger("rayctl.bootstrap")

HTTP_PORT = 8000
HEAD_WITHIN_S = 300.0
RETRY_S = 0.2
ANSWER_S = 30.0
LEAVE_S = 1.0
"""What is being answered gets so long before the state is handed over."""
CONTROLLERS = "controllers"


def actor_options(environ: Mapping[str, str]) -> ActorOptions:
    """Return how the actors are run, from the container's variables: each under the account of its own name. Pure."""
    namespace = environ.get("RAYCTL_NAMESPACE") or "rayctl-system"
    return ActorOptions(
        lease_namespace=namespace,
        accounts_namespace=namespace,
        watch_namespace=environ.get("RAYCTL_WATCH_NAMESPACE", ""),
        side=environ.get("RAYCTL_SIDE", ""),
    )


class SystemServices(RayServices):
    """The gateway, the AutoML service, and then the controllers: people wait for the first, a standby has the last."""

    def __init__(
        self, address: str, host: str, options: ActorOptions, turn: Path, hand_over: Callable[[str, str], None]
    ) -> None:
        super().__init__(address, HTTP_PORT, None, host)
        self._turn, self._hand_over = turn, hand_over
        self._options = options
        self._actors: dict[str, Any] = {}
        self._known: dict[str, str] = {}

    def order(self) -> list[tuple[str, str]]:
        """See `Services`."""
        return [*super().order(), (CONTROLLERS, CONTROLLERS)]

    def install(self, part: str) -> None:
        """See `Services`."""
        if part == "proxy" and not read_turn(self._turn).is_of(self._options.side):
            return  # another side has the state
        if part != CONTROLLERS:
            super().install(part)
            return
        from rayctl.selfhost.controllers import ensure_actors

        self._actors = ensure_actors(self._options)

    def check(self) -> None:
        """See `Services`."""
        import ray
        from ray.exceptions import ActorDiedError, RayError

        turn = read_turn(self._turn)
        if turn.must_release(self._options.side):
            self.release(turn)
        if turn.is_of(self._options.side):
            super().check()
        else:
            self._check_gateway()
        for name, handle in self._actors.items():
            try:
                identity = ray.get(handle.ping.remote(), timeout=ANSWER_S)
            except RayError as error:
                lost = isinstance(error, ActorDiedError)
                raise Problem(CONTROLLERS, f"{name} does not answer: {error}", for_good=lost) from error
            if self._known.get(name) != identity:
                log.info("%s is %s", name, identity)
            self._known[name] = identity

    def release(self, turn: Turn) -> None:
        """Stop working with the state, and say so: the other side begins then. Unfinished runs go on there."""
        import ray
        from ray.exceptions import RayError

        log.info("the state goes to %s", turn.wanted)
        try:
            proxy = ray.get_actor(PROXY_NAME, namespace=RAY_NAMESPACE)
            with contextlib.suppress(RayError):  # dead already
                ray.get(proxy.leave.remote(), timeout=ANSWER_S)
            time.sleep(LEAVE_S)
            ray.kill(proxy)
            with contextlib.suppress(RayError):  # it ends by being killed
                ray.get(proxy.ping.remote(), timeout=ANSWER_S)
        except ValueError:
            log.info("there is no proxy actor")
        self._hand_over(self._options.side, turn.wanted)

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the state changes hands."""
        before, deadline = read_turn(self._turn), time.monotonic() + seconds
        while time.monotonic() < deadline and read_turn(self._turn) == before:
            time.sleep(RETRY_S)


def _wait_for_head(address: str, timeout_s: float = HEAD_WITHIN_S) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout_s
    while not answers(int(port), host or LOOPBACK):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"the Ray head at {address} did not answer within {timeout_s:.0f} s")
        time.sleep(RETRY_S)


def _connect(resident: Resident) -> None:
    deadline = time.monotonic() + HEAD_WITHIN_S
    while True:
        try:
            resident.connect()
            return
        except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
            # The head's first process answers before its node is complete.
            if time.monotonic() > deadline:
                raise
            log.info("the head is not complete yet: %s: %s", type(error).__name__, str(error)[:200])
        time.sleep(RETRY_S)


def _hand_over(path: Path, _: str, to: str) -> None:
    write_turn(path, Turn(to, to))


def _with_kubernetes(token_file: Path, turn: Path) -> Callable[[str, str], None]:
    """Have the token published and the turn told by the API server; return how the state is handed over."""
    from rayctl.client.kube.connection import KubeConnection
    from rayctl.client.kube.locate import Where, locate
    from rayctl.selfhost.turns import Mirror

    namespace = actor_options(os.environ).lease_namespace
    request = KubeConnection(locate(Where())).request
    mirror = Mirror(request, namespace, turn, token_file)
    deadline = time.monotonic() + HEAD_WITHIN_S
    while True:
        try:
            mirror.copy_tokens()
            mirror.look()
            break
        except KubernetesError as error:
            if time.monotonic() > deadline:
                raise
            log.info("the API server: %s", error)
        time.sleep(RETRY_S * 5)
    mirror.start()
    return mirror.hand_over


def main() -> int:
    """Make everything, and look after it until the head ends."""
    tell_on_stdout("bootstrap: %(message)s")
    from rayctl.settings import ServiceSettings

    settings = ServiceSettings()
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    token_file, turn = settings.token_file or settings.home / "token", settings.turn_file or turn_file(settings.home)
    if settings.turn_file is None:
        ensure_token(token_file, line_break=True)
    hand_over = partial(_hand_over, turn) if settings.turn_file is None else _with_kubernetes(token_file, turn)
    address = os.environ.get("RAY_ADDRESS") or f"{LOOPBACK}:6379"
    host = os.environ.get("RAYCTL_POD_IP") or LOOPBACK
    services = SystemServices(address, host, actor_options(os.environ), turn, hand_over)
    status = Path(tempfile.mkdtemp(prefix="rayctl-bootstrap-")) / "status.json"
    resident = Resident(services, status, services.pause)
    try:
        services.preload()
        _wait_for_head(address)
        _connect(resident)
        resident.run()
    except Exception:
        log.exception("the bootstrap failed")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
