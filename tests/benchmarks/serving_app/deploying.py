"""Deploys the application on the Ray cluster whose head this runs beside, as soon as that answers; then ends."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

URL = "http://127.0.0.1:8265/api/serve/applications/"
GIVE_UP_S = 240.0


def config(words: str) -> dict[str, object]:
    """What `serve deploy` would send."""
    deployment = {"name": "Answer", "ray_actor_options": {"num_cpus": 0.1}, "user_config": {"words": words}}
    application = {
        "name": "answer",
        "route_prefix": "/",
        "import_path": "answering:app",
        "deployments": [deployment],
    }
    options = {"host": "0.0.0.0", "port": 8000}  # noqa: S104 - of a pod, in a network of its own
    return {"proxy_location": "HeadOnly", "http_options": options, "applications": [application]}


def main() -> None:
    """Ask until it is accepted."""
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text(encoding="utf-8").strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps(config(os.environ["RAY_CLUSTER_NAME"])).encode()
    end = time.monotonic() + GIVE_UP_S
    while time.monotonic() < end:
        try:
            asked = urllib.request.Request(URL, body, headers, method="PUT")
            urllib.request.urlopen(asked, timeout=60).read()  # noqa: S310
            return
        except (urllib.error.URLError, OSError) as error:
            print(f"not deployed yet: {error}", flush=True)
            time.sleep(1.0)  # until the dashboard is up
    raise SystemExit("never deployed")


if __name__ == "__main__":
    main()
