"""The security checklist of this project: what must hold, and where tests say that they show it.

A test names what it shows by ``@pytest.mark.security("S7")``; the marks are read from the sources, so nothing has
to be imported. ``python -m tests.security.checklist`` writes ``CHECKLIST.md``.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["DOCUMENT", "ITEMS", "Item", "document", "marked"]

TESTS = Path(__file__).parents[1]
DOCUMENT = Path(__file__).with_name("CHECKLIST.md")


@dataclass(frozen=True)
class Item:
    """One line of the checklist. ``left_out``: what does not hold here, or is not shown, and why."""

    code: str
    holds: str
    left_out: str = ""


ITEMS = (
    Item(
        "S1",
        "Every listening socket asks for a token, but for health, version and documentation; all are on loopback.",
        "Ray Serve opens one port on all interfaces by itself (it asks for Ray's token). Ray's metrics ports, the "
        "empty page of its dashboard and `/-/routes` of Serve answer without a token, on loopback: Ray has no "
        "setting for it.",
    ),
    Item(
        "S2",
        "Ray asks for a token, each cluster for its own; it lies in a file with mode 0600, never in arguments.",
    ),
    Item(
        "S3",
        "Tokens are exchanged while requests go on: old and new ones hold side by side.",
        "Ray knows one token per cluster: a new one needs a new cluster, by a switchover.",
    ),
    Item(
        "S4",
        "What a page of another site makes a browser send changes and shows nothing: Host, Origin, Sec-Fetch-*.",
    ),
    Item("S5", "Least privilege: one account per controller, no wildcards, no lists of Secrets; granted = used."),
    Item("S6", "The authorizer denies by default and decides as kube-apiserver does; tenants do not see each other."),
    Item("S7", "Secrets are not in statuses, events, logs, metrics, audit lines, answers, pages or arguments."),
    Item("S8", "What is stored is its owner's alone; Secrets are encrypted where a key is given."),
    Item(
        "S9",
        "Addresses from callers are read only below prefixes that the operator has named; no redirects, size and "
        "time bounded.",
        "Nothing is allowed by default, so there is no list of private networks to keep: an operator who names an "
        "internal host means it. What a name resolves to is not pinned, as its owner is trusted by being named.",
    ),
    Item(
        "S10",
        "Nothing that came over the network is unpickled in the gateway or the API server; loaders that run code "
        "stand in named modules only.",
        "Callers over Ray Client are trusted as Ray trusts them: Ray itself unpickles what they send.",
    ),
    Item("S11", "Controllers speak HTTP to users' clusters, never Ray: their modules do not import Ray."),
    Item(
        "S12",
        "A tenant's packages, variables and images are looked through; what would load code into others is refused.",
        "Hashes of packages are not asked for: the operator chooses names, versions and the index.",
    ),
    Item("S13", "Commands are lists of words, without a shell; no name leads out of its folder."),
    Item(
        "S14",
        "Processes of pods: no new privileges, bounds, a scrubbed environment, their own session and files.",
        "No limit on memory and processes: it would count for the user, not for the pod. Said in the README: pods are "
        "not protected from each other.",
    ),
    Item("S15", "Quotas are exact, however many ask at once."),
    Item("S16", "Everything that grows has a bound, and its refusal changes nothing."),
    Item(
        "S17",
        "A greedy user keeps neither others nor leases nor health waiting.",
        "Not held: at most twice the latency. `tests/benchmarks/fairness.py` (quiet machine, not in CI), beside 200 "
        "greedy connections: p99 of small reads 13 to 18 ms instead of 1.9 ms; all leases were renewed in time.",
    ),
    Item("S18", "Every change is in the audit log, and tampering with it shows."),
    Item("S19", "Pods of tenants get no host access, no privileges, and no service account that is not theirs."),
    Item("S20", "A kubeconfig's programs are run only if they are the providers' own, or if the user says so."),
    Item("S21", "No file in a shared folder has a name that another user could have made before."),
    Item(
        "S22",
        "Tokens are kept as digests and compared in constant time; certificates are short-lived, keys private.",
        "The server's certificate holds for 7 days and is renewed daily.",
    ),
    Item(
        "S23",
        "Dependencies are locked with hashes; importing asks no network.",
        "No audit of known weaknesses in CI: it needs a database from the network. "
        "The lock file is the list of what is installed.",
    ),
    Item(
        "S24",
        "Parsers of the API server and of the HTTP API survive whatever is sent.",
        "CI draws some thousand inputs; `tests/benchmarks/fuzz_apiserver.py` draws as many as wanted.",
    ),
)


@dataclass(frozen=True)
class Shown:
    """A test that shows an item. ``slow``: left out of `make test`."""

    item: str
    path: str
    name: str
    slow: bool


@cache
def marked() -> list[Shown]:
    """Return all tests that name an item, in the order of their files."""
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if "mark.security(" not in text:
            continue
        tree = ast.parse(text)
        everywhere = {name for node in tree.body if isinstance(node, ast.Assign) for name in _marks_of(node)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            calls = [one for one in node.decorator_list if isinstance(one, ast.Call)]
            marks = {_mark(one) for one in node.decorator_list} | everywhere
            for call in (one for one in calls if _mark(one) == "security"):
                for argument in call.args:
                    assert isinstance(argument, ast.Constant), f"{path}: marks are written out"
                    shown = Shown(str(argument.value), str(path.relative_to(TESTS)), node.name, "slow" in marks)
                    found.append(shown)
    return found


def _mark(node: ast.expr) -> str:
    """Return the name of a mark: ``pytest.mark.slow`` or ``pytest.mark.security("S1")``."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else ""


def _marks_of(node: ast.Assign) -> set[str]:
    named = any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)
    return {one.attr for one in ast.walk(node.value) if isinstance(one, ast.Attribute)} if named else set()


def document() -> str:
    """Return the table for people."""
    lines = [
        "# Security checklist",
        "",
        "Made by `python -m tests.security.checklist` from the marks of tests; a test looks that it is up to date.",
        "",
        "| | holds | shown by | not, and why |",
        "| --- | --- | --- | --- |",
    ]
    every = marked()
    for item in ITEMS:
        tests = [
            f"`{one.path}`: {one.name.removeprefix('test_').replace('_', ' ')}{' (make slow)' if one.slow else ''}"
            for one in every
            if one.item == item.code
        ]
        lines.append(f"| {item.code} | {item.holds} | {'<br>'.join(tests)} | {item.left_out} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
