"""What the README tells to type can be typed: commands and options exist, programs parse, files are there."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from rayctl.cli.main import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def command_lines() -> list[str]:
    """Return every `rayctl …` that a console block shows."""
    found = []
    for kind, text in BLOCKS:
        for line in text.replace("\\\n", " ").splitlines() if kind == "console" else ():
            found += re.findall(r"(?:^\$ (?:eval \"\$\()?|\$\()(rayctl [^)]*)", line)
    return list(dict.fromkeys(line.split(" #")[0].strip() for line in found))


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


@pytest.mark.parametrize("program", [text for kind, text in BLOCKS if kind == "python"])
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
