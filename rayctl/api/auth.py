"""Bearer tokens: who is calling, for which tenant, and how much of it.

A token file has one token per line, optionally followed by the tenant it is bound to and by a role; ``*`` or nothing
for the tenant makes it an operator's token, which sees every tenant. Only digests are kept in memory, and every
comparison takes the same time whichever token was meant. A browser's session and the mark in its forms are derived
from the digest of the token that opened it: they end with the token, and no session is kept anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from rayctl.errors import Forbidden, InvalidRequest, NotAuthenticated

__all__ = ["Principal", "Role", "TokenBook"]

log = logging.getLogger(__name__)

_TENANT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Role(IntEnum):
    """What a token may do within its tenant: look; also change things; also remove them and change the register."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


@dataclass(frozen=True)
class Principal:
    """A caller whose token was accepted. ``tenant`` None is the operator, who sees all tenants."""

    tenant: str | None
    role: Role = Role.ADMIN

    def need(self, role: Role) -> None:
        """Raise Forbidden unless this caller has a role."""
        if self.role < role:
            raise Forbidden(
                f"This takes the role {role.name.lower()}; this token has the role {self.role.name.lower()}.",
                code="role-missing",
                hint="Use a token with that role: the third word of its line in the token file.",
            )

    def scope(self, asked: str | None = None) -> str | None:
        """Return the tenant to filter by, given the one the caller asked for (None: not asked).

        Raises:
            Forbidden: the token is bound to another tenant than the one asked for.
        """
        if self.tenant is None:
            return asked
        if asked is not None and asked != self.tenant:
            raise Forbidden(
                f"This token is bound to tenant {self.tenant!r} and cannot act for another one.",
                code="other-tenant",
                hint="Leave the tenant out, or use a token of that tenant.",
            )
        return self.tenant


@dataclass(frozen=True)
class _Entry:
    digest: bytes
    principal: Principal

    def seal(self, use: str, text: str) -> str:
        """Return what proves that somebody with this token has made a text, for one use."""
        return hmac.new(self.digest, f"rayctl-{use}|{text}".encode(), hashlib.sha256).hexdigest()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class TokenBook:
    """The tokens that a service accepts; those of a file are read again when it has changed."""

    def __init__(self, entries: Iterable[tuple[str, str | None] | tuple[str, str | None, Role]]) -> None:
        """Args: entries: token, tenant (None: operator), and role if it is not admin.

        Raises:
            InvalidRequest: there is no token at all, or one token is given twice with different tenants.
        """
        found: dict[bytes, Principal] = {}
        for token, *rest in entries:
            principal = Principal(*rest)
            if found.setdefault(_digest(token), principal) != principal:
                raise InvalidRequest(
                    "The same token is bound to two tenants, or has two roles.", code="token-file-invalid"
                )
        if not found:
            raise InvalidRequest(
                "No token is configured, and the service does not run without authentication.",
                code="token-file-empty",
                hint="Write one token per line, optionally followed by a tenant name.",
            )
        self._entries = tuple(_Entry(digest, principal) for digest, principal in found.items())
        self._path: Path | None = None
        self._seen: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"TokenBook({len(self._entries)} tokens)"

    def __len__(self) -> int:
        return len(self._entries)

    @classmethod
    def from_file(cls, path: Path) -> TokenBook:
        """Read a token file.

        Raises:
            InvalidRequest: it is missing, readable by others, empty or not in the format. The text of a line is
                never part of the message, only its number.
        """
        seen = _signature(path)
        found = cls(_read(path))
        found._path, found._seen = path, seen
        return found

    def _look_again(self) -> None:
        """Take over a changed file: new tokens count and removed ones do not, from the next request on.

        A file that cannot be used (half written, open to others) changes nothing; the log says why.
        """
        if self._path is None or (seen := _signature(self._path)) == self._seen:
            return
        self._seen = seen
        try:
            self._entries = TokenBook(_read(self._path))._entries
        except InvalidRequest as error:
            log.error("the tokens stay what they were: %s", error.message)
        else:
            log.info("the token file has changed: %d tokens", len(self._entries))

    def authenticate(self, authorization: str | None) -> Principal:
        """Return who sent this ``Authorization`` header.

        Raises:
            NotAuthenticated: there is none, it is not a bearer token, or the token is not known.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise NotAuthenticated(
                "This needs a bearer token.",
                hint="Send the header 'Authorization: Bearer <token>'.",
            )
        return self._entry(token).principal

    def _entry(self, token: str) -> _Entry:
        self._look_again()
        wanted = _digest(token.strip())
        match: _Entry | None = None
        for entry in self._entries:  # to the end even after a match: the time must not tell which line it was
            if hmac.compare_digest(entry.digest, wanted):
                match = entry
        if match is None:
            raise NotAuthenticated("The token is not known to this service.", code="unknown-token")
        return match

    def open_session(self, token: str, until: int) -> str:
        """Return a browser's session for a token. ``until``: when it ends, seconds since the epoch.

        Raises:
            NotAuthenticated: the token is not known.
        """
        entry = self._entry(token)
        return f"{until}.{entry.seal('session', str(until))}"

    def of_session(self, session: str, now: float) -> tuple[Principal, str]:
        """Return whose session this is, and the mark that its forms must carry.

        Raises:
            NotAuthenticated: it is none of ours, it is over, or its token has been removed.
        """
        self._look_again()
        until, _, seal = session.partition(".")
        match: _Entry | None = None
        for entry in self._entries:
            if hmac.compare_digest(entry.seal("session", until).encode(), seal.encode("utf-8", "surrogateescape")):
                match = entry
        if match is None or not until.isascii() or not until.isdigit() or int(until) <= now:
            raise NotAuthenticated("The session is over.", code="session-over", hint="Log in again.")
        return match.principal, match.seal("form", session)


def _signature(path: Path) -> tuple[int, ...] | None:
    """Say what tells one state of a file from another; None: it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)


def _read(path: Path) -> list[tuple[str, str | None, Role]]:
    hint = "Create it with mode 0600: one token per line, optionally followed by a tenant name and a role."
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidRequest(f"The token file {path} does not exist.", code="token-file-missing", hint=hint) from None
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidRequest(
            f"The token file {path} cannot be read ({type(exc).__name__}).", code="token-file-unreadable", hint=hint
        ) from exc
    if mode & _OPEN_TO_OTHERS:
        raise InvalidRequest(
            f"The token file {path} has mode {mode:04o}, so that its group or others can use it.",
            code="token-file-mode",
            hint=f"Run: chmod 600 {path}",
        )
    return list(_parse(text))


_ROLES = {role.name.lower(): role for role in Role}


def _parse(text: str) -> Iterable[tuple[str, str | None, Role]]:
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        tenant = None if len(words) == 1 or words[1] == "*" else words[1]
        role = _ROLES.get(words[2]) if len(words) > 2 else Role.ADMIN
        known = _TOKEN.fullmatch(words[0]) and (tenant is None or _TENANT.fullmatch(tenant))
        if len(words) > 3 or role is None or not known:
            raise InvalidRequest(
                f"Line {number} of the token file is not 'token', 'token tenant' or 'token *', and perhaps "
                f"{', '.join(_ROLES)}.",
                code="token-file-invalid",
            )
        yield words[0], tenant, role
