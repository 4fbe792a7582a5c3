"""Running one scenario against one server, giving the canonical record of every step."""

import asyncio
import copy
import json
import random
import time
from contextlib import suppress

import aiohttp

from . import paths
from .canonical import Canon
from .scenario import MissingVariable, Scenario, fill
from .session import Answer, Session, Watch

ALPHABET = "bcdfghjklmnpqrstvwxz"
POLL_S = 0.1
SETTLE_S = 60


class SetupFailed(Exception):
    """The scenario's namespaces, CRDs or setup requests were refused; the text says which and how."""


async def run(scenario: Scenario, session: Session) -> dict[str, dict]:
    """Run a scenario; returns step id -> record. Never raises for what the server answers."""
    return await _Run(scenario, session).everything()


class _Run:
    def __init__(self, scenario: Scenario, session: Session):
        self.scenario, self.session = scenario, session
        run_id = "".join(random.choices(ALPHABET, k=7))
        self.canon = Canon(run_id, scenario.text)
        self.variables = {
            "run": run_id,
            "group": f"{run_id}.oracle.test",
            **{name: f"{letter}-{run_id}" for name, letter in (("ns", "o"), ("ns2", "p"), ("ns3", "q"))},
            "core": "/api/v1/namespaces/<ns>",
            "api": "/apis/<group>/v1/namespaces/<ns>",
            **scenario.let,
        }
        self.watches: dict[str, Watch] = {}

    async def everything(self) -> dict[str, dict]:
        records = {}
        try:
            await self._prepare()
        except (SetupFailed, MissingVariable, aiohttp.ClientError, asyncio.TimeoutError) as problem:
            text = self.canon.text(str(problem) or type(problem).__name__)
            records = {step["id"]: {"failed": f"setup: {text}"} for step in self.scenario.steps}
        else:
            for step in self.scenario.steps:
                records[step["id"]] = await self._safe(step)
        finally:
            await self._clean_up()
        return {key: record for key, record in records.items() if record is not None}

    async def _safe(self, step: dict) -> dict | None:
        try:
            filled = fill(step, self.variables)
            if "relate" in step:  # keep the rule as written: that is what is recorded
                filled["relate"] = [(path, rule, filled["relate"][path]) for path, rule in step["relate"].items()]
            return await self._step(filled)
        except MissingVariable as missing:
            return {"failed": f"no value for <{missing}>"}
        except (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError) as problem:
            return {"failed": f"no answer: {type(problem).__name__}"}
        except (AttributeError, KeyError, TypeError, ValueError) as problem:
            # the answer has a shape that no API server gives, such as a list for metadata: that is the finding
            return {"failed": f"unreadable answer: {type(problem).__name__}: {problem}"}

    # -- the kinds of steps --------------------------------------------------------------------------

    async def _step(self, step: dict) -> dict | None:
        if "pause" in step:
            await asyncio.sleep(step["pause"])
            return None
        if "do" in step:
            return self._record(step, await self._request(step, step["do"]))
        if "until" in step:
            return await self._until(step)
        if "watch" in step:
            return await self._open(step)
        return await self._events(step)

    async def _request(self, step: dict, target: str) -> Answer:
        method, _, path = target.partition(" ")
        return await self.session.request(step, method, path)

    async def _until(self, step: dict) -> dict:
        deadline = time.monotonic() + step.get("within", 20)
        while True:
            answer = await self._request(step, step["until"])
            if _holds(answer, step["that"]):
                return self._record(step, answer)
            if time.monotonic() > deadline:
                return {"late": True, **self._record(step, answer)}
            await asyncio.sleep(POLL_S)

    async def _open(self, step: dict) -> dict:
        opened = await self.session.watch(step, step["path"])
        if isinstance(opened, Answer):
            return self._record(step, opened)
        self.watches[step["watch"]] = opened
        return {"code": 200, "type": opened.response.headers.get("Content-Type", "")}

    async def _events(self, step: dict) -> dict:
        watch = self.watches.get(step["events"])
        if watch is None:
            return {"failed": f"watch {step['events']} is not open"}
        raw, ended = await watch.collect(step.get("count"), step.get("within", 10), step.get("quiet", 0.25))
        record: dict = {"events": [self._event(step, event, watch.stream) for event in raw], "ended": ended}
        if step.get("lasted") and watch.ended_at:
            record["lasted"] = round(watch.ended_at - watch.opened_at)
        if step.get("close"):
            await self.watches.pop(step["events"]).close()
        return record

    def _event(self, step: dict, event: dict, stream: dict) -> dict:
        thing = event.get("object")
        if isinstance(thing, dict) and thing.get("kind") == "Status":
            return {"type": event.get("type"), "failure": self.canon.failure(thing)}
        thing = self._shape(step, self.canon.event(thing, self._managed(step), stream))
        return {"type": event.get("type"), "object": thing}

    # -- recording -----------------------------------------------------------------------------------

    def _record(self, step: dict, answer: Answer) -> dict:
        self._save(step, answer)
        record: dict = {"code": answer.status, "type": answer.media_type}
        warnings = answer.headers.getall("Warning", [])
        if warnings:
            record["warnings"] = sorted(self.canon.text(text) for text in warnings)
        for name in step.get("headers_seen", []):
            record.setdefault("headers", {})[name] = name in answer.headers
        document = answer.document
        if step.get("relate"):
            record["relate"] = {
                f"{path} {rule}": _relation(paths.lookup(document, path), filled)
                for path, rule, filled in step["relate"]
            }
        if isinstance(document, dict) and document.get("kind") == "Status" and document.get("status") == "Failure":
            base = paths.lookup(step.get("body"), "metadata.generateName")
            record.update(self.canon.failure(document, base if isinstance(base, str) else ""))
        elif document is None:
            record["text"] = "<ignored>" if "text" in step.get("ignore", []) else self.canon.text(answer.text)
        else:
            record["body"] = self._shape(step, self.canon.body(_selected(step, document), self._managed(step)))
        return record

    def _managed(self, step: dict) -> bool:
        return step.get("managedFields", self.scenario.managed_fields)

    def _shape(self, step: dict, body):
        """Keep what the step compares."""
        for path in step.get("ignore", []):
            paths.drop(body, path)
        for path in step.get("sort", []):
            value = paths.lookup(body, path) if path else body
            if isinstance(value, list):
                value.sort(key=lambda item: json.dumps(item, sort_keys=True))
        if "compare" in step:
            return {self.canon.text(path): paths.lookup(body, self.canon.text(path)) for path in step["compare"]}
        return body

    def _save(self, step: dict, answer: Answer) -> None:
        for name, path in step.get("save", {}).items():
            value = paths.lookup(answer.document, path)
            if value is paths.ABSENT:
                self.variables.pop(name, None)
            else:
                self.variables[name] = str(value)
                self.canon.name_address(str(value), name)

    # -- before and after ----------------------------------------------------------------------------

    async def _prepare(self) -> None:
        for number in range(self.scenario.namespaces):
            name = self.variables["ns" if number == 0 else f"ns{number + 1}"]
            await self._must(
                {"body": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}},
                "POST /api/v1/namespaces",
            )
        for fixture in self.scenario.crds:
            crd = fill(self.scenario.fixture(fixture), self.variables)
            await self._must({"body": crd}, "POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions")
        for fixture in self.scenario.crds:
            await self._served(fill(self.scenario.fixture(fixture), self.variables))
        for step in self.scenario.setup:
            step = fill(step, self.variables)
            if "pause" in step:
                await asyncio.sleep(step["pause"])
            elif "until" in step:
                if (await self._until(step)).get("late"):
                    raise SetupFailed(f"{step['until']} did not come to {step['that']}")
            else:
                await self._must(step, step["do"])

    async def _must(self, step: dict, target: str) -> None:
        answer = await self._request(step, target)
        if answer.status >= 300:
            raise SetupFailed(f"{target} answered {answer.status}: {answer.text[:300]}")
        self._save(step, answer)
        self.canon.body(answer.document, False)

    async def _served(self, crd: dict) -> None:
        """Wait until a new CRD's first served version can be listed, from storage and from the cache."""
        version = next(v["name"] for v in crd["spec"]["versions"] if v["served"])
        path = f"/apis/{crd['spec']['group']}/{version}/{crd['spec']['names']['plural']}"
        deadline = time.monotonic() + SETTLE_S
        for query in ({}, {"resourceVersion": "0"}, {}):
            while (await self.session.request({"query": query}, "GET", path)).status != 200:
                if time.monotonic() > deadline:
                    raise SetupFailed(f"{path} was not served within {SETTLE_S} s")
                await asyncio.sleep(POLL_S)

    async def _clean_up(self) -> None:
        for watch in self.watches.values():
            await watch.close()
        targets = [(step, step["do"]) for step in self.scenario.cleanup]
        targets += [
            (
                {},
                f"DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
                f"{self.scenario.fixture(name)['metadata']['name']}",
            )
            for name in self.scenario.crds
        ]
        targets += [
            ({}, f"DELETE /api/v1/namespaces/<ns{number + 1 if number else ''}>")
            for number in range(self.scenario.namespaces)
        ]
        for step, target in targets:
            # Best effort: names are unique to this run, so what stays behind disturbs nothing.
            with suppress(MissingVariable, aiohttp.ClientError, asyncio.TimeoutError, ConnectionError):
                await self._request(fill(step, self.variables), fill(target, self.variables))


def _holds(answer: Answer, wanted: dict) -> bool:
    for path, value in wanted.items():
        found = answer.status if path == "code" else paths.lookup(answer.document, path)
        if value in ("<present>", "present") and found is not paths.ABSENT:
            continue
        if value == "absent" and found is paths.ABSENT:
            continue
        if found != value:
            return False
    return True


def _relation(found, rule: str) -> bool:
    """Evaluate a rule such as "== 42" or "> 17" on a value; numbers compare as numbers."""
    operator, _, wanted = rule.partition(" ")
    left, right = str(found), wanted
    if left.isdigit() and right.isdigit():
        left, right = int(left), int(right)
    return {"==": left == right, "!=": left != right, ">": left > right, ">=": left >= right, "<": left < right}[
        operator
    ]


def _selected(step: dict, document):
    """Keep only the elements of lists that the step's `select` names: {list path: {field: value or [values]}}."""
    if "select" not in step:
        return document
    document = copy.deepcopy(document)
    for path, wanted in step["select"].items():
        elements = paths.lookup(document, path)
        if isinstance(elements, list):
            elements[:] = [
                e
                for e in elements
                if all(
                    paths.lookup(e, name) in (value if isinstance(value, list) else [value])
                    for name, value in wanted.items()
                )
            ]
    return document
