"""A pod's folders and volumes on this machine: made, kept in step with the API, and removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from rayctl.embedded.apiserver.quantity import parse_quantity
from rayctl.embedded.kubelet.containers import Launch
from rayctl.embedded.kubelet.environment import Facts
from rayctl.embedded.kubelet.host import Host
from rayctl.embedded.kubelet.shim import kernel
from rayctl.embedded.kubelet.spec import PodSpec
from rayctl.embedded.kubelet.volumes import files_of, is_live, write_files

__all__ = ["PodFiles"]


class PodFiles:
    """Args: what pods share; the pod; its folder; its folder with a short path; audience → its account's token.

    Attributes:
        volumes: Name → folder.
    """

    def __init__(
        self, host: Host, spec: PodSpec, folder: Path, short: Path, token: Callable[[str], bytes] | None = None
    ) -> None:
        self._token = token
        self._host, self._spec, self._folder, self._short = host, spec, folder, short
        self._inside = host.network.mode == "netns"
        self._hosts = ""
        documents = spec.document["spec"].get("volumes") or ()
        self._documents = {volume["name"]: volume for volume in documents}
        self.volumes: dict[str, Path] = {}
        for index, (name, volume) in enumerate(self._documents.items()):
            # What Ray puts sockets into needs a short path, which only matters where it is seen at its real place.
            is_short = not self._inside and not is_live(volume)
            self.volumes[name] = short / f"v{index}" if is_short else folder / "volumes" / str(index)

    def prepare(self) -> None:
        """Make the folders. Raises Missing, OSError."""
        for place in (self._folder, self._folder / "volumes", self._folder / "root", self._short):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, volume in self._documents.items():
            place = self.volumes[name]
            if volume.get("persistentVolumeClaim"):
                _point_to(
                    place, self._host.claim_folder(self._spec.namespace, volume["persistentVolumeClaim"]["claimName"])
                )
                continue
            if volume.get("hostPath"):
                _point_to(place, Path(volume["hostPath"]["path"]))
                continue
            place.mkdir(mode=0o700, exist_ok=True)
            memory = (volume.get("emptyDir") or {}).get("medium") == "Memory"
            if memory and self._inside and not os.path.ismount(place):
                limit = (volume.get("emptyDir") or {}).get("sizeLimit")
                size = f",size={int(parse_quantity(limit))}" if limit else ""
                kernel.mount("rayctl", str(place), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777" + size)
        if self._inside:
            (self._folder / "resolv.conf").write_text("# Names of Services are in /etc/hosts.\n")
            (self._folder / "hosts").touch()

    def write_live(self, facts: Facts) -> None:
        """Have the volumes whose content comes from the API show it. Raises Missing, OSError."""
        namespace = self._spec.namespace
        for name, volume in self._documents.items():
            if is_live(volume):
                files = files_of(
                    volume,
                    facts,
                    lambda found: self._host.config_map(namespace, found),
                    lambda found: self._host.secret(namespace, found),
                    self._token,
                )
                write_files(self.volumes[name], files)

    def write_hosts(self) -> None:
        """Have the pod's /etc/hosts show Services as they are now. Raises OSError."""
        if not self._inside:
            return
        place = self._host.network.known(self._spec.uid)
        own = f"{place.ip} {self._spec.name}\n" if place is not None else ""
        text = "127.0.0.1 localhost\n" + own + self._host.names(self._spec.namespace)
        if text != self._hosts:
            # In place: it is bound into the containers, and a file of the same name would not be.
            with open(self._folder / "hosts", "r+b") as file:
                file.write(text.encode())
                file.truncate()
            (self._folder / "hosts").chmod(0o644)
            self._hosts = text

    def private(self, name: str, launch: Launch) -> Callable[[], None]:
        """Return what makes a container's own folder for temporary files anew, with a home that keeps PATH."""
        index = [known.name for known in self._spec.containers].index(name)
        path = launch.env["PATH"]

        def make() -> None:
            if launch.root is not None:
                place = Path(next(source for source, target, _ in launch.root["mounts"] if target == "/tmp"))  # noqa: S108
            else:
                place = self._short / f"c{index}"
                shutil.rmtree(place, ignore_errors=True)
            home = place / ".home"
            home.mkdir(mode=0o700, parents=True)
            if launch.root is not None:
                place.chmod(0o1777)
            # Login shells set PATH anew from /etc/profile.
            for file in (".profile", ".bash_profile"):
                (home / file).write_text(f"export PATH='{path}'\n")

        return make

    def remove(self) -> None:
        """Take volumes back that are more than folders. Raises OSError."""
        for place in self.volumes.values():
            if os.path.ismount(place):
                kernel.unmount(str(place))


def _point_to(place: Path, folder: Path) -> None:
    """Have a volume be a folder that outlives the pod: a link, which is all that goes with the pod."""
    if not place.is_symlink():
        place.symlink_to(folder)
