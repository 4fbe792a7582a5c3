"""What the README tells to type can be typed: commands and options exist, programs parse, files are there."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from rayctl.cli.main import cli
from tests.cli.readme import (
    PROGRAMS,
    README,
    ROOT,
    TYPED_ON_KUBERNETES,
    TYPED_ON_RAY,
    command_lines,
    programs,
    shell_lines,
)

NOT_EXECUTED = {
    # what a line begins with → why CI does not type it; everything else is typed, see `tests.e2e.test_readme` and
    # `tests.cli.kube.test_readme_commands`
    "pip install .": "CI's environment is installed from the lock file",
    "make demo": "minutes; its steps are those of tests/e2e and tests/ray/test_up_kubernetes.py (make slow)",
    "make test": "it is what CI runs",
    "rayctl install --context prod": "takes an image: tests/unit/manifests, tests/cli/kube/test_system.py",
    "rayctl upgrade": "two minutes: tests/ray/test_up_kubernetes.py (make slow)",
    "kubectl get raycluster -n rayctl-system": "the same",
    "kubectl get secret rayctl-token": "takes an installation: tests/unit/selfhost/test_standby.py",
    "rayctl apply -f examples/kubernetes/raycluster.yaml": "starts a Ray cluster: tests/e2e/test_raycluster_ft.py",
    'eval "$(rayctl cluster connect small': "the same",
    "python -c 'import ray; ray.init()": "the same",
    "rayctl automl extend": "as long as it is told to: tests/cli/test_follow_up.py, on a service in memory",
    "rayctl automl replay": "as long as the run itself: the same",
    "rayctl tenant warm": "installs from a package index: tests/ray/test_bare_cluster.py with wheels of its own",
    "rayctl tenant check-isolation": "tests/e2e/test_tenants.py types it, with -o json",
    "rayctl adopt": "takes an operator: tests/cli/kube/test_adopt.py has one",
    "rayctl kube serve --data-dir": "in the foreground: tests/contract/servers.py starts it so",
    "export KUBECONFIG=~/kube/config": "tests/contract/test_kubectl.py works with such a file",
    "kubectl apply -f deployment.yaml": "tests/contract/test_kubectl.py does that and more",
}


def test_there_is_something_to_look_at() -> None:
    assert len(command_lines()) > 30


@pytest.mark.parametrize("line", command_lines())
def test_a_command_of_the_readme_can_be_typed(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)
    for word in words:  # the files that it names are there
        if "." in word and "=" not in word and not word.startswith("-"):
            path = Path(word.removeprefix("~/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("tenant: pricing\n")
    command: click.Command = cli
    context = click.Context(cli, info_name="rayctl")
    arguments = [word.removeprefix("~/") for word in words[1:]]
    while isinstance(command, click.Group):
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        context = click.Context(found, info_name=name, parent=context)
        command = found
    command.make_context(command.name, list(arguments), parent=context.parent)


@pytest.mark.parametrize("program", programs())
def test_a_program_of_the_readme_is_one(program: str) -> None:
    ast.parse(program)


FOLDERS = "automl|tenancy|fleet|cluster|core|service|state|replicaset|embedded"


def test_the_files_that_the_readme_names_are_there() -> None:
    named = set(re.findall(r"\]\(([^)#]+)\)", README))
    named |= set(re.findall(r"(?:examples|tests|serve_apps)/[\w./-]+\w", README))
    named |= {f"rayctl/{path}" for path in re.findall(rf"`(?:rayctl/)?((?:{FOLDERS})/[\w/]+\.\w+)`", README)}
    assert len(named) > 12
    assert not [path for path in sorted(named) if not path.startswith("http") and not (ROOT / path).exists()]


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([\w-]+)|^\$ make ([\w-]+)|(?:as root; )make ([\w-]+)", README, re.MULTILINE)):
        name = next(filter(None, target))
        assert re.search(rf"^{name}:", makefile, re.MULTILINE), name


def test_what_is_not_executed_has_a_reason_and_all_else_is() -> None:
    """Each line is typed by one of the two tests that type, or is in the list above; neither has anything else."""
    typed = (*TYPED_ON_KUBERNETES, *TYPED_ON_RAY)
    for line in shell_lines():
        assert any(line.startswith(start) for start in (*NOT_EXECUTED, *typed)), f"{line}: typed by no test"
    assert not set(NOT_EXECUTED) & set(typed)
    for start in (*NOT_EXECUTED, *typed):
        assert any(line.startswith(start) for line in shell_lines()), f"the README does not say {start!r} any more"
    for program in programs():
        assert any(mark in program for mark in PROGRAMS), program
