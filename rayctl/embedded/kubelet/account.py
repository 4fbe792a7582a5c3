"""A pod's way to the API server: where that is, and the token of the pod's service account, renewed while it lives.

Every pod has it as on Kubernetes, unless it (or its account) says ``automountServiceAccountToken: false``. Where pods
share the machine's network there is no mount: the same files are elsewhere, and the variable KUBECONFIG says where.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayctl.embedded.apiserver.access.accounts import AUDIENCE
from rayctl.embedded.apiserver.schema.formats import parse_time
from rayctl.embedded.kubelet.environment import Missing
from rayctl.embedded.kubelet.spec import PodSpec
from rayctl.embedded.kubelet.volumes import Files, write_files
from rayctl.kube.calls import Call, Transport
from rayctl.kube.errors import KubernetesError, ObjectNotFound
from rayctl.kube.kinds import SERVICE_ACCOUNTS

__all__ = ["MOUNT_PATH", "Account", "ApiPlace", "account_files", "api_variables", "renew_at"]

_log = logging.getLogger(__name__)

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
LASTS_S = 3607
"""As Kubernetes' kubelet asks for."""
RENEW_SHARE = 0.8
"""The share of its life after which a token is replaced."""
RETRY_S = 5.0


@dataclass(frozen=True)
class ApiPlace:
    """Where pods find the API server. ``authority``: the certificate (PEM) that its own is signed with."""

    host: str
    port: int
    scheme: str = "https"
    authority: str = ""

    @property
    def url(self) -> str:
        """The address as programs take it."""
        return f"{self.scheme}://{self.host}:{self.port}"


def api_variables(place: ApiPlace | None, kubeconfig: Path | None) -> dict[str, str]:
    """Return the variables by which programs in a pod find the API server. ``kubeconfig``: where nothing is mounted."""
    if place is None:
        return {}
    port = str(place.port)
    found = {"KUBERNETES_SERVICE_HOST": place.host}
    found |= dict.fromkeys(("KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS"), port)
    return found if kubeconfig is None else {**found, "KUBECONFIG": str(kubeconfig)}


def renew_at(now: float, ends_at: float, share: float = RENEW_SHARE) -> float:
    """Return when a token that was given now is to be replaced (seconds since the epoch)."""
    return now + share * (ends_at - now)


def account_files(token: str, namespace: str, place: ApiPlace, folder: Path | None) -> Files:
    """Return the files of the volume. ``folder``: where they are, if a kubeconfig is to name them."""
    found: Files = {
        "token": (token.encode(), 0o600),
        "namespace": (namespace.encode(), 0o644),
        "ca.crt": (place.authority.encode(), 0o644),
    }
    if folder is not None:
        cluster = {"server": place.url, "certificate-authority": str(folder / "ca.crt")}
        if not place.authority:
            del cluster["certificate-authority"]
        document = {  # JSON is YAML
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "pod", "cluster": cluster}],
            "users": [{"name": "pod", "user": {"tokenFile": str(folder / "token")}}],
            "contexts": [{"name": "pod", "context": {"cluster": "pod", "user": "pod", "namespace": namespace}}],
            "current-context": "pod",
        }
        found["kubeconfig"] = (json.dumps(document, indent=1).encode(), 0o600)
    return found


def _asks_itself(spec: PodSpec) -> bool:
    """Whether a volume of the pod is to have the token, wherever it is mounted."""
    volumes = spec.document["spec"].get("volumes") or ()
    sources = [source for volume in volumes for source in (volume.get("projected") or {}).get("sources") or ()]
    return any(source.get("serviceAccountToken") is not None for source in sources)


class Account:
    """Args: the way to the API; the pod; the folder of the files; whether they are mounted; asked for the place; called
    after each renewal."""

    def __init__(
        self,
        transport: Transport,
        spec: PodSpec,
        folder: Path,
        mounted: bool,
        place: Callable[[], ApiPlace | None],
        renewed: Callable[[], None],
        share: float = RENEW_SHARE,
    ) -> None:
        self._transport, self._spec, self._place, self._share = transport, spec, place, share
        self._folder, self._mounted, self._renewed = folder, mounted, renewed
        self._renew_at = 0.0
        self._token = ""
        self._wanted: bool | None = spec.document["spec"].get("automountServiceAccountToken")
        self._keeping: asyncio.Task[None] | None = None

    @property
    def folder(self) -> Path | None:
        """The folder of the files, or None for a pod that has none."""
        return self._folder if self._token and self._wanted else None

    def token(self, audience: str) -> bytes:
        """Return the token, for a volume that asks for it itself. Raises Missing."""
        if audience not in ("", AUDIENCE):
            raise Missing(f"a token for the audience {audience[:80]!r} is not supported by this node")
        if not self._token:
            raise Missing("the token of the service account is not there yet")
        return self._token.encode()

    @property
    def variables(self) -> dict[str, str]:
        """The pod's variables about the API server."""
        has_file = self.folder is not None and not self._mounted
        return api_variables(self._place(), self._folder / "kubeconfig" if has_file else None)

    async def prepare(self) -> None:
        """Have the files there, and keep them fresh from now on.

        Raises:
            Missing: The account is not there (yet). KubernetesError: It cannot be asked for. OSError: No file.
        """
        place = self._place()
        if place is None or not (await self._is_wanted() or _asks_itself(self._spec)):
            return
        if time.time() >= self._renew_at:
            await self._renew(place)
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep())

    def release(self) -> None:
        """Renew no more."""
        if self._keeping is not None:
            self._keeping.cancel()

    @property
    def _name(self) -> str:
        return self._spec.document["spec"].get("serviceAccountName") or "default"

    async def _is_wanted(self) -> bool:
        if self._wanted is None:
            try:
                account = await self._transport.request(
                    Call.get(SERVICE_ACCOUNTS.path(self._spec.namespace, self._name))
                )
            except ObjectNotFound as error:
                raise self._no_account() from error
            self._wanted = account.get("automountServiceAccountToken") is not False
        return self._wanted

    def _no_account(self) -> Missing:
        return Missing(f'serviceaccount "{self._name}" not found')

    async def _renew(self, place: ApiPlace) -> None:
        now = time.time()
        pod = {"apiVersion": "v1", "kind": "Pod", "name": self._spec.name, "uid": self._spec.uid}
        body: Mapping[str, Any] = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": LASTS_S, "boundObjectRef": pod},
        }
        path = SERVICE_ACCOUNTS.path(self._spec.namespace, self._name, "token")
        try:
            status = (await self._transport.request(Call("POST", path, body=body)))["status"]
        except ObjectNotFound as error:
            raise self._no_account() from error
        folder = None if self._mounted else self._folder
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_files(self._folder, account_files(status["token"], self._spec.namespace, place, folder))
        self._token = status["token"]
        self._renew_at = renew_at(now, parse_time(status["expirationTimestamp"]).timestamp(), self._share)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(max(0.05, self._renew_at - time.time()))
            place = self._place()
            try:
                if place is not None:
                    await self._renew(place)
                    self._renewed()
                    continue
            except (KubernetesError, Missing, OSError) as error:
                _log.warning("pod %s/%s: its token: %s", self._spec.namespace, self._spec.name, error)
            await asyncio.sleep(RETRY_S)
