"""``up.json``: what runs in a home, and the small file operations around it.

Only the supervisor writes the file while it lives; readers never see half of it (atomic rename) and never trust it
without asking whether its processes are still the same ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rayctl.errors import DeadlineExceeded, Unavailable
from rayctl.selfhost.processes import ProcessId

__all__ = [
    "Report",
    "UpFile",
    "ensure_private_dir",
    "ensure_token",
    "file_lock",
    "follow_file",
    "read_json",
    "read_up",
    "replace_file",
    "write_json",
]

_log = logging.getLogger("rayctl.selfhost")

FORMAT = 1


@dataclass
class UpFile:
    """The content of ``up.json``. Times are Unix seconds; paths are strings; absent processes are None."""

    home: str
    state: str = "starting"  # starting, ready, stopping, failed
    reason: str = ""
    since: float = 0.0
    started_at: float = 0.0
    version: int = FORMAT
    release: str = ""
    supervisor: dict[str, int] | None = None
    ray: dict[str, int] | None = None
    kube: dict[str, int] | None = None
    resident: dict[str, int] | None = None
    http_url: str = ""
    ray_client_address: str | None = None
    gcs_address: str = ""
    ray_address: str = ""  # the same again, under the name that clients look for
    dashboard_url: str | None = None
    token_file: str = ""
    ray_token_file: str | None = None
    ray_auth_mode: str | None = None
    ray_temp_dir: str | None = None
    attached: bool = False
    kubernetes_url: str | None = None
    kubeconfig: str | None = None
    system: dict[str, Any] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    moved_ports: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the document."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> UpFile | None:
        """Read a document; None if it is not one that this version can use."""
        known = {each.name for each in fields(cls)}
        if not isinstance(document.get("home"), str) or document.get("version") != FORMAT:
            return None
        return cls(**{name: value for name, value in document.items() if name in known})

    def process(self, part: str) -> ProcessId | None:
        """Return the recorded process of ``supervisor``, ``ray``, ``kube`` or ``resident``."""
        return ProcessId.from_dict(getattr(self, part))

    def alive(self, part: str) -> bool:
        """Tell whether the recorded process of a part still runs."""
        process = self.process(part)
        return process is not None and process.alive()


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object from a file, or None when there is none that can be read."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Replace a file atomically by a JSON document that only its owner can read."""
    replace_file(path, json.dumps(document, indent=1).encode() + b"\n")


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically by one that only its owner can read."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class Report:
    """A file in which a process says how it is. A full disk is no reason to end: the file stays as it was then.

    Its time of change says when the process was last heard of, whether or not there was room for what it said.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._trouble = ""

    def write(self, document: Mapping[str, Any]) -> bool:
        """Replace the file as `write_json` does; return whether that was possible. The log says why not, once."""
        try:
            write_json(self._path, document)
        except OSError as error:
            if str(error) != self._trouble:
                _log.error("%s cannot be written: %s", self._path, error)
            self._trouble = str(error)
            with contextlib.suppress(OSError):  # no such file yet
                os.utime(self._path)
            return False
        if self._trouble:
            _log.info("%s is written again", self._path)
        self._trouble = ""
        return True


def follow_file(source: Path, copy: Path) -> None:
    """Have a copy say what a file says. It stays as it is while there is no such file."""
    with contextlib.suppress(FileNotFoundError):
        content = source.read_bytes()
        if not copy.exists() or copy.read_bytes() != content:
            replace_file(copy, content)


def read_up(path: Path) -> UpFile | None:
    """Return what ``up.json`` says, or None when there is no usable one."""
    document = read_json(path)
    return None if document is None else UpFile.from_dict(document)


def ensure_private_dir(path: Path) -> None:
    """Create a folder for its owner alone, and refuse one that belongs to somebody else.

    Ray's temp dir has a predictable name in a folder that everybody can write to.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen = path.lstat()
    if path.is_symlink() or seen.st_uid != os.geteuid():
        raise Unavailable(
            f"{path} belongs to somebody else or is a symbolic link.",
            code="folder-not-ours",
            hint="Choose another folder with RAYCTL_HOME or RAYCTL_RAY_TEMP_DIR.",
        )
    if seen.st_mode & 0o077:
        path.chmod(0o700)


def ensure_token(path: Path, line_break: bool = False) -> str:
    """Return the first token in a file, and make the file (mode 0600) with a fresh token if there is none.

    ``line_break``: end the new file's line, so that more can be appended. Not all readers of token files strip it.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        token = next(iter(path.read_text().split()), "")
        if not token:
            hint = "Remove it; a new one is made."
            raise Unavailable(f"{path} is empty.", code="token-file-empty", hint=hint) from None
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        return token
    token = secrets.token_hex(32)
    with os.fdopen(descriptor, "w") as out:
        out.write(token + "\n" * line_break)
    return token


@contextlib.contextmanager
def file_lock(
    path: Path, timeout_s: float, waiting: str = "", on_wait: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold an exclusive lock; the kernel gives it back when this process ends, however it ends.

    ``on_wait`` is called once if somebody else holds the lock.

    Raises:
        DeadlineExceeded: somebody else kept it for ``timeout_s``; ``waiting`` says for what we waited.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + timeout_s
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise DeadlineExceeded(waiting or f"{path} is locked by another process.", code="locked") from None
                if not told:
                    told = True
                    on_wait()
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)
