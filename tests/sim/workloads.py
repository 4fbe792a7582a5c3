"""What the fan-out controller is put through: it grows, shrinks, says something else, is taken down and made anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rayctl.core.controller import Controller
from rayctl.kube.kinds import CONFIG_MAPS
from rayctl.testkit.process import WAY_S
from rayctl.testkit.simulation import Invariant, Workload
from rayctl.testkit.world import Happened, World
from tests.sim.fanout import TOLD, FanOut

PARENT = "fan-a"
MOST = 5
"""Copies that are wanted at most; never are there more."""


def children(world: World) -> dict[str, dict[str, Any]]:
    """All ConfigMaps that have a child's name."""
    found = world.objects(CONFIG_MAPS, "default")
    return {item["metadata"]["name"]: item for item in found if item["metadata"]["name"].startswith(f"{PARENT}-")}


def told(world: World) -> str:
    """What the parent says that there is."""
    owner = world.object(CONFIG_MAPS, PARENT) or {"metadata": {}}
    return str((owner["metadata"].get("annotations") or {}).get(TOLD, ""))


def parent(copies: int, text: str) -> dict[str, Any]:
    """The wish."""
    data = {"copies": str(copies), "text": text}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PARENT}, "data": data}


async def grow_and_shrink(world: World) -> None:
    """3, then 5 copies, then 2 that say something else."""
    await world.create(parent(3, "x"))
    await world.until(lambda: '"copies": 3' in told(world), 120)
    await world.patch(CONFIG_MAPS, PARENT, {"data": {"copies": "5"}})
    await world.until(lambda: len(children(world)) == 5, 120)
    await world.patch(CONFIG_MAPS, PARENT, {"data": {"copies": "2", "text": "y"}})


async def made_anew(world: World) -> None:
    """Deleted while it grows, and made anew under its name at once; somebody deletes one of the copies."""
    await world.create(parent(4, "x"))
    await world.until(lambda: len(children(world)) >= 2, 120)
    await world.delete(CONFIG_MAPS, PARENT)
    await world.create(parent(2, "y"))
    await world.until(lambda: goal(world) == "", 120)
    await world.delete(CONFIG_MAPS, f"{PARENT}-1")


async def beside_a_stranger(world: World) -> None:
    """Somebody else's ConfigMap has a copy's name, and goes later."""
    stranger = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{PARENT}-1"}, "data": {"text": "mine"}}
    await world.create(stranger)
    await world.create(parent(2, "y"))
    await world.until(lambda: False, 20)
    await world.delete(CONFIG_MAPS, f"{PARENT}-1")


def goal(world: World) -> str:
    """Two copies that say ``y``, and the parent says so."""
    found = children(world)
    owner = world.object(CONFIG_MAPS, PARENT)
    if owner is None:
        return "there is no parent"
    if set(found) != {f"{PARENT}-0", f"{PARENT}-1"}:
        return f"there are {sorted(found)}"
    for name, item in found.items():
        owners = item["metadata"].get("ownerReferences") or [{}]
        if item["data"].get("text") != "y" or owners[0].get("uid") != owner["metadata"]["uid"]:
            return f"{name} is not as wanted"
    return "" if told(world) == '{"copies": 2, "text": "y"}' else f"the parent says {told(world)!r}"


def _not_too_many(world: World, happened: Happened) -> str:
    count = len(children(world))
    return f"{count} copies" if count > MOST else ""


def _strangers_untouched(world: World, happened: Happened) -> str:
    old = happened.old
    if happened.actor != "process" or old is None or happened.plural != "configmaps":
        return ""
    name = happened.new["metadata"]["name"]
    owned = old["metadata"].get("ownerReferences")
    return f"{name} belongs to somebody else" if name.startswith(f"{PARENT}-") and not owned else ""


def _told_the_truth(world: World, happened: Happened) -> str:
    if happened.actor != "process" or happened.new["metadata"]["name"] != PARENT or happened.type == "DELETED":
        return ""
    before = ((happened.old or {}).get("metadata", {}).get("annotations") or {}).get(TOLD)
    after = (happened.new["metadata"].get("annotations") or {}).get(TOLD)
    if after == before or after is None:
        return ""
    # It was decided up to a request's way ago.
    counts = _counts(world, world.known("configmaps", happened.at - WAY_S))
    if any(f'"copies": {count},' in after for count in counts):
        return ""
    return f"it tells {after} while there are {counts[0]}, and since what it knows {counts[1:]}"


def _counts(world: World, known: int) -> list[int]:
    """How many copies there are, and before each change after what the process has been told of, newest first.

    A write that is late adds a copy that nobody waits for: a cache that lags then, or has no watch, does not show it.
    """
    names = set(children(world))
    found = [len(names)]
    for happened in reversed(world.history):
        if happened.revision <= known:
            break
        name = happened.new["metadata"]["name"]
        if happened.plural != "configmaps" or not name.startswith(f"{PARENT}-") or happened.type == "MODIFIED":
            continue
        (names.discard if happened.type == "ADDED" else names.add)(name)
        found.append(len(names))
    return found


INVARIANTS = (
    Invariant("never too many", _not_too_many),
    Invariant("strangers are left alone", _strangers_untouched),
    Invariant("what is told is so", _told_the_truth),
)


def workload(name: str, script: Any, make: Callable[[], Controller] = FanOut) -> Workload:
    """Return a workload for a fan-out controller, the correct one unless another is given."""

    def controllers(world: World) -> Sequence[Controller]:
        return [make()]

    return Workload(name, (), controllers, script, goal, INVARIANTS)


def all_workloads(make: Callable[[], Controller] = FanOut) -> list[Workload]:
    """Return all three."""
    scripts = {"grow and shrink": grow_and_shrink, "made anew": made_anew, "beside a stranger": beside_a_stranger}
    return [workload(name, script, make) for name, script in scripts.items()]
