"""The process beside each container: starts it, keeps its log, ends all of it, and writes down how it ended.

It outlives the kubelet. Its orders are signals: SIGTERM is handed to the container's first process, SIGUSR1 kills all.
Everything that a container started is either in its PID namespace, which ends with the first process, or, without
namespaces, becomes a child of this process when its parent dies, so that nothing can be overlooked. Run by file name,
with the specification (JSON) on standard input. Part of the shim: nothing of rayctl may be imported here.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

from rayctl.embedded.kubelet.shim import kernel, roots
from rayctl.embedded.kubelet.shim.logfile import LogFile

START_FAILED = 128
"""Exit code of a container whose program could not be started, as container runtimes have it."""


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks after boot; 0 when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def write_json(folder: int, name: str, document: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(name + ".new", flags, 0o600, dir_fd=folder), "w") as file:
        json.dump(document, file)
    os.replace(name + ".new", name, src_dir_fd=folder, dst_dir_fd=folder)


def children_of(parents: set[int]) -> list[int]:
    """Return all living descendants of these processes."""
    table: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        table.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    waiting = list(parents)
    while waiting:
        for child in table.get(waiting.pop(), ()):
            found.append(child)
            waiting.append(child)
    return found


def limits() -> None:
    """Bound what a container may use by itself. Files: as many as Ray asks for; no core dumps."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = 1_048_576 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, most), most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    bound = 32_768 if hard == resource.RLIM_INFINITY else min(hard, 32_768)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (bound, bound))


def become(spec: dict[str, Any], out: int, err: int) -> None:
    """Turn this process into the container's program. Raises OSError."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    limits()
    os.umask(spec.get("umask", 0o077))
    if spec["namespaces"]:
        kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    os.chdir(spec["cwd"])
    os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606


def reported(step: Any, pipe: int) -> None:
    """Do a last step of a child; if it fails, tell the parent why, and end."""
    try:
        step()
    except BaseException as error:
        text = (
            str(error) if not isinstance(error, FileNotFoundError) else f"{error.filename}: no such file or directory"
        )
        with contextlib.suppress(OSError):
            os.write(pipe, json.dumps({"error": text[:1000]}).encode() + b"\n")
    os._exit(START_FAILED)


def first_process(spec: dict[str, Any], out: int, err: int, pipe: int) -> None:
    """Be the first process of a PID namespace: hand SIGTERM on, collect orphans, end when the program has ended."""
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.enter(spec["namespaces"]["net"], kernel.CLONE_NEWNET)
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC)
    kernel.set_host_name(spec["namespaces"]["host_name"])
    roots.build(spec["root"])
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    program = os.fork()
    if program == 0:
        reported(lambda: become(spec, out, err), pipe)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(program, signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    for descriptor in (out, err):
        os.close(descriptor)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == program:
            os.write(pipe, json.dumps({"status": status}).encode() + b"\n")
            os._exit(0)


class Shim:
    """One container, from its start to its end."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._folder = os.open(spec["folder"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._log = LogFile(self._folder, spec["log_bytes"], spec["log_files"])
        self._child = 0
        self._status: int | None = None
        self._word = b""
        self._killed = False

    def run(self) -> None:
        """Start the container and stay until nothing of it is left."""
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        woken, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        pipes = {name: os.pipe2(os.O_CLOEXEC) for name in ("stdout", "stderr", "word")}
        began = time.time()
        self._start(pipes)
        document = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "started_at": began}
        document |= {"child": self._child, "child_start_time": start_time(self._child)}
        write_json(self._folder, "started.json", document)
        for _, writing in pipes.values():
            os.close(writing)
        self._follow(woken, {pipes[name][0]: name for name in pipes})
        self._end(began)

    def _start(self, pipes: dict[str, tuple[int, int]]) -> None:
        out, err, word = (pipes[name][1] for name in ("stdout", "stderr", "word"))
        inside = bool(self._spec["namespaces"])
        if inside:
            try:
                kernel.unshare(kernel.CLONE_NEWPID)  # for the next child
            except OSError as error:
                os.write(word, json.dumps({"error": str(error)}).encode() + b"\n")
                return
        self._child = os.fork()
        if self._child == 0:
            signal.set_wakeup_fd(-1)
            if inside:
                reported(lambda: first_process(self._spec, out, err, word), word)
            reported(lambda: self._alone(out, err), word)

    def _alone(self, out: int, err: int) -> None:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        become(self._spec, out, err)

    def _follow(self, woken: int, readers: dict[int, str]) -> None:
        poll = select.poll()
        for descriptor in (woken, *readers):
            poll.register(descriptor, select.POLLIN)
        self._collect()
        while readers or self._child:
            for descriptor, _ in poll.poll(None if self._status is None and self._child else 200):
                if descriptor == woken:
                    self._signalled(os.read(woken, 512))
                    continue
                data = os.read(descriptor, 65536)
                if not data:
                    poll.unregister(descriptor)
                    readers.pop(descriptor)
                elif readers[descriptor] == "word":
                    self._word += data
                else:
                    self._log.take(readers[descriptor], data)
            self._collect()
            if self._child == 0 and not self._left():
                self._drain(readers)
                return

    def _drain(self, readers: dict[int, str]) -> None:
        # Nothing of the container lives any more; what is still in the pipes is read, and not waited for.
        for descriptor, name in readers.items():
            os.set_blocking(descriptor, False)
            with contextlib.suppress(BlockingIOError):
                while data := os.read(descriptor, 65536):
                    if name == "word":
                        self._word += data
                    else:
                        self._log.take(name, data)

    def _signalled(self, numbers: bytes) -> None:
        if signal.SIGUSR1 in numbers:
            self._killed = True
            if self._child:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._child, signal.SIGKILL)
        elif signal.SIGTERM in numbers and self._child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGTERM)

    def _collect(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._child = 0
                return
            if pid == 0:
                return
            if pid == self._child:
                self._child, self._status = 0, status

    def _left(self) -> bool:
        """Kill what the container left behind; tell whether there is any."""
        left = children_of({os.getpid()})
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._collect()
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False  # the kernel's word for it: there is no descendant left
        return True

    def _end(self, began: float) -> None:
        self._log.finish()
        word: dict[str, Any] = {}
        for line in self._word.splitlines():
            word |= json.loads(line)
        status = word.get("status", self._status)
        document: dict[str, Any] = {"started_at": began, "finished_at": time.time(), "exit_code": START_FAILED}
        document["signal"] = 0
        if "error" in word:
            document["error"] = word["error"]
        elif status is not None and os.WIFSIGNALED(status):
            document["signal"] = os.WTERMSIG(status)
            document["exit_code"] = 128 + os.WTERMSIG(status)
        elif status is not None:
            document["exit_code"] = os.WEXITSTATUS(status)
        write_json(self._folder, "exited.json", document)


def main() -> None:
    """Read the specification, run the container."""
    text = sys.stdin.buffer.read()
    try:
        spec = json.loads(text)
    except ValueError:
        raise SystemExit("the kubelet ended before it had said what to run") from None
    os.umask(0o077)
    os.chdir("/")
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(name), False)  # the kubelet's lock is held by us, not by the container
    Shim(spec).run()
