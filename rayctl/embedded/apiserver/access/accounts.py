"""Tokens of service accounts: signed, bound to an account (and a pod), and over after a while.

They are JSON Web Tokens, as clients expect them. Nothing is stored but the key that signs them: a token holds as long
as what it is bound to is there under the same uid. The one algorithm is ours to choose; what a token's header says of
it is not read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayctl.embedded.apiserver.kubeconfig import write_private
from rayctl.embedded.apiserver.requests import User
from rayctl.embedded.apiserver.store import Store

__all__ = ["AUDIENCE", "AccountTokens", "Bound", "signing_key", "user_of_account"]

ISSUER = AUDIENCE = "https://kubernetes.default.svc.cluster.local"
ACCOUNTS = "serviceaccounts"
_AUTHENTICATED = "system:authenticated"
_KEY_BYTES = 32
_MOST_TEXT = 16_384


def signing_key(folder: Path | None) -> bytes:
    """Return the key of a data folder; made once, kept with mode 0600. Without a folder a new one.

    Raises:
        OSError: It can be neither read nor written. ValueError: What is there is no key.
    """
    if folder is None:
        return secrets.token_bytes(_KEY_BYTES)
    path = folder / "accounts.key"
    if path.exists():
        found = bytes.fromhex(path.read_text().strip())
        if len(found) != _KEY_BYTES:
            raise ValueError(f"{path} is no key of this server; take it away and start again")
        return found
    found = secrets.token_bytes(_KEY_BYTES)
    write_private(path, found.hex() + "\n")
    return found


def user_of_account(namespace: str, name: str, uid: str = "", extra: dict[str, tuple[str, ...]] | None = None) -> User:
    """Return the user that a service account is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", _AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", uid, groups, extra or {})


@dataclass(frozen=True)
class Bound:
    """The pod that a token is bound to."""

    name: str
    uid: str


class AccountTokens:
    """Makes tokens and recognises them.

    Args:
        store: Where accounts and pods are looked up, for every token that is shown.
        now: Seconds since the epoch.
        key: What signs; see `signing_key`.
    """

    def __init__(self, store: Store, now: Callable[[], float], key: bytes) -> None:
        self._store, self._now, self._key = store, now, key

    def issue(
        self, namespace: str, name: str, uid: str, pod: Bound | None, lasts_s: int, audiences: Sequence[str] = ()
    ) -> tuple[str, int]:
        """Return a token of an account, and when it ends (seconds since the epoch)."""
        now = int(self._now())
        about: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        if pod is not None:
            about["pod"] = {"name": pod.name, "uid": pod.uid}
        claims = {
            "aud": list(audiences) or [AUDIENCE],
            "exp": now + lasts_s,
            "iat": now,
            "nbf": now,
            "iss": ISSUER,
            "jti": secrets.token_hex(16),
            "kubernetes.io": about,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        body = f"{_text(json.dumps(_HEADER).encode())}.{_text(json.dumps(claims).encode())}"
        return f"{body}.{_text(self._sign(body))}", now + lasts_s

    def user_of(self, token: str) -> User | None:
        """Return whom a token belongs to; None for one that is not ours, is over, or whose account or pod has gone."""
        body, _, signature = token.rpartition(".")
        if body.count(".") != 1 or len(token) > _MOST_TEXT or not token.isascii():
            return None
        if not hmac.compare_digest(_text(self._sign(body)).encode(), signature.encode()):
            return None
        claims = json.loads(_bytes(body.partition(".")[2]))  # ours: we have signed it
        now = self._now()
        if AUDIENCE not in claims["aud"] or not claims["nbf"] - 60 <= now < claims["exp"]:
            return None
        about = claims["kubernetes.io"]
        namespace, account, pod = about["namespace"], about["serviceaccount"], about.get("pod")
        if not self._is_there(ACCOUNTS, namespace, account):
            return None
        extra: dict[str, tuple[str, ...]] = {"authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)}
        if pod is not None:
            if not self._is_there("pods", namespace, pod):
                return None
            extra["authentication.kubernetes.io/pod-name"] = (pod["name"],)
            extra["authentication.kubernetes.io/pod-uid"] = (pod["uid"],)
        return user_of_account(namespace, account["name"], account["uid"], extra)

    def _is_there(self, storage: str, namespace: str, named: dict[str, str]) -> bool:
        found = self._store.newest(storage, namespace, named["name"])
        return found is not None and found.object["metadata"]["uid"] == named["uid"]

    def _sign(self, body: str) -> bytes:
        return hmac.new(self._key, body.encode(), hashlib.sha256).digest()


_HEADER = {"alg": "HS256", "typ": "JWT"}


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from error
