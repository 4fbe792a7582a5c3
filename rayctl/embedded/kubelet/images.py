"""Which Python environment stands for an image."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rayctl.errors import InvalidRequest

__all__ = ["Environment", "Images", "parse_image"]


@dataclass(frozen=True)
class Environment:
    """``bin``: the folder with its programs; ``keep``: folders it needs to be seen at their places."""

    bin: Path
    keep: tuple[Path, ...]

    @property
    def ray(self) -> str:
        """Path of its ``ray``, or nothing."""
        return shutil.which("ray", path=str(self.bin)) or ""


def parse_image(text: str) -> tuple[str, Path]:
    """Read ``NAME=PATH``: an image's name (with or without tag) and the folder of a Python environment.

    Raises:
        InvalidRequest: It is not of this form, or there is no environment.
    """
    name, equals, path = text.rpartition("=")
    folder = Path(path).expanduser()
    if not name or not equals:
        raise InvalidRequest(f"{text!r} is not NAME=PATH.", code="image-malformed")
    if not os.access(folder / "bin" / "python", os.X_OK):
        raise InvalidRequest(
            f"{folder} is not a Python environment: it has no bin/python.",
            code="image-without-python",
            hint="Make one with `python -m venv` and install what the image would have.",
        )
    return name, folder.absolute()


class Images:
    """Args: name → folder of an environment. Names without a tag stand for all tags; others get the running one."""

    def __init__(self, mapped: Mapping[str, Path]) -> None:
        self._mapped = dict(mapped)

    def find(self, image: str) -> Environment:
        """Return the environment of an image; the one that runs the kubelet if the image is not mapped."""
        bare = image.partition("@")[0]
        head, slash, tail = bare.rpartition("/")
        untagged = head + slash + tail.partition(":")[0]
        folder = self._mapped.get(image) or self._mapped.get(bare) or self._mapped.get(untagged)
        if folder is None:
            rayctl = Path(__file__).resolve().parents[3]
            return Environment(
                Path(sys.executable).absolute().parent, (Path(sys.prefix), Path(sys.base_prefix), rayctl)
            )
        base = (folder / "bin" / "python").resolve().parents[1]
        return Environment(folder / "bin", (folder, base))
