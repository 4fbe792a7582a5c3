"""Two applications with clashing needs on one cluster that knows nothing of either.

Each application hands its own configuration along with every call: settings, environment variables, packages (two
versions of one library), where its secrets are found. Nothing is configured globally, on the cluster or here.

Start the service with `rayctl up`.
"""

import os
import tempfile
from pathlib import Path

import rayctl

folder = Path(tempfile.mkdtemp(prefix="rayctl-example-"))
(folder / "pricing-key").write_text("a key that only the worker reads")

PRICING = {
    "tenant": "pricing",
    "settings": {"currency": "EUR", "model": {"depth": 4}},
    "environment": {"packages": ["six==1.15.0"], "variables": {"APP_MODE": "careful"}},
    "secrets": {"api_key": f"file:{folder / 'pricing-key'}"},
}
SEARCH = {
    "tenant": "search",
    "settings": {"currency": "USD", "model": {"depth": 9}},
    "environment": {"packages": ["six==1.17.0"], "variables": {"APP_MODE": "fast"}},
}


def work(item):
    """The same code for both; what it sees depends on whose call it is."""
    import six

    config = rayctl.current_config()
    secret = len(rayctl.secret("api_key").get_secret_value()) if "api_key" in config.secrets else None
    return item, config.tenant, config.setting("model.depth"), os.environ["APP_MODE"], six.__version__, secret


class Counter:
    """One actor that both applications use; each call knows whose it is."""

    def __init__(self):
        self.calls = {}

    def add(self):
        tenant = rayctl.current_config().tenant
        self.calls[tenant] = self.calls.get(tenant, 0) + 1
        return tenant, self.calls[tenant]


# "ray" is this machine's service; elsewhere write ray://host:10001. Any Ray cluster will do, also one without rayctl.
with rayctl.connect("ray", tenant=PRICING) as pricing, rayctl.connect("ray", tenant=SEARCH) as search:
    for application in (pricing, search):
        for row in application.map(work, ["a", "b"]):
            print(row)
    assert next(pricing.map(work, [1]))[1:5] == ("pricing", 4, "careful", "1.15.0")
    assert next(search.map(work, [1]))[1:5] == ("search", 9, "fast", "1.17.0")

    counter = pricing.actor(Counter)
    shared = search.wrap(counter)
    answers = [pricing.get(handle.add.remote()) for handle in (counter, shared, counter)]
    print(answers)
    assert answers == [("pricing", 1), ("search", 1), ("pricing", 2)]
