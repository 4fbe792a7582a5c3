"""Bearer tokens: read from a file in kube-apiserver's static format, kept as hashes, compared in constant time."""

from __future__ import annotations

import csv
import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from rayctl.embedded.apiserver.access.accounts import AccountTokens
from rayctl.embedded.apiserver.requests import User

__all__ = ["ADMIN", "ANONYMOUS", "AUTHENTICATED", "Tokens", "read_token_file"]

AUTHENTICATED = "system:authenticated"
ADMIN = User("admin", "admin", ("system:masters", AUTHENTICATED))
ANONYMOUS = User("system:anonymous", "", ("system:unauthenticated",))


def read_token_file(path: Path) -> list[tuple[str, User]]:
    """Return the (token, user) pairs of a file with lines ``token,user,uid,"group,group"``.

    Raises:
        OSError: It cannot be read.
        ValueError: A line has fewer than three columns, or a token is there twice.
    """
    found: list[tuple[str, User]] = []
    seen: set[str] = set()
    with path.open(newline="") as file:
        for number, row in enumerate(csv.reader(file, skipinitialspace=True), 1):
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3 or not row[0] or not row[1]:
                raise ValueError(f"{path}:{number}: expected token,user,uid and perhaps groups; nothing was started")
            if row[0] in seen:
                raise ValueError(f"{path}:{number}: this token is in the file already; tokens name one user each")
            seen.add(row[0])
            groups = tuple(name.strip() for name in row[3].split(",") if name.strip()) if len(row) > 3 else ()
            found.append((row[0], User(row[1], row[2], (*groups, AUTHENTICATED))))
    return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Tokens:
    """Tokens and their users. Only hashes are kept. ``accounts``: recognises those of service accounts."""

    def __init__(self, pairs: Iterable[tuple[str, User]], accounts: AccountTokens | None = None) -> None:
        self.replace(pairs)
        self.accounts = accounts

    def replace(self, pairs: Iterable[tuple[str, User]]) -> None:
        """Let these tokens hold from now on, and no others."""
        self._users = [(_digest(token), user) for token, user in pairs]

    def user_of(self, token: str) -> User | None:
        """Return whom a token belongs to; every token takes the same time."""
        wanted = _digest(token)
        found: User | None = None
        for digest, user in self._users:
            if hmac.compare_digest(digest, wanted):
                found = user
        if found is None and self.accounts is not None:
            found = self.accounts.user_of(token)
        return found

    def authenticate(self, header: str) -> User | None:
        """Return who sent an ``Authorization`` header: nobody known without a bearer token, None for a wrong one."""
        scheme, _, token = header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return ANONYMOUS
        return self.user_of(token)
