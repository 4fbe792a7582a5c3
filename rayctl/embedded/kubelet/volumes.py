"""What is in a pod's volumes. Pure, but for `write_files`: names → content, swapped in as a whole like Kubernetes
does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from rayctl.embedded.kubelet.environment import Facts, Missing, field_value, resource_value

__all__ = ["Files", "files_of", "is_live", "write_files"]

Files = dict[str, tuple[bytes, int]]
"""Relative path → content and mode. Only the owner gets rights, whatever the pod asks for."""
Data = Callable[[str], Mapping[str, bytes] | None]

_DATA = "..data"


def is_live(volume: Mapping[str, Any]) -> bool:
    """Tell whether a volume's content comes from the API, and follows it."""
    return any(volume.get(kind) is not None for kind in ("configMap", "secret", "projected", "downwardAPI"))


def files_of(
    volume: Mapping[str, Any], facts: Facts, config_map: Data, secret: Data, token: Callable[[str], bytes] | None = None
) -> Files:
    """Return the files of a volume. ``token``: audience → the pod's token.

    Raises:
        Missing: An object, a key or a field is not there; or a path leads out of the volume.
    """
    if volume.get("configMap") is not None:
        part = volume["configMap"]
        return _object(part, part["name"], config_map, "configmap", part.get("defaultMode"))
    if volume.get("secret") is not None:
        part = volume["secret"]
        return _object(part, part["secretName"], secret, "secret", part.get("defaultMode"))
    if volume.get("downwardAPI") is not None:
        return _downward(volume["downwardAPI"], facts, volume["downwardAPI"].get("defaultMode"))
    found: Files = {}
    part = volume.get("projected") or {}
    mode = part.get("defaultMode")
    for source in part.get("sources") or ():
        if source.get("configMap") is not None:
            found |= _object(source["configMap"], source["configMap"]["name"], config_map, "configmap", mode)
        elif source.get("secret") is not None:
            found |= _object(source["secret"], source["secret"]["name"], secret, "secret", mode)
        elif source.get("downwardAPI") is not None:
            found |= _downward(source["downwardAPI"], facts, mode)
        elif source.get("serviceAccountToken") is not None and token is not None:
            wanted = source["serviceAccountToken"]
            found[_path(wanted["path"])] = (token(wanted.get("audience", "")), _mode(mode))
        else:
            kind = next(iter(source), "nothing")
            raise Missing(f"a projected source of kind {kind} is not supported by this node")
    return found


def _mode(wanted: int | None) -> int:
    return 0o600 | ((0o644 if wanted is None else wanted) & 0o100)


def _path(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in text or text.startswith(".."):
        raise Missing(f"the path {text[:80]!r} leads out of the volume")
    return str(path)


def _object(part: Mapping[str, Any], name: str, lookup: Data, kind: str, mode: int | None) -> Files:
    data = lookup(name)
    if data is None:
        if part.get("optional"):
            return {}
        raise Missing(f'{kind} "{name}" not found')
    if not part.get("items"):
        return {_path(key): (value, _mode(mode)) for key, value in data.items()}
    found: Files = {}
    for item in part["items"]:
        if item["key"] in data:
            own = item.get("mode")
            found[_path(item["path"])] = (data[item["key"]], _mode(mode if own is None else own))
        elif not part.get("optional"):
            raise Missing(f"{kind} references non-existent key: {item['key']}")
    return found


def _downward(part: Mapping[str, Any], facts: Facts, mode: int | None) -> Files:
    found: Files = {}
    for item in part.get("items") or ():
        if item.get("fieldRef"):
            text = field_value(item["fieldRef"]["fieldPath"], facts)
        else:
            text = resource_value(item["resourceFieldRef"], {}, facts)
        found[_path(item["path"])] = (text.encode(), _mode(mode))
    return found


def write_files(folder: Path, files: Files) -> bool:
    """Make a folder show these files: all at once, through one link; tell whether anything changed. Raises OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    link = folder / _DATA
    if link.is_symlink() and _read_files(link) == files:
        return False
    fresh = Path(tempfile.mkdtemp(dir=folder, prefix="..v"))
    for name, (content, mode) in files.items():
        place = fresh / name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        place.chmod(mode)
    old = link.readlink() if link.is_symlink() else None
    temporary = folder / "..new"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh.name)
    temporary.replace(link)
    tops = {PurePosixPath(name).parts[0] for name in files}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(Path(_DATA) / top)
    for entry in folder.iterdir():
        if entry.is_symlink() and entry.name not in tops and entry.name != _DATA:
            entry.unlink()
    if old is not None:
        shutil.rmtree(folder / old, ignore_errors=True)
    return True


def _read_files(folder: Path) -> Files:
    found: Files = {}
    for place in folder.rglob("*"):
        if place.is_file():
            found[str(place.relative_to(folder))] = (place.read_bytes(), place.stat().st_mode & 0o777)
    return found
