"""What is left of a pod is found by its namespace, which stays this one's for as long as it is looked for."""

from __future__ import annotations

import os
from pathlib import Path

from rayctl.embedded.kubelet.processes import holding

OWN = "/proc/self/ns/net"


def held() -> list[str]:
    """Return the network namespaces that this process has open."""
    names = (Path("/proc/self/fd") / entry for entry in os.listdir("/proc/self/fd"))
    return [os.readlink(name) for name in names if name.is_symlink() and os.readlink(name).startswith("net:")]


def test_a_namespace_is_kept_for_as_long_as_it_is_compared_with() -> None:
    """Its inode number would otherwise go to the next namespace, whose processes are somebody else's."""
    assert held() == []
    with holding(OWN) as found:
        assert held() == [os.readlink(OWN)]
    assert held() == []
    seen = os.stat(OWN)
    assert found == (seen.st_dev, seen.st_ino)


def test_where_there_is_none_nothing_is_compared(tmp_path: Path) -> None:
    with holding(None) as found:
        assert found is None
    with holding(str(tmp_path / "gone")) as found:
        assert found is None
