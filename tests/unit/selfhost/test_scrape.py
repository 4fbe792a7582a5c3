"""The port for Prometheus of a process that is no actor."""

from __future__ import annotations

import stat
from pathlib import Path

import aiohttp
import pytest

from rayctl.errors import Conflict
from rayctl.selfhost.scrape import Scraped


@pytest.mark.security("S1", "S4")
async def test_it_answers_whoever_has_the_token(tmp_path: Path) -> None:
    tokens = tmp_path / "home" / "metrics.token"
    scraped = Scraped(0, tokens, lambda: b"workqueue_depth 1\n")
    url = await scraped.start()
    good = {"Authorization": f"Bearer {tokens.read_text().strip()}"}
    try:
        assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
        async with aiohttp.ClientSession() as http:
            for code, method, headers in (
                (200, "GET", good),
                (401, "GET", {}),
                (401, "GET", {"Authorization": "Bearer other"}),
                (403, "GET", {**good, "Host": "evil.example"}),
                (404, "POST", good),
            ):
                async with http.request(method, url, headers=headers) as answer:
                    assert answer.status == code, (method, headers)
                    assert (await answer.text() == "workqueue_depth 1\n") is (code == 200)
            with pytest.raises(Conflict, match="cannot be used"):
                await Scraped(int(url.split(":")[2].split("/")[0]), tokens, bytes).start()
    finally:
        await scraped.stop()
