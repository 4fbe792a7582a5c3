"""Acting as a service account: with tokens that end after an hour and are asked for anew before that.

The pods of the control plane may do nothing themselves but ask for the tokens of its controllers. So each controller
has its own rights, although all of them live in the same pods.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from rayctl.kube.calls import Call, Transport
from rayctl.kube.http import HttpTransport, load_configuration
from rayctl.kube.kinds import SERVICE_ACCOUNTS

__all__ = ["AccountToken", "connected_as", "connected_for"]

LASTS_S = 3600
"""How long a token is asked for; the server may give it less time, or more."""
EARLY = 0.2
"""The share of its life before the end of which a token is renewed."""


class AccountToken:
    """The token of a service account, always one that is not about to end.

    Args:
        transport: The way to the server, for asking.
        namespace, account: Whose.
        wall: Seconds since the epoch.
    """

    def __init__(
        self, transport: Transport, namespace: str, account: str, wall: Callable[[], float] = time.time
    ) -> None:
        self._transport, self._wall = transport, wall
        self._path = SERVICE_ACCOUNTS.path(namespace, account, "token")
        self._token, self._renew_at = "", 0.0
        self._asking = asyncio.Lock()

    async def get(self) -> str:
        """Return it; asks the server if need be.

        Raises:
            KubernetesError: It was refused.
        """
        async with self._asking:
            now = self._wall()
            if now >= self._renew_at:
                body = {
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "spec": {"expirationSeconds": LASTS_S},
                }
                status = (await self._transport.request(Call("POST", self._path, body=body)))["status"]
                ends_at = datetime.fromisoformat(str(status["expirationTimestamp"]).replace("Z", "+00:00")).timestamp()
                self._token, self._renew_at = str(status["token"]), now + (1 - EARLY) * (ends_at - now)
            return self._token


async def connected_as(
    namespace: str, account: str, kubeconfig: str | None = None, context: str | None = None
) -> HttpTransport:
    """Return a transport on which everything is done as a service account.

    Args:
        namespace, account: Which one.
        kubeconfig, context: How the server is reached, and who asks for the tokens; see `load_configuration`.

    Raises:
        InvalidRequest: There is no usable configuration.
        KubernetesError: Who asks may not have the account's tokens.
    """
    asking = HttpTransport(await load_configuration(kubeconfig, context), connections=2)
    token = AccountToken(asking, namespace, account)
    own = await load_configuration(kubeconfig, context)
    # The account's token alone: no certificate and no password of whoever asks for it.
    own.cert_file = own.key_file = None
    own.username = own.password = None
    own.api_key.clear()

    async def refresh(configuration: Any) -> None:
        configuration.api_key["BearerToken"] = f"Bearer {await token.get()}"

    own.refresh_api_key_hook = refresh  # type: ignore[assignment]  # the package says None, and awaits it
    try:
        await refresh(own)
    except BaseException:
        await asking.close()
        raise
    return _Owning(own, asking)


async def connected_for(
    account: str, accounts_namespace: str | None, kubeconfig: str | None = None, context: str | None = None
) -> HttpTransport:
    """Return a transport for a controller: under its own account (`connected_as`) where there are accounts.

    Args:
        account: The controller's name.
        accounts_namespace: Where the accounts are; None: there are none, as on a laptop.
        kubeconfig, context: How the server is reached.
    """
    if accounts_namespace is None:
        return HttpTransport(await load_configuration(kubeconfig, context))
    return await connected_as(accounts_namespace, account, kubeconfig, context)


class _Owning(HttpTransport):
    def __init__(self, configuration: Any, asking: HttpTransport) -> None:
        super().__init__(configuration)
        self._asking = asking

    async def close(self) -> None:
        """See `Transport.close`."""
        await super().close()
        await self._asking.close()
