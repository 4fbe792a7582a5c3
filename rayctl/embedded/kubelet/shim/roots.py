"""A container's own view of the file system: the machine's, with some places hidden and others put in.

The new root is a tmpfs of bind mounts, one for each entry of the machine's root. Where a place has to be put into a
folder of the machine, that folder becomes a tmpfs with bind mounts of its entries, so that nothing is ever made on
the machine. Part of the shim: nothing of rayctl may be imported here.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from rayctl.embedded.kubelet.shim import kernel

_TMP = "/tmp"  # noqa: S108
_SPECIAL = ("proc", "tmp", "lost+found")


def _is_folder(path: str) -> bool:
    return stat.S_ISDIR(os.stat(path).st_mode)


def _put_entries(source: str, target: str, left_out: tuple[str, ...] = ()) -> None:
    for entry in os.scandir(source):
        if entry.name in left_out:
            continue
        place = os.path.join(target, entry.name)
        try:
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)
                continue
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(place)
            else:
                os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
            kernel.mount(entry.path, place, flags=kernel.MS_BIND | kernel.MS_REC)
        except FileNotFoundError:
            continue  # it was just removed


class Root:
    """A root in the making below ``folder`` (an empty folder; seen by this mount namespace only)."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        kernel.mount("", "/", flags=kernel.MS_PRIVATE | kernel.MS_REC)
        kernel.mount("rayctl", folder, "tmpfs", kernel.MS_NOSUID, "mode=755,size=16m")
        kernel.mount("", folder, flags=kernel.MS_UNBINDABLE)  # so that it does not become a part of itself
        self._own = {"/"}
        _put_entries("/", folder, _SPECIAL)
        for name in ("proc", "tmp"):
            self._make("/" + name)
        kernel.mount("proc", self._inside("/proc"), "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)

    def _inside(self, path: str) -> str:
        return self.folder + path

    def _make(self, path: str) -> None:
        os.mkdir(self._inside(path), 0o755)
        self._own.add(path)

    def _open_up(self, path: str) -> None:
        """Make a folder of the machine one whose entries can be added to."""
        kernel.mount("rayctl", self._inside(path), "tmpfs", kernel.MS_NOSUID, "mode=755,size=16m")
        self._own.add(path)
        _put_entries(path, self._inside(path))

    def shows(self, path: str) -> bool:
        """Tell whether there is something at this place."""
        return os.path.exists(self._inside(os.path.realpath(path)))

    def place(self, path: str, folder: bool) -> str:
        """Return where ``path`` (absolute) is below the new root, after making what is missing of it."""
        parts = [part for part in os.path.realpath(path).split("/") if part]
        at = "/"
        for index, part in enumerate(parts):
            following = os.path.join(at, part)
            if not os.path.lexists(self._inside(following)):
                if at not in self._own:
                    self._open_up(at)
                if folder or index < len(parts) - 1:
                    self._make(following)
                else:
                    os.close(os.open(self._inside(following), os.O_CREAT | os.O_WRONLY, 0o600))
            at = following
        return self._inside(at)

    def bind(self, source: str, target: str, read_only: bool) -> None:
        """Show a file or folder of the machine at another place."""
        place = self.place(target, _is_folder(source))
        kernel.mount(source, place, flags=kernel.MS_BIND | kernel.MS_REC)
        if read_only:
            kernel.mount("", place, flags=kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID)
        for known in [known for known in self._own if known.startswith(os.path.realpath(target).rstrip("/") + "/")]:
            self._own.discard(known)
        if _is_folder(source) and not read_only:
            self._own.add(os.path.realpath(target))

    def hide(self, target: str) -> None:
        """Show an empty folder in the place of a folder."""
        if os.path.isdir(self._inside(os.path.realpath(target))):
            kernel.mount("rayctl", self.place(target, True), "tmpfs", kernel.MS_NOSUID, "mode=700,size=1m")
            self._own.add(os.path.realpath(target))

    def enter(self) -> None:
        """Make this the root of this process; the old one is no longer to be seen."""
        os.chdir(self.folder)
        kernel.mount(".", "/", flags=kernel.MS_MOVE)
        os.chroot(".")
        os.chdir("/")


def build(spec: dict[str, Any]) -> None:
    """Build and enter a container's root.

    Args:
        spec: ``staging``: an empty folder; ``hide``: folders; ``mounts``: [source, target, read-only], outermost first;
            ``keep``: folders of the machine that stay where they are though a place above them is hidden.

    Raises:
        OSError: A mount was refused, or a source is not there.
    """
    root = Root(spec["staging"])
    mounts = sorted(spec["mounts"], key=lambda mount: mount[1].count("/"))
    # Folders are opened up before anything is put over or into them: that would be hidden again.
    for source, target, _ in mounts:
        root.place(target, _is_folder(source))
    for folder in spec["hide"]:
        root.hide(folder)
    for source, target, read_only in [mount for mount in mounts if mount[1] == _TMP]:
        root.bind(source, target, read_only)
    for folder in spec["keep"]:
        if not root.shows(folder):
            root.bind(folder, folder, False)
    for source, target, read_only in mounts:
        if target != _TMP:
            root.bind(source, target, read_only)
    root.enter()
