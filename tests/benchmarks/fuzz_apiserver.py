"""Hundreds of thousands of damaged requests against the API server: no 5xx of its own, no exception, no long block.

``python tests/benchmarks/fuzz_apiserver.py --inputs 300000 --seed 1``: bodies, patches, paths, queries and selectors
are mutations of the contract suite's good ones. Prints each new kind of failure with its cause; ends with 1 if any.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

sys.path.insert(0, str(Path(__file__).parents[2]))

import yaml

from rayctl.embedded.apiserver.requests import Response
from tests.unit.embedded.local import Local

SCENARIOS = Path(__file__).parents[1] / "contract" / "scenarios"
KNOWN_500 = (
    *("failed to create typed patch object", "resourceVersion", "strconv.ParseUint", "unknown patch type", "map: "),
    "does not exist",
)
"""Answers with 500 that kube-apiserver gives as well."""
SLOW_S = 0.25
TYPES = {
    "POST": ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain"],
    "PUT": ["application/json", "application/yaml"],
    "DELETE": ["application/json"],
    "PATCH": [
        *("application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"),
        "application/strategic-merge-patch+json",
    ],
}
ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        2**31,
        2**63,
        2**64,
        -(2**63) - 1,
        1e308,
        "",
        "a",
        "A b",
        "\x00",
        "\ud800",
        "é" * 300,
    ),
    *(
        "x" * 5000,
        [],
        {},
        [[]],
        [None],
        {"": ""},
        {"a": None},
        "1",
        "true",
        "$patch",
        "2026-01-01T00:00:00Z",
        "../..",
        "*",
    ),
    *("100m", "1e9Gi", "-5", "{{", "[0]", "None", "All", "%", "%zz", "a/b/c", "kubernetes.io/x", {"$patch": "delete"}),
    *({"$patch": "replace"}, {"$setElementOrder/ports": [1]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}),
]
PLACES = [
    *("/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/secrets"),
    *("/api/v1/namespaces/default/services", "/apis/test.io/v1/namespaces/default/widgets", "/api/v1/namespaces"),
    *("/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events", "/api/v1/nodes"),
    *("/apis/coordination.k8s.io/v1/namespaces/default/leases", "/api/v1/namespaces/default/resourcequotas"),
    *("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    *("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", "/api/v1/namespaces/default/endpoints"),
    *(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    ),
    *(
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    ),
    *("/apis/authentication.k8s.io/v1/tokenreviews", "/api/v1/namespaces/default/serviceaccounts"),
]
BELOW = [
    "",
    "",
    "/status",
    "/scale",
    "/log",
    "/binding",
    "/eviction",
    "/exec",
    "/finalize",
    "/token",
    "/x",
    "/status/y",
]
PARAMETERS = {
    "labelSelector": ["a=b", "a in (b,c)", "!a", "a notin (b)", "a>1", "a,b,c", "((", "a in (", "=", ",,", "a" * 9000],
    "fieldSelector": ["metadata.name=a", "status.phase!=Running", "spec.x=1", "=", "metadata.name", "a\\,b=c"],
    "limit": ["1", "0", "-1", "x", "99999999999999999999", "1.5"],
    "continue": ["x", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0", "e30", "=", "eyJ2Ijp7fX0"],
    "resourceVersion": ["0", "1", "x", "-1", "1e3"],
    "resourceVersionMatch": ["Exact", "NotOlderThan", "x"],
    "dryRun": ["All", "", "x"],
    "fieldManager": ["m", "", "x" * 200, "\x01"],
    "fieldValidation": ["Strict", "Warn", "Ignore", "x"],
    "force": ["true", "false", "x"],
    "propagationPolicy": ["Foreground", "Orphan", "Background", "x"],
    "gracePeriodSeconds": ["0", "-1", "x", "99999999999999999999"],
    "pretty": ["true", "x"],
    "includeObject": ["None", "Object", "x"],
    "tailLines": ["-1", "x", "5"],
    "timeoutSeconds": ["0", "1", "x", "-5"],
}
ACCEPTS = [
    *(
        "application/json",
        "application/json",
        "application/json",
        "*/*",
        "application/yaml",
        "text/html",
        ";;;",
        "a/b;q=x",
    ),
    *("application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"),
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
]


def bodies() -> list[Any]:
    """Return the bodies of the contract suite's requests."""
    found = []
    for path in sorted(SCENARIOS.glob("*.yaml")):
        text = path.read_text()
        for name, value in {"<v1>": "test.io/v1", "<group>": "test.io", "<ns>": "default", "<run>": "1"}.items():
            text = text.replace(name, value)
        for step in yaml.safe_load(text).get("steps", []):
            if isinstance(step, dict) and isinstance(step.get("body"), (dict, list)):
                found.append(step["body"])
    return found


class Fuzzer:
    """Makes requests from a seed, sends them, keeps what went wrong."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._bodies = bodies()
        self._of_kind: dict[str, list[Any]] = {}
        for body in self._bodies:
            if isinstance(body, dict):
                self._of_kind.setdefault(str(body.get("kind", "")).lower(), []).append(body)
        self._rate = 0.0
        self.failures: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()
        self.slowest = (0.0, "")

    def _mutated(self, value: Any, depth: int = 0) -> Any:
        rng = self._rng
        if rng.random() < self._rate:
            return rng.choice(ODD)
        if isinstance(value, dict):
            found = {
                name: self._mutated(inner, depth + 1) for name, inner in value.items() if rng.random() > self._rate / 3
            }
            if rng.random() < self._rate:
                found[rng.choice(["", "name", "spec", "x", "\x00", "a.b", "metadata", "$patch", "."])] = rng.choice(ODD)
            return found
        if isinstance(value, list):
            found_list = [self._mutated(inner, depth + 1) for inner in value]
            return found_list * 2 if found_list and rng.random() < self._rate else found_list
        if isinstance(value, str) and rng.random() < self._rate:
            return value[: rng.randrange(len(value) + 1)] + rng.choice(["", "-", "/", ".", "\n", "é", "{", "0"])
        return value

    def _bytes(self, document: Any, kind: str) -> bytes:
        rng = self._rng
        if "yaml" in kind and rng.random() < 0.5:
            try:
                raw = yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "replace")
            except yaml.YAMLError:
                raw = b"a: [b"
        else:
            raw = json.dumps(document).encode()
        if rng.random() < 0.1:
            at = rng.randrange(len(raw) + 1)
            raw = (
                raw[:at]
                + bytes(rng.choices(b'{}[]",:\\\x00\xff&*!|>-u1e', k=rng.randrange(1, 4)))
                + raw[at + rng.randrange(3) :]
            )
        return raw

    def request(self) -> tuple[str, str, bytes, dict[str, str]]:
        """Return (method, target, body, headers)."""
        rng = self._rng
        method = rng.choice(
            [*["GET"] * 4, *["POST"] * 9, *["PUT"] * 5, *["PATCH"] * 9, "DELETE", "DELETE", "HEAD", "OPTIONS", "X"]
        )
        path = rng.choice(PLACES)
        if rng.random() < 0.7 and (method != "POST" or rng.random() < 0.2):
            name = rng.choice(
                "abmwps" if rng.random() < 0.85 else ["default", "widgets.test.io", "é", "..", "%", "x" * 300]
            )
            path += "/" + quote(name, safe="") + rng.choice(BELOW)
        if rng.random() < 0.05:
            parts = path.split("/")
            parts.insert(rng.randrange(len(parts)), rng.choice(["", "watch", "proxy", "namespaces", "..", "v1", "%00"]))
            path = "/".join(parts)
        query: dict[str, Any] = {}
        self._rate = 0.1
        for name in rng.sample(sorted(PARAMETERS), rng.choice([0, 0, 0, 0, 1, 2])):
            query[name] = self._mutated(rng.choice(PARAMETERS[name]))
        if (
            "resourceVersion" in query
            and str(query["resourceVersion"]).isdigit()
            and len(str(query["resourceVersion"])) > 3
        ):
            del query["resourceVersion"]  # a revision that has not been reached is waited for
        if method == "PATCH" and rng.random() < 0.8:
            query.setdefault("fieldManager", "f")
        kinds = TYPES.get(method, ["application/json"])
        kind = kinds[0] if rng.random() < 0.4 else rng.choice(kinds)
        self._rate = rng.choice([0.0, 0.005, 0.02, 0.06, 0.15])
        document = self._mutated(rng.choice(self._fitting(path)))
        if isinstance(document, dict) and rng.random() < 0.7:
            metadata = document.get("metadata")
            if isinstance(metadata, dict) and rng.random() < 0.8:
                metadata.pop("namespace", None)
                if document.get("kind") != "CustomResourceDefinition":
                    metadata["name"] = rng.choice(["a", "b", "m", "w", "p", "s"])
                if method == "PUT":
                    metadata["name"] = path.split("/")[-1]
            if path.endswith("widgets") or "/widgets/" in path:
                document.update({"apiVersion": "test.io/v1", "kind": "Widget"})
        if kind == "application/json-patch+json":
            document = [
                {"op": rng.choice(["add", "remove", "replace", "move", "copy", "test", "x"]), **self._operation()}
                for _ in range(rng.randrange(4))
            ]
        headers = {
            "content-type": kind,
            "accept": ACCEPTS[0] if rng.random() < 0.7 else rng.choice(ACCEPTS),
            "user-agent": "fuzz/1",
        }
        encoded = urlencode(query, errors="surrogatepass") if query else ""
        return method, f"{path}?{encoded}" if encoded else path, self._bytes(document, kind), headers

    def _fitting(self, path: str) -> list[Any]:
        """Return bodies of the kind that a path is about, mostly."""
        plural = next((part for part in reversed(path.split("/")) if part.endswith("s") and part != "apis"), "")
        if self._rng.random() < 0.15:
            return self._bodies
        return self._of_kind.get(plural.removesuffix("s")) or self._of_kind[""]

    def _operation(self) -> dict[str, Any]:
        paths = [
            "",
            "/",
            "/spec",
            "/metadata/labels/a",
            "/metadata/name",
            "/data",
            "/spec/ports/-",
            "/spec/ports/0",
            "x",
        ]
        rng = self._rng
        found: dict[str, Any] = {
            "path": self._mutated(rng.choice(paths)),
            "value": self._mutated(rng.choice(self._bodies)),
        }
        if rng.random() < 0.4:
            found["from"] = rng.choice(paths)
        return found

    async def send(self, local: Local) -> None:
        """Send one request and judge the answer."""
        method, target, body, headers = self.request()
        shown = f"{method} {target[:200]} {headers['content-type']} {headers['accept']} {body[:600]!r}"
        began = time.thread_time()
        try:
            answer = await local.send(method, target, body, **headers)
        except Exception as error:
            self._failed(f"exception {type(error).__name__} {traceback.extract_tb(error.__traceback__)[-1]}", shown)
            return
        taken = time.thread_time() - began
        if taken > self.slowest[0] and "watch" not in target:
            self.slowest = (taken, shown)
        if not isinstance(answer, Response):
            await answer.chunks.aclose()  # type: ignore[attr-defined]
            return
        self.codes[answer.code] += 1
        text = answer.body.decode("utf-8", "replace")
        if answer.code >= 500 and answer.code not in (501, 503) and not any(known in text for known in KNOWN_500):
            self._failed(f"{answer.code} {text[:160]}", shown)
        if answer.code >= 400 and answer.content_type == "application/json" and method != "HEAD":
            document = json.loads(text)
            if document.get("kind") != "Status" or document.get("code") != answer.code:
                self._failed("a failure that is no Status", shown)

    def _failed(self, what: str, shown: str) -> None:
        self.failures[what] += 1
        if self.failures[what] == 1:
            print(f"FAILED {what}\n    {shown}", flush=True)


class Errors(logging.Handler):
    """Keeps what the server logs as its own errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        where = traceback.extract_tb(error.__traceback__)[-1] if error is not None else record.getMessage()
        key = f"{type(error).__name__}: {error} at {where}"[:400]
        self.seen[key] += 1
        if self.seen[key] == 1:
            print(f"LOGGED {record.getMessage()[:200]}: {key}", flush=True)


async def fuzz(inputs: int, seed: int) -> int:
    """Send requests to servers, a new one for every 2,000; return the number of kinds of failures."""
    errors = Errors()
    logging.getLogger("rayctl").addHandler(errors)
    logging.getLogger("rayctl").propagate = False
    fuzzer = Fuzzer(seed)
    began = time.monotonic()
    for number in range(inputs):
        if number % 2_000 == 0:
            local = await Local(seed + number).start()
        await fuzzer.send(local)
        if (number + 1) % 50_000 == 0:
            print(f"{number + 1:,} inputs in {time.monotonic() - began:.0f} s", flush=True)
    codes = ", ".join(f"{code}: {count:,}" for code, count in sorted(fuzzer.codes.items()))
    print(f"{inputs:,} inputs, seed {seed}, {len(fuzzer.failures) + len(errors.seen)} kinds of failures; codes {codes}")
    print(f"slowest {fuzzer.slowest[0] * 1e3:.0f} ms: {fuzzer.slowest[1][:300]}")
    return len(fuzzer.failures) + len(errors.seen)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return 1 if asyncio.run(fuzz(options.inputs, options.seed)) else 0


if __name__ == "__main__":
    sys.exit(main())
