"""What holds for all tests: property tests draw the same examples each time, unless random ones are asked for.

A continuous integration that fails by chance on somebody else's change helps nobody; looking for new counterexamples is
``RAYCTL_TEST_RANDOM=1 pytest …``, and what that finds becomes an ``@example``.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("random" if os.environ.get("RAYCTL_TEST_RANDOM") else "same")
