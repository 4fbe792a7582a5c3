"""Where everything of one rayctl home lives. Paths only; nothing here touches the disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MAX_TEMP_DIR_BYTES", "Layout", "default_home"]

# AF_UNIX paths end at 107 bytes and Ray appends up to 68 to its temp dir (with a 7-digit process id).
MAX_TEMP_DIR_BYTES = 39


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the rayctl home that this environment selects (``RAYCTL_HOME``, else ``~/.rayctl``)."""
    return Path(os.path.abspath(Path(environ.get("RAYCTL_HOME") or "~/.rayctl").expanduser()))


@dataclass(frozen=True)
class Layout:
    """The files and folders of one home. ``ray_temp_dir`` is outside of it because it must be short."""

    home: Path
    ray_temp_dir: Path

    @classmethod
    def of(cls, home: Path | None = None, environ: Mapping[str, str] = os.environ) -> Layout:
        """Return the layout of a home (default: the one that the environment selects)."""
        chosen = Path(os.path.abspath(home)) if home is not None else default_home(environ)
        temp = environ.get("RAYCTL_RAY_TEMP_DIR")
        return cls(chosen, Path(os.path.abspath(temp)) if temp else Path("/tmp") / f"rayctl-{home_id(chosen)}")  # noqa: S108

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that stand for this home."""
        return home_id(self.home)

    @property
    def token(self) -> Path:
        """Bearer token of the HTTP API."""
        return self.home / "token"

    @property
    def pods_token(self) -> Path:
        """Copy of `token` for the control plane's pods: in a folder that they have, so that they see it replaced."""
        return self.home / "state" / "token"

    @property
    def ray_token(self) -> Path:
        """Token of the Ray cluster: whoever has it can run code on it."""
        return self.home / "ray_token"

    @property
    def logs(self) -> Path:
        """Folder of the logs of the supervisor and its children."""
        return self.home / "logs"

    def log(self, part: str) -> Path:
        """Return the log file of one part (``supervisor``, ``ray``, ``resident``)."""
        return self.logs / f"{part}.log"

    @property
    def run(self) -> Path:
        """Folder of small files that only live while something runs."""
        return self.home / "run"

    @property
    def up_file(self) -> Path:
        """What runs: written by the supervisor, read by everybody."""
        return self.home / "up.json"

    @property
    def up_lock(self) -> Path:
        """Held by the one ``rayctl up`` or ``down`` that is changing something."""
        return self.home / "up.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.run / "supervisor.lock"

    @property
    def options(self) -> Path:
        """What the supervisor was asked to start."""
        return self.run / "options.json"

    @property
    def resident_file(self) -> Path:
        """What the resident reports about the services."""
        return self.run / "resident.json"

    @property
    def kube(self) -> Path:
        """Folder of the embedded API server and its node."""
        return self.home / "kube"

    @property
    def kubeconfig(self) -> Path:
        """How the embedded API server is reached; there while it runs."""
        return self.home / "kubeconfig"

    @property
    def installation(self) -> Path:
        """What is wanted of the control plane on the embedded server."""
        return self.run / "installation.json"

    @property
    def ray_ready_file(self) -> Path:
        """Written by ``ray start`` when its node is complete."""
        return self.ray_temp_dir / "ray_current_cluster"

    @property
    def data(self) -> tuple[Path, ...]:
        """What ``down --delete-data`` removes besides everything that is not data."""
        folders = (self.home / "state", self.home / "artifacts", self.home / "uploads", self.kube)
        return (*folders, self.token, self.ray_token)


def home_id(home: Path) -> str:
    """Return eight hexadecimal digits made from a home's path."""
    return hashlib.sha256(os.fsencode(home)).hexdigest()[:8]
