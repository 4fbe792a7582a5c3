"""What the sources do not contain: loaders that run code, shells, predictable temporary files, Ray in controllers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RUNS_CODE = {
    # calls that run code of whoever wrote the bytes
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "cloudpickle.load",
    "cloudpickle.loads",
    "joblib.load",
    "torch.load",
    "marshal.load",
    "marshal.loads",
    "shelve.open",
    "dill.load",
    "dill.loads",
    "pandas.read_pickle",
    "pd.read_pickle",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "eval",
    "exec",
    "skops.io.load",
    "skops.io.loads",
}
ALLOWED = {
    # (module, call) → why it may
    (
        "rayctl/automl/bundle.py",
        "cloudpickle.loads",
    ): "one's own models, after their digest was checked, in task processes",
    ("rayctl/automl/bundle.py", "skops.io.loads"): "with a fixed list of types, after looking through the file",
    (
        "rayctl/automl/own_classes.py",
        "cloudpickle.loads",
    ): "classes of callers over Ray, who can run code anyway; in tasks",
    ("rayctl/cli/migrate.py", "yaml.load_all"): "ruamel's, which keeps comments and makes no objects",
    ("rayctl/cli/objects/files.py", "yaml.load_all"): "with the safe loader",
    ("rayctl/client/kube/kubeconfig.py", "yaml.load"): "with the safe loader",
    ("rayctl/kube/plugins.py", "yaml.load"): "with the safe loader",
    ("rayctl/manifests/__init__.py", "yaml.load"): "with the safe loader; the package's own files",
    ("rayctl/tenancy/load.py", "yaml.load"): "with a safe loader that refuses keys that are there twice",
}
SHARED_FOLDER = {
    # files below /tmp or the temporary folder with a name that is known beforehand → why that is no trap
    "rayctl/selfhost/layout.py": "Ray's folder: made 0700, refused if it is another user's",
    "rayctl/tenancy/overlay.py": "per user, made 0700, refused if it is another user's",
    "rayctl/selfhost/machine.py": "only looked at: how much room there is",
    "rayctl/cluster/pods.py": "the pod's own",
    "rayctl/embedded/kubelet/main.py": "mkdtemp",
    "rayctl/embedded/kubelet/launching.py": "the pod's own /tmp",
    "rayctl/embedded/kubelet/pod_files.py": "the pod's own /tmp",
    "rayctl/embedded/kubelet/shim/raystart.py": "a default of Ray's that is replaced by another",
    "rayctl/embedded/kubelet/shim/roots.py": "the pod's own /tmp",
}
CONTROLLERS = ("cluster", "fleet", "replicaset", "service", "core", "kube", "embedded")


@cache
def texts() -> dict[str, str]:
    found = [*(ROOT / "rayctl").rglob("*.py"), *(ROOT / "serve_apps").rglob("*.py")]
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(found)}


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse(texts()[path])


def sources(words: str) -> dict[str, ast.Module]:
    """Return the modules in whose text a pattern is found at all: to parse the others would only take time."""
    return {path: parsed(path) for path, text in texts().items() if re.search(words, text)}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


@cache
def calls(tree: ast.Module) -> list[tuple[str, ast.Call]]:
    """Return all calls with their names, as the module that they come from calls them."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, _, rest = dotted(node.func).partition(".")
            name = names.get(first, first) + (f".{rest}" if rest else "")
            found.append((name.removeprefix("ray."), node))
    return found


def loaders(tree: ast.Module) -> set[str]:
    found = {name for name, _ in calls(tree) if name in RUNS_CODE}
    for name, call in calls(tree):
        pickles = [one.value for one in call.keywords if one.arg == "allow_pickle"]
        if name.startswith(("np.", "numpy.")) and pickles and getattr(pickles[0], "value", True) is not False:
            found.add(name)
    return found


@pytest.mark.security("S10")
def test_loaders_that_run_code_are_where_they_are_allowed() -> None:
    words = r"pickle|joblib|torch|marshal|shelve|dill|yaml|skops|\b(eval|exec)\("
    found = {(path, name) for path, tree in sources(words).items() for name in loaders(tree)}
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        "from pickle import loads as f\nf(b'')",
        "import cloudpickle as c\nc.loads(b'')",
        "from ray import cloudpickle\ncloudpickle.loads(b'')",
        "eval('1')",
        "import yaml\nyaml.load(x)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import numpy as np\nnp.load(f, allow_pickle=wanted)",
    ],
)
def test_a_loader_is_noticed(text: str) -> None:
    assert loaders(ast.parse(text))


@pytest.mark.security("S10")
def test_yaml_is_read_by_safe_loaders() -> None:
    for path, tree in sources("(?i)yaml").items():
        for node in ast.walk(tree):
            named = dotted(node) if isinstance(node, ast.Attribute) else ""
            assert not re.fullmatch(r"yaml\.(C?(Unsafe|Full)?Loader|Unsafe\w*|Full\w*)", named), (path, named)
            if isinstance(node, ast.Call) and dotted(node.func).endswith("YAML"):
                kinds = [getattr(one.value, "value", "?") for one in node.keywords if one.arg == "typ"]
                assert kinds in ([], ["rt"], ["safe"]), path


@pytest.mark.security("S13")
def test_no_command_goes_through_a_shell() -> None:
    for path, tree in sources(r"os\.(system|popen)|shell").items():
        for name, call in calls(tree):
            assert name not in ("os.system", "os.popen", "asyncio.create_subprocess_shell"), path
            shell = [one.value for one in call.keywords if one.arg == "shell"]
            assert all(getattr(one, "value", None) is False for one in shell), (path, name)


@pytest.mark.security("S21")
def test_no_name_below_a_shared_folder_is_known_beforehand() -> None:
    found = set()
    for path, tree in sources("tmp|tempfile|/dev/shm").items():
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and re.match(r"/(var/)?tmp(/|$)|/dev/shm", text):
                found.add(path)
        if any(name in ("tempfile.gettempdir", "tempfile.mktemp") for name, _ in calls(tree)):
            found.add(path)
    assert found == set(SHARED_FOLDER)


@pytest.mark.security("S11")
def test_controllers_do_not_know_ray() -> None:
    """Not even lazily: what they want to know of a cluster, they ask its dashboard, over HTTP with its token."""
    for path, tree in sources(r"\bray\b").items():
        if path.split("/")[1] not in CONTROLLERS or path in ACTORS:
            continue
        for node in ast.walk(tree):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [one for one in modules if one.split(".")[0] == "ray"], path


ACTORS = {"rayctl/core/actor.py"}


@pytest.mark.security("S23")
def test_every_locked_package_has_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock, re.MULTILINE)
    assert len(packages) > 50
    for entry in re.split(r"\n(?=\S)", lock):
        if re.match(r"[A-Za-z0-9]", entry):
            assert "--hash=sha256:" in entry, entry[:80]
    assert "://" not in lock


QUIET = """
import socket, sys
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(hook)
import rayctl, rayctl.api.app, rayctl.cli.main, rayctl.client.http, rayctl.embedded.apiserver.serve, rayctl.kube.http
print("quiet")
"""


@pytest.mark.security("S23")
def test_importing_opens_no_connection() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=120)
    assert done.stdout == "quiet\n", done.stderr
