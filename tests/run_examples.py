"""Run every numbered example against a service of its own, as a reader would; used by `make examples`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
EXAMPLES = Path(__file__).parent.parent / "examples"


def main() -> int:
    """Return the number of examples that failed."""
    failed = []
    with tempfile.TemporaryDirectory(prefix="rcx-") as home:
        env = os.environ | {"RAYCTL_HOME": home, "PYTHONWARNINGS": "ignore"}
        rayctl = str(BIN / "rayctl")
        try:
            subprocess.run([rayctl, "up", "--timeout", "180s"], env=env, check=True)
            for example in sorted(EXAMPLES.glob("[0-9]*.py")):
                print(f"\n=== {example.name}", flush=True)
                began = time.monotonic()
                done = subprocess.run([sys.executable, str(example)], env=env, cwd=home, timeout=300)
                print(f"=== {example.name}: exit {done.returncode} after {time.monotonic() - began:.0f} s", flush=True)
                if done.returncode != 0:
                    failed.append(example.name)
        finally:
            subprocess.run([rayctl, "down"], env=env, check=False)
    print(f"examples failed: {', '.join(failed) or 'none'}")
    return len(failed)


if __name__ == "__main__":
    raise SystemExit(main())
