"""HTTP to the server under test: single requests and watches, as one of the suite's users."""

import asyncio
import csv
import json
import time
from pathlib import Path
from urllib.parse import quote, urlencode

import aiohttp
import yaml
from yarl import URL

from .scenario import PlainLoader

USER_AGENT = "oracle/1.0"
INITIALIZING_S = 15
PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
ACCEPTS = {
    "json": "application/json",
    "yaml": "application/yaml",
    "table": "application/json;as=Table;v=v1;g=meta.k8s.io",
    "partial": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "partial-list": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "discovery": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
}


def read_users(path: Path) -> dict[str, str]:
    """User name -> token, from a file of lines token,user,uid,"group,group"."""
    with path.open() as lines:
        return {row[1]: row[0] for row in csv.reader(lines) if row}


class Answer:
    """A complete HTTP answer: status, headers, and the document (parsed if it is JSON or YAML) or text."""

    def __init__(self, status: int, headers, text: str):
        self.status, self.headers, self.text = status, headers, text
        self.media_type = headers.get("Content-Type", "")
        self.document = None
        try:
            if "json" in self.media_type or text.startswith('{"'):  # the OpenAPI index is JSON called text/plain
                self.document = json.loads(text)
            elif "yaml" in self.media_type:
                self.document = yaml.load(text, Loader=PlainLoader)
        except (ValueError, yaml.YAMLError):
            pass  # recorded as text: that is the difference to show


class Watch:
    """An open watch: a task reads its lines as they come.

    A server may send plain bookmarks whenever it likes: they are dropped, or with `bookmarks` runs of them are kept
    as one. The bookmark that ends a streamed initial list is always kept.
    """

    def __init__(self, response: aiohttp.ClientResponse, bookmarks: bool):
        self.response, self.bookmarks = response, bookmarks
        self.opened_at = time.monotonic()
        self.ended_at: float | None = None
        self.stream: dict = {}  # canonical state of this stream
        self._events: list = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        rest = b""
        try:
            async for chunk in self.response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        self._add(json.loads(line))
                self._news.set()
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as problem:
            self._events.append({"type": "BROKEN", "object": {"problem": type(problem).__name__}})
        self.ended_at = time.monotonic()
        self._news.set()

    def _add(self, event: dict) -> None:
        if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
            raise ValueError("a line of the stream is no event")
        repeated = not self.bookmarks or (self._events and _plain_bookmark(self._events[-1]))
        if _plain_bookmark(event) and repeated:
            return
        self._events.append(event)

    async def collect(self, count: int | None, within: float, quiet: float) -> tuple[list, bool]:
        """Wait for `count` events (None: until the server ends the stream), then for `quiet` seconds more.

        Returns the events since the last call, and whether the server has ended the stream.
        """
        deadline = time.monotonic() + within
        while (count is None or len(self._events) < count) and self.ended_at is None:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), max(0.0, deadline - time.monotonic()))
            except asyncio.TimeoutError:
                break
        if count is not None and self.ended_at is None and quiet:
            await asyncio.sleep(quiet)
        events, self._events = self._events, []
        return events, self.ended_at is not None

    async def close(self) -> None:
        self._task.cancel()
        self.response.close()
        await asyncio.gather(self._task, return_exceptions=True)


class Session:
    """Sends requests to one server."""

    def __init__(self, url: str, token: str, users: dict[str, str], insecure: bool):
        self.url = url.rstrip("/")
        self.tokens = {**users, "admin": token, "nonsense": "no-such-token"}
        self.insecure = insecure

    async def __aenter__(self):
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False if self.insecure else None, limit=200),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30),
            auto_decompress=True,
        )
        return self

    async def __aexit__(self, *_):
        await self._http.close()

    def _arguments(self, step: dict, method: str, path: str) -> dict:
        headers = {"User-Agent": USER_AGENT, "Accept": ACCEPTS["json"]}
        user = step.get("user", "admin")
        if user != "anonymous":
            headers["Authorization"] = f"Bearer {self.tokens[user]}"
        data = None
        if "raw" in step:
            data = step["raw"].encode()
        elif "yaml" in step:
            data, headers["Content-Type"] = step["yaml"].encode(), "application/yaml"
        elif "body" in step:
            data, headers["Content-Type"] = json.dumps(step["body"]).encode(), "application/json"
        if "patch" in step:
            headers["Content-Type"] = PATCH_TYPES[step["patch"]]
        if "accept" in step:
            headers["Accept"] = ACCEPTS.get(step["accept"], step["accept"])
        headers.update(step.get("headers", {}))
        headers = {name: value for name, value in headers.items() if value is not None}
        query = urlencode(
            [
                (key, json.dumps(one) if isinstance(one, (bool, int)) else one)
                for key, value in step.get("query", {}).items()
                for one in (value if isinstance(value, list) else [value])
            ],
            quote_via=quote,
        )
        joint = "&" if "?" in path else "?"
        return {
            "method": method,
            "url": URL(self.url + path + (joint + query if query else ""), encoded=True),
            "headers": headers,
            "data": data,
            "skip_auto_headers": ("Content-Type",),
            "allow_redirects": False,
        }

    async def request(self, step: dict, method: str, path: str) -> Answer:
        """Send one request and read the whole answer."""
        return await self._patiently(lambda: self._whole(step, method, path))

    async def watch(self, step: dict, path: str) -> Watch | Answer:
        """Open a watch; an Answer instead if the server refuses with an HTTP status other than 200."""
        return await self._patiently(lambda: self._open(step, path))

    async def _whole(self, step: dict, method: str, path: str) -> Answer:
        async with self._http.request(**self._arguments(step, method, path)) as response:
            return Answer(response.status, response.headers, (await response.read()).decode("utf-8", "replace"))

    async def _open(self, step: dict, path: str) -> Watch | Answer:
        step = {**step, "query": {"watch": "true", **step.get("query", {})}}
        response = await self._http.request(**self._arguments(step, "GET", path))
        if response.status != 200:
            async with response:
                return Answer(response.status, response.headers, (await response.read()).decode("utf-8", "replace"))
        return Watch(response, step.get("bookmarks", False))

    async def _patiently(self, attempt):
        """Repeat while the server is setting up the cache of a kind (a real one does, after a CRD was changed)."""
        deadline = time.monotonic() + INITIALIZING_S
        while True:
            result = await attempt()
            if not (
                isinstance(result, Answer)
                and result.status == 429
                and "initializing" in result.text
                and time.monotonic() < deadline
            ):
                return result
            await asyncio.sleep(0.2)


def _plain_bookmark(event: dict) -> bool:
    annotations = (event["object"].get("metadata") or {}).get("annotations") or {}
    return event.get("type") == "BOOKMARK" and "k8s.io/initial-events-end" not in annotations
