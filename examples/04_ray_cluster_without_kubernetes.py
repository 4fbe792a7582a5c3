"""A Ray cluster from a manifest, on a machine without Kubernetes: brought up, used, healed, deleted.

`rayctl kube serve --kubelet --controllers` is the whole of Kubernetes that is needed. It runs for this example only.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = Path(tempfile.mkdtemp(prefix="rayctl-example-"))
RAYCTL = [sys.executable, "-c", "from rayctl.cli.main import main; main()"]
ENV = {**os.environ, "KUBECONFIG": str(FOLDER / "kubeconfig")}

WORK = """
import os, ray
ray.init()
@ray.remote(num_cpus=1)
def square(number):
    return number * number, os.uname().nodename
found = ray.get([square.remote(number) for number in range(8)])
print(sum(result for result, _ in found), "on", sorted({node for _, node in found}))
"""


def rayctl(*words, **env):
    """Run a command, print what it says, and return it."""
    print("$ rayctl", *words, flush=True)
    done = subprocess.run([*RAYCTL, *words], env=ENV | env, capture_output=True, text=True, timeout=300)
    print(done.stdout, done.stderr, sep="", flush=True)
    done.check_returncode()
    return done.stdout


SERVE = ["kube", "serve", "--port", "0", "--kubelet", "--controllers", "--capacity", "cpu=8,memory=16Gi"]
PLACES = ["--data-dir", str(FOLDER / "data"), "--write-kubeconfig", ENV["KUBECONFIG"]]
server = subprocess.Popen([*RAYCTL, *SERVE, *PLACES], stdout=subprocess.PIPE, text=True)
try:
    for line in server.stdout:
        print(line, end="", flush=True)
        if line.startswith("Controllers run"):
            break

    rayctl("apply", "-f", str(HERE / "kubernetes" / "raycluster.yaml"), "--wait", "--timeout", "4m")
    rayctl("get", "raycluster,pods,services")

    # Where it is, and the token that it asks for.
    said = rayctl("cluster", "connect", "small", "--write-token", str(FOLDER / "token"))
    exports = dict(
        line.removeprefix("export ").split("=", 1) for line in said.splitlines() if line.startswith("export ")
    )
    subprocess.run([sys.executable, "-c", WORK], env=os.environ | exports, timeout=120, check=True)

    rayctl("explain", "raycluster/small")
    rayctl("delete", "raycluster", "small", "--wait", "--timeout", "2m")
    rayctl("get", "pods")
finally:
    server.terminate()
    server.wait(timeout=60)
