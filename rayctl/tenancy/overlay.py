"""Packages of a tenant on top of a node's own Python: a small virtual environment that falls back on the node's.

Ray's own plugins copy the whole virtual environment that Ray runs in (0.8 GB for each environment and node); where Ray
does not run in one, they are used instead (see `rayctl.tenancy.environment`).

This module needs nothing but the standard library and is sent to the nodes by value, so that it also works where
rayctl is not installed. A folder is complete once its ``ready.json`` is there; whatever else is found is removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import contextmanager, suppress

__all__ = ["build", "folder", "inventory", "look", "prune"]

READY = "ready.json"
HELD = "held"
_BASE = "rayctl-base.pth"
_MESSAGE_BYTES = 4000
RECENT_S = 600.0


def folder() -> str:
    """Return the folder of all environments on this node; only this user can read and write it.

    Raises:
        RuntimeError: somebody else owns a folder of that name.
    """
    path = os.path.join(tempfile.gettempdir(), f"rayctl-environments-{os.getuid()}")
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.lstat(path)
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise RuntimeError(f"{path} is not this user's alone; remove it, or set TMPDIR for the cluster.")
    return path


def look() -> dict[str, object]:
    """Say what this node's Python is: see `rayctl.tenancy.environment.Facts`."""
    import importlib.util
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, object] = {"python": ".".join(map(str, sys.version_info[:3]))}
    try:
        found["ray"] = version("ray")
    except PackageNotFoundError:
        found["ray"] = None
    found["rayctl"] = None
    if importlib.util.find_spec("rayctl") is not None:  # its metadata alone may be left over from elsewhere
        import rayctl

        found["rayctl"] = rayctl.__version__
    needed = ("pydantic", "msgpack", "packaging")
    found["missing"] = [name for name in needed if importlib.util.find_spec(name) is None]
    found["venv"] = sys.prefix if sys.prefix != sys.base_prefix else None
    found["overlays"] = folder()
    found["container_runtime"] = shutil.which("podman")  # the one that Ray starts containers with
    return found


@contextmanager
def _locked(path):  # type: ignore[no-untyped-def]
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(name: str, requirements: list[str], timeout_s: float) -> dict[str, object]:
    """Make an environment, unless it is there. Returns ``{"ok": True, "seconds": …}`` or ``{"ok": False, "message"}``.

    Several processes may ask for the same one at once: one builds, the others wait for it.

    Args:
        name: Of its folder.
        requirements: In normal form.
        timeout_s: Seconds that the installer may take.
    """
    began = time.monotonic()
    base = folder()
    target = os.path.join(base, name)
    with _locked(os.path.join(base, f"{name}.lock")):
        ready = os.path.join(target, READY)
        if _lies_on(ready) == sys.prefix:
            os.utime(ready)
            return {"ok": True, "seconds": 0.0, "built": False}
        shutil.rmtree(target, ignore_errors=True)
        try:
            _make(target, requirements, timeout_s)
        except subprocess.TimeoutExpired:
            problem = f"the installation did not end within {timeout_s:g} s"
        except subprocess.CalledProcessError as error:
            problem = _tail(error.stdout)
        except OSError as error:
            problem = f"{error.strerror}: {error.filename}"
        else:
            seconds = time.monotonic() - began
            document = {
                "requirements": requirements,
                "base": sys.prefix,
                "built_at": time.time(),
                "seconds": round(seconds, 3),
            }
            with open(ready + ".part", "w") as file:
                json.dump(document, file)
            os.replace(ready + ".part", ready)
            return {"ok": True, "seconds": seconds, "built": True}
        shutil.rmtree(target, ignore_errors=True)
        return {"ok": False, "message": problem}


def _lies_on(ready: str) -> str | None:
    """Return the Python installation that a complete environment falls back on; None: it is not complete."""
    try:
        with open(ready) as file:
            return str(json.load(file).get("base"))
    except (OSError, ValueError):
        return None


def _make(target: str, requirements: list[str], timeout_s: float) -> None:
    import ray

    ends = time.monotonic() + timeout_s

    def run(*command: str) -> None:
        _run(command, max(0.1, ends - time.monotonic()))

    uv = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
    python = os.path.join(target, "bin", "python")
    if uv is not None:
        run(uv, "venv", "--quiet", "--no-project", "--python", sys.executable, target)
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        run(sys.executable, "-m", "venv", target)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    _fall_back_on_base(target)
    run(*install, "--", *requirements)
    try:
        # Where this fails, Ray would start its processes again and again, without an end.
        run(python, "-c", f"import ray; assert ray.__version__ == {ray.__version__!r}, ray.__version__")
    except subprocess.CalledProcessError as error:
        error.stdout = f"with these packages Ray itself does not start:\n{error.stdout}"
        raise


def _run(command: tuple[str, ...], timeout_s: float) -> None:
    """Run an installer; when its time is up, end it with all that it has started (builds of packages)."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, said)


def _fall_back_on_base(target: str) -> None:
    """Let the environment find the node's own packages after its own ones, and its processes say that they run."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    own = os.path.join(target, "lib", version, "site-packages")
    base = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    # addsitedir, because the node's own .pth files (editable installs) count as well.
    lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(base) if os.path.isdir(path)]
    held = os.path.join(target, HELD)
    with open(held, "w"):
        lines.append(f"import fcntl, os; fcntl.flock(os.open({held!r}, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)")
    with open(os.path.join(own, _BASE), "w") as file:
        file.write("\n".join(lines) + "\n")


def _tail(text: str | None) -> str:
    """Return the end of an installer's output, without passwords in addresses."""
    import re

    shown = re.sub(r"//[^/@\s]+@", "//…@", text or "the installer said nothing")
    return shown.strip()[-_MESSAGE_BYTES:]


def inventory() -> list[dict[str, object]]:
    """Return the complete environments of this node, each with name, requirements, base, bytes, built_at, seconds,
    used_at, in_use.

    ``base``: the Python installation that each falls back on.
    """
    base = folder()
    found = []
    for name in sorted(os.listdir(base)):
        ready = os.path.join(base, name, READY)
        try:
            used_at = os.stat(ready).st_mtime
            with open(ready) as file:
                document = json.load(file)
        except (OSError, ValueError):
            continue
        size = 0
        for place, _, files in os.walk(os.path.join(base, name)):
            for file_name in files:
                with suppress(FileNotFoundError):  # Python writes and replaces its caches in there
                    size += os.lstat(os.path.join(place, file_name)).st_size
        found.append(
            {"name": name, "bytes": size, "used_at": used_at, "in_use": _in_use(os.path.join(base, name)), **document}
        )
    return found


def _in_use(target: str) -> bool:
    """Whether a process runs in the environment: it holds a lock from its first moment to its last."""
    try:
        with open(os.path.join(target, HELD)) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def prune(keep_bytes: int) -> list[str]:
    """Remove the environments used longest ago until the rest takes at most so many bytes; returns their names.

    What a process runs in stays, and what was asked for a moment ago, because its processes are about to start. What
    falls back on an installation that is gone is of no use to anybody and goes first, whatever its size.
    """
    there = sorted(inventory(), key=lambda found: (os.path.isdir(str(found.get("base"))), float(str(found["used_at"]))))
    total = sum(int(str(found["bytes"])) for found in there)
    removed = []
    for found in there:
        useless = not os.path.isdir(str(found.get("base")))
        if total <= keep_bytes and not useless:
            continue
        if found["in_use"] or float(str(found["used_at"])) > time.time() - RECENT_S:
            continue
        name = str(found["name"])
        with _locked(os.path.join(folder(), f"{name}.lock")):
            os.unlink(os.path.join(folder(), name, READY))
            shutil.rmtree(os.path.join(folder(), name), ignore_errors=True)
        total -= int(str(found["bytes"]))
        removed.append(name)
    return removed
