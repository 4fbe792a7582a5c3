"""Reading the file that a data URI names, within what the operator allows.

Callers choose the URI, the service's own rights open it: so nothing is read that a setting does not allow, symbolic
links and redirects cannot lead out of it, and messages tell nothing but the URI as it was given.
"""

from __future__ import annotations

import os
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from rayctl.errors import Forbidden, RayctlError, SourceUnreachable, TooLarge
from rayctl.settings import ServiceSettings

__all__ = ["fetch"]

_CHUNK_BYTES = 1 << 20
_FORMATS = {
    "csv": "csv",
    "tsv": "csv",
    "parquet": "parquet",
    "pq": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
    "ipc": "arrow",
}


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class _Limits:
    """What one fetch may take: bytes, and an end on the monotonic clock."""

    max_bytes: int
    ends_at: float
    stop: threading.Event


def fetch(uri: str, settings: ServiceSettings) -> tuple[bytes, str | None]:
    """Read the file that a URI names.

    Args:
        uri: An absolute path, a ``file://`` URI, or a URI of a scheme that fsspec knows (``s3://``, ``https://``, …).
        settings: ``allowed_paths`` and ``allowed_uris`` say what may be read, ``max_data_bytes`` and
            ``fetch_timeout_s`` how much and how long.

    Returns:
        The bytes, and the format that the file's name tells (``csv``, ``parquet``, ``arrow``) or None.

    Raises:
        Forbidden: ``uri-forbidden``: not below an allowed folder or prefix.
        SourceUnreachable: ``source-not-found``, ``source-timeout``, ``source-redirected``, ``source-unsupported``
            (a scheme whose package is not installed), ``source-unreachable`` (anything else).
        TooLarge: more than ``max_data_bytes``.
    """
    parts = _split(uri)
    shown = _shown(uri)
    limits = _Limits(settings.max_data_bytes, time.monotonic() + settings.fetch_timeout_s, threading.Event())
    if parts.scheme in ("", "file", "local"):
        path = _allowed_path(uri, parts, settings)
        read: Callable[[], bytes] = lambda: _read_local(path, shown, settings, limits)  # noqa: E731
    else:
        _check_remote(uri, parts, settings.allowed_uris)
        if parts.scheme in ("http", "https"):
            read = lambda: _read_http(uri, shown, limits)  # noqa: E731
        else:
            read = lambda: _read_fsspec(uri, shown, limits)  # noqa: E731
    return _in_time(read, shown, settings.fetch_timeout_s, limits), _FORMATS.get(_suffix(parts))


def _suffix(parts: SplitResult) -> str:
    return parts.path.rpartition("/")[2].rpartition(".")[2].lower()


def _split(uri: str) -> SplitResult:
    try:
        if "://" in uri:
            return urlsplit(uri)
    except ValueError as error:
        raise _forbidden("The data URI is malformed.", "Write scheme://host/path.") from error
    return SplitResult("", "", uri, "", "")


def _shown(uri: str) -> str:
    """Return the URI without what may be secret in it: user, password and query."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return repr(uri)
    host, slash, path = rest.partition("/")
    return repr(f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}")


def _forbidden(message: str, hint: str) -> Forbidden:
    return Forbidden(message, code="uri-forbidden", hint=hint)


def _allowed_path(uri: str, parts: SplitResult, settings: ServiceSettings) -> str:
    """Return the real path of a local file, after following every link."""
    path = unquote(parts.path) if parts.scheme else parts.path
    hint = "Upload the data, or ask the operator to add its folder to RAYCTL_ALLOWED_PATHS."
    refusal = _forbidden(f"The service may not read {_shown(uri)}.", hint)
    if not path.startswith("/") or "\0" in path or parts.netloc not in ("", "localhost"):
        raise refusal
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise refusal from error
    if not _is_allowed(real, settings):
        raise refusal
    return real


def _is_allowed(real: str, settings: ServiceSettings) -> bool:
    path = Path(real)
    folders = [Path(os.path.realpath(folder.expanduser())) for folder in settings.allowed_paths]
    home = Path(os.path.realpath(settings.home.expanduser()))
    if path.is_relative_to(home):
        # The service's own folder holds its tokens: allowing a folder above it does not include it.
        folders = [folder for folder in folders if folder.is_relative_to(home)]
    return any(path.is_relative_to(folder) for folder in folders)


def _check_remote(uri: str, parts: SplitResult, allowed: Iterable[str]) -> None:
    if "@" in parts.netloc:
        raise _forbidden(
            f"The data URI {_shown(uri)} contains credentials.",
            "Leave them out; the service uses the credentials of its own environment.",
        )
    decoded = _fully_unquoted(uri)
    # "::" chains file systems in fsspec, so that the part after it would be read by other rules.
    if "::" in decoded or "\\" in decoded or "\0" in decoded or ".." in _fully_unquoted(parts.path).split("/"):
        raise _forbidden(
            f"The data URI {_shown(uri)} is ambiguous.", "Write the plain path without '..', '::' and backslashes."
        )
    if not any(_covers(prefix, parts) for prefix in allowed):
        raise _forbidden(
            f"The service may not read {_shown(uri)}.",
            "Upload the data, or ask the operator to add a prefix of this URI to RAYCTL_ALLOWED_URIS.",
        )


def _fully_unquoted(text: str) -> str:
    for _ in range(4):
        if (decoded := unquote(text)) == text:
            return text
        text = decoded
    return "\\"  # quoted more often than anybody would: refused like a backslash


def _covers(prefix: str, parts: SplitResult) -> bool:
    """Whether a prefix of RAYCTL_ALLOWED_URIS covers a URI: same scheme and host, and whole path segments."""
    wanted = urlsplit(prefix)
    hosts = (wanted.netloc, parts.netloc)
    if wanted.scheme in ("http", "https"):
        hosts = (wanted.netloc.lower(), parts.netloc.lower())  # of other schemes this may be a bucket, a folder, …
    if not wanted.scheme or wanted.scheme != parts.scheme or hosts[0] != hosts[1]:
        return False
    folder = wanted.path.rstrip("/")
    return parts.path == folder or parts.path.startswith(folder + "/")


def _in_time(read: Callable[[], bytes], shown: str, timeout_s: float, limits: _Limits) -> bytes:
    """Run a blocking read for at most the time limit: some transports know no time limit of their own."""
    done: list[bytes] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(read())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="rayctl-fetch", daemon=True)
    thread.start()
    thread.join(timeout_s)
    limits.stop.set()
    if failed:
        raise _translated(failed[0], shown, timeout_s)
    if not done:
        raise _timeout(shown, timeout_s)
    return done[0]


def _translated(error: BaseException, shown: str, timeout_s: float) -> BaseException:
    """Return what the caller may see of an error; the reason itself could name hosts, keys and folders."""
    if isinstance(error, RayctlError) or not isinstance(error, Exception):
        return error
    if isinstance(error, TimeoutError):
        return _timeout(shown, timeout_s)
    missing = isinstance(error, FileNotFoundError)
    if isinstance(error, urllib.error.HTTPError):
        missing = error.code in (404, 410)
    if missing:
        found = SourceUnreachable(
            f"There is no file at {shown}.",
            code="source-not-found",
            hint="Check the path as the service sees it, or upload the data.",
        )
    elif isinstance(error, (PermissionError, IsADirectoryError)):
        what = "The service has no right to read" if isinstance(error, PermissionError) else "A folder, not a file, is"
        found = SourceUnreachable(f"{what} {shown}.", hint="Name a file that the service may read, or upload the data.")
    else:
        found = SourceUnreachable(
            f"The data at {shown} cannot be read ({type(error).__name__}).",
            hint="Check that the service can reach it and has the credentials in its environment.",
        )
    found.__cause__ = error
    return found


def _timeout(shown: str, timeout_s: float) -> SourceUnreachable:
    return SourceUnreachable(
        f"Reading {shown} took longer than the {timeout_s:g} s that are allowed.",
        code="source-timeout",
        hint="Try again, upload the data, or ask the operator to raise RAYCTL_FETCH_TIMEOUT_S.",
    )


def _too_large(shown: str, limits: _Limits) -> TooLarge:
    return TooLarge(
        f"The file at {shown} has more than the {limits.max_bytes} bytes that are allowed.",
        hint="Send less data (for example as Parquet), or ask the operator to raise RAYCTL_MAX_DATA_BYTES.",
    )


def _read_all(file: _Readable, size: int | None, shown: str, limits: _Limits) -> bytes:
    if size is not None and size > limits.max_bytes:
        raise _too_large(shown, limits)
    chunks, total = [], 0
    while chunk := file.read(_CHUNK_BYTES):
        total += len(chunk)
        if total > limits.max_bytes:
            raise _too_large(shown, limits)
        if limits.stop.is_set() or time.monotonic() > limits.ends_at:
            raise TimeoutError
        chunks.append(chunk)
    if size is not None and total < size:
        raise SourceUnreachable(
            f"The data at {shown} ended after {total} of {size} bytes.",
            hint="Try again; perhaps the file is being written at the moment.",
        )
    return b"".join(chunks)


def _read_local(path: str, shown: str, settings: ServiceSettings, limits: _Limits) -> bytes:
    # Non-blocking, because opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        # A folder on the way may have become a link since the check: what counts is what was opened.
        opened = f"/proc/self/fd/{descriptor}"
        real = os.path.realpath(opened if os.path.exists(opened) else path)
        if not _is_allowed(real, settings):
            raise _forbidden(f"The service may not read {shown}.", "Name a file below RAYCTL_ALLOWED_PATHS.")
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError
        if not stat.S_ISREG(status.st_mode):
            raise SourceUnreachable(
                f"What is at {shown} is not a regular file.",
                hint="Name a CSV, Parquet or Arrow file, or upload the data.",
            )
        with open(descriptor, "rb", closefd=False) as file:
            return _read_all(file, status.st_size, shown, limits)
    finally:
        os.close(descriptor)


def _read_fsspec(uri: str, shown: str, limits: _Limits) -> bytes:
    import fsspec

    try:
        # A listing from an earlier fetch would hide files that have come or grown since.
        file_system, path = fsspec.core.url_to_fs(uri, use_listings_cache=False, skip_instance_cache=True)
    except (ImportError, ValueError) as error:
        scheme = uri.partition("://")[0]
        raise SourceUnreachable(
            f"The service cannot read {shown}: nothing is installed for the scheme {scheme!r}.",
            code="source-unsupported",
            hint="The operator can install it, for example rayctl[s3] or rayctl[gcs].",
        ) from error
    size = file_system.info(path).get("size")
    with file_system.open(path, "rb") as file:
        return _read_all(file, size, shown, limits)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are not followed: their target was not checked against the allowed prefixes."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message[str, str], newurl: str
    ) -> None:
        raise SourceUnreachable(
            f"The server at {_shown(req.full_url)} redirects to another address, which is not followed.",
            code="source-redirected",
            hint="Name the final address, if the operator allows it.",
        )


def _read_http(uri: str, shown: str, limits: _Limits) -> bytes:
    opener = urllib.request.build_opener(_NoRedirect)
    timeout = max(0.1, limits.ends_at - time.monotonic())
    response: Any
    with opener.open(urllib.request.Request(uri), timeout=timeout) as response:  # noqa: S310 (scheme is checked)
        return _read_all(response, response.length, shown, limits)
