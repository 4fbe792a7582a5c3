"""Requests in flight: what nodes' metrics say, and what it means when one of them does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rayctl.cluster.dashboard import DashboardClient
from rayctl.cluster.in_flight import ongoing, requests_in_flight


@pytest.mark.parametrize(("text", "count"), [
    ("", None),
    ("ray_other 5\n", None),
    ('ray_serve_num_ongoing_http_requests{NodeId="a"} 2.0\nray_serve_num_ongoing_grpc_requests{NodeId="a"} 1.0\n', 3),
    ("# HELP ray_serve_num_ongoing_http_requests x\nray_serve_num_ongoing_http_requests 0.0\n", 0),
])  # fmt: skip
def test_requests_in_flight(text: str, count: int | None) -> None:
    assert ongoing(text) == count


class Nodes(DashboardClient):
    """Answers for nodes; those that are not there refuse the connection."""

    def __init__(self, **texts: tuple[int, str]) -> None:
        self.texts = texts

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, timeout_s: float
    ) -> tuple[int, str]:
        assert not headers, "a token goes to the dashboard only"
        host = url.removeprefix("http://").removesuffix("/metrics")
        name = host.replace(":", "_").replace("127.0.0.1", "moved")
        if name not in self.texts:
            raise ConnectionRefusedError(host)
        return self.texts[name]


def pod(host: str, moved: str = "") -> dict[str, Any]:
    return {"metadata": {"annotations": {"rayctl.io/ports": moved}}, "status": {"podIP": host} if host else {}}


@pytest.mark.parametrize(("pods", "count"), [
    ([pod("a"), pod("b")], 4),  # b has no proxy
    ([pod("a"), pod("c")], None),  # c does not say
    ([pod("a"), pod("d")], None),  # d refuses
    ([pod("a"), pod("")], None),  # not there yet
    ([pod("b")], None),  # no proxy at all
    ([], None),
    ([pod("e", '{"8080": 24001}')], 7),
])  # fmt: skip
async def test_a_node_that_does_not_say_makes_the_count_unknown(pods: list[dict[str, Any]], count: int | None) -> None:
    busy = "ray_serve_num_ongoing_http_requests {}\n"
    client = Nodes(
        a_8080=(200, busy.format(4.0)),
        b_8080=(200, "ray_x 1\n"),
        c_8080=(503, busy.format(1)),
        moved_24001=(200, busy.format(7)),
    )
    assert await requests_in_flight(client, pods) == count
