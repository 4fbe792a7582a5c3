"""``rayctl completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import click

from rayctl.cli.output import say

__all__ = ["completion"]

_VARIABLE = "_RAYCTL_COMPLETE"
_EXAMPLES = """\b
Examples:
  eval "$(rayctl completion bash)"                                     this shell
  rayctl completion zsh > "${fpath[1]}/_rayctl"                        every zsh
  rayctl completion fish > ~/.config/fish/completions/rayctl.fish      every fish
"""


@click.command(epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    from rayctl.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None  # click has all of these
    # The script itself; click's own way would ask for the version of bash first, which needs a bash here and now.
    complete = found(cli, {}, "rayctl", _VARIABLE)
    say(complete.source_template % complete.source_vars())
