"""Several objects in one command: all are tried, and what went wrong is told together at the end."""

from __future__ import annotations

from collections.abc import Sequence

import click

from rayctl.cli.output import clean
from rayctl.errors import RayctlError

__all__ = ["SeveralFailures", "fail_with"]


class SeveralFailures(RayctlError):
    """More than one object met an error; its exit code is that of the first."""

    def __init__(self, message: str, *, exit_code: int = 1, **more: object) -> None:
        super().__init__(message, **more)  # type: ignore[arg-type]
        self.exit_code = exit_code  # type: ignore[misc]  # of this one error


def fail_with(failures: Sequence[RayctlError]) -> None:
    """Raise what went wrong, if anything did: the one error, or a summary after all of them.

    Raises:
        RayctlError: The only failure.
        SeveralFailures: There are more.
    """
    if not failures:
        return
    if len(failures) == 1:
        raise failures[0]
    for error in failures:
        click.echo(f"error: {clean(error.message)}", err=True)
        for item in error.errors if len(error.errors) > 1 else ():
            click.echo(f"  {clean(item['pointer'])}: {clean(item['message'])}", err=True)
        if error.hint:
            click.echo(f"hint:  {clean(error.hint)}", err=True)
    first = failures[0]
    raise SeveralFailures(
        f"{len(failures)} objects met errors; they are above.", code=first.code, exit_code=first.exit_code
    )
