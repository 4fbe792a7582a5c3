"""What others feel of one user who asks without a pause: latencies of a modest user, alone and beside a greedy one.

``python tests/benchmarks/fairness.py``: prints figures, never fails. The server has a process of its own, and the
greedy user too. The modest user reads 50 times a second on one connection, and renews a Lease once a second.
``--connections 0`` is what it is alone.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from rayctl.kube.calls import Call, Resource
from rayctl.kube.errors import KubernetesError
from rayctl.kube.http import HttpTransport, load_configuration
from tests.contract.servers import serving

MAPS = Resource("", "v1", "configmaps", "ConfigMap")
ALL, ONE = MAPS.path("default"), MAPS.path("default", "m0")
LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease").path("default", "l")
USERS = 'modest-token,modest,u-m,"system:masters"\ngreedy-token,greedy,u-g,"system:masters"\n'
OBJECTS = 2_000
KINDS = ("gets", "lists", "writes")


async def as_user(kubeconfig: Path, token: str, connections: int) -> HttpTransport:
    configuration = await load_configuration(str(kubeconfig))
    configuration.api_key = {"BearerToken": f"Bearer {token}"}
    return HttpTransport(configuration, connections=connections)


async def greedy(kubeconfig: Path, connections: int, kind: str) -> None:
    """Ask until ended; a refusal is followed by the next request at once."""
    transport = await as_user(kubeconfig, "greedy-token", connections)
    calls = {
        "gets": lambda n: Call.get(ONE),
        "lists": lambda n: Call.get(ALL, timeout_s=60).asking(labelSelector="a=b"),
        "writes": lambda n: Call.apply(MAPS.path("default", f"g{n}"), {**BODY, "data": {"t": str(time.time())}}, "g"),
    }

    async def caller(number: int) -> None:
        while True:
            try:
                await transport.request(calls[kind](number))
            except KubernetesError as error:
                print(error, file=sys.stderr)

    callers = [asyncio.ensure_future(caller(number)) for number in range(connections)]
    print("begun", flush=True)
    await asyncio.gather(*callers)


BODY = {"apiVersion": "v1", "kind": "ConfigMap"}


async def modest(transport: HttpTransport, seconds: float) -> tuple[list[float], int, int]:
    """Return milliseconds of the reads, and how many leases were renewed in time, of how many."""
    taken, renewed, due = [], 0, 0
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        began = time.perf_counter()
        await transport.request(Call.get(ONE))
        taken.append((time.perf_counter() - began) * 1e3)
        if len(taken) % 50 == 1:
            due += 1
            body = {"spec": {"holderIdentity": "me", "leaseTransitions": due}}
            merge = "application/merge-patch+json"
            await transport.request(Call("PATCH", LEASE, body=body, content_type=merge, timeout_s=1.0))
            renewed += 1
        await asyncio.sleep(max(0.0, 0.02 - (time.perf_counter() - began)))
    return sorted(taken), renewed, due


async def measure(kubeconfig: Path, connections: int, kind: str, seconds: float) -> None:
    transport = await as_user(kubeconfig, "modest-token", 4)
    process = None
    if connections:
        command = [sys.executable, __file__, "--greedy", str(kubeconfig), "--connections", str(connections)]
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, "--kind", kind, stdout=pipe, stderr=nothing)
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(3)  # its connections are made: TLS costs the server more than anything that follows
    try:
        taken, renewed, due = await modest(transport, seconds)
    finally:
        if process is not None:
            process.kill()
            await process.wait()
        await transport.close()
    p99 = taken[int(len(taken) * 0.99)]
    beside = f"beside {connections} connections of {kind}" if connections else "alone"
    print(
        f"{beside}: {len(taken)} reads, median {statistics.median(taken):.1f} ms, p99 {p99:.1f} ms, slowest "
        f"{taken[-1]:.1f} ms; {renewed} of {due} leases renewed within a second",
        flush=True,
    )


async def run(kubeconfig: Path, connections: int, kinds: list[str], seconds: float) -> None:
    transport = await as_user(kubeconfig, "modest-token", 16)
    for number in range(OBJECTS):
        await transport.request(Call("POST", ALL, body={**BODY, "metadata": {"name": f"m{number}"}}))
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
    await transport.request(Call("POST", LEASE.rpartition("/")[0], body=lease))
    await transport.close()
    await measure(kubeconfig, 0, "", seconds)
    for kind in kinds if connections else ():
        await measure(kubeconfig, connections, kind, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=200, help="of the greedy user")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--kind", choices=KINDS, help="what the greedy user does; all after each other")
    parser.add_argument("--greedy", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.greedy:
        asyncio.run(greedy(options.greedy, options.connections, options.kind))
        return
    with tempfile.TemporaryDirectory() as folder:
        users = Path(folder) / "users.csv"
        users.write_text(USERS)
        users.chmod(0o600)
        kinds = [options.kind] if options.kind else list(KINDS)
        with serving(Path(folder), users) as server:
            asyncio.run(run(server.kubeconfig, options.connections, kinds, options.seconds))


if __name__ == "__main__":
    main()
