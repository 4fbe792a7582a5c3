"""The application of the switchover benchmark: it says which version it is."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ray import serve


@serve.deployment
class Answer:
    """Answers with its version and its configuration; the version called broken does not start."""

    def __init__(self) -> None:
        if os.environ.get("ANSWER") == "broken":
            raise RuntimeError("this version is broken")
        self.words = "none"

    def reconfigure(self, config: dict[str, Any]) -> None:
        """Take over a user_config."""
        self.words = config.get("words", "none")

    async def __call__(self, request: Any) -> dict[str, Any]:
        """Answer a request; ``?seconds=N``: after so long."""
        await asyncio.sleep(float(request.query_params.get("seconds", 0)))
        return {"version": os.environ.get("ANSWER"), "words": self.words}


app = Answer.bind()  # type: ignore[attr-defined]
