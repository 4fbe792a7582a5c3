"""Runs a command inside of a running container: probes, hooks. Part of the shim: nothing of rayctl may be imported
here.

Args (JSON on standard input): ``pid``: the container's first process, or 0 without namespaces; ``argv``, ``env``,
``cwd``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from rayctl.embedded.kubelet.shim import kernel

CANNOT_RUN = 126


def enter(spec: dict[str, Any]) -> None:
    """Join the namespaces. The PID namespace counts for children only, hence the fork. Raises OSError."""
    pid = spec["pid"]
    kinds = (("pid", kernel.CLONE_NEWPID), ("net", kernel.CLONE_NEWNET), ("ipc", kernel.CLONE_NEWIPC))
    for name, kind in (*kinds, ("uts", kernel.CLONE_NEWUTS), ("mnt", kernel.CLONE_NEWNS)):
        kernel.enter(f"/proc/{pid}/ns/{name}", kind)
    os.chdir("/")


def main() -> None:
    """Read what to run, run it, end as it ends."""
    spec = json.loads(sys.stdin.buffer.read())
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.umask(0o077)
    # Closed by the start of the command, which is when its time begins to count.
    os.set_inheritable(spec["begun"], False)
    try:
        if spec["pid"]:
            root = os.open(f"/proc/{spec['pid']}/root", os.O_RDONLY | os.O_CLOEXEC)
            enter(spec)
            os.fchdir(root)
            os.chroot(".")
            child = os.fork()
            if child:
                os.close(spec["begun"])
                _, status = os.waitpid(child, 0)
                sys.exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
            kernel.drop_capabilities()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606
    except OSError as error:
        print(f"{spec['argv'][0]}: {error.strerror or error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(CANNOT_RUN)
