"""``rayctl automl export``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import say

__all__ = ["export"]

_EXAMPLE = """\b
Example:
  rayctl automl export RUN -o churn.onnx
"""


@click.command(epilog=_EXAMPLE)
@click.argument("run_id", metavar="RUN")
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    default=Path("model.onnx"),
    show_default=True,
    help="Where to save it.",
)
@global_options(output=False)
@pass_settings
def export(settings: Settings, run_id: str, target: Path) -> None:
    """Save the model of a run on a table as an ONNX file.

    Needs the extra rayctl[onnx] here, not on the service. The file takes the encoded table as input (see
    rayctl.automl.onnx.onnx_inputs) and gives what rayctl predicts, up to single precision.
    """
    from rayctl.automl.onnx import export_onnx
    from rayctl.client.download import atomic_file

    with settings.connect() as connection, tempfile.TemporaryDirectory(prefix="rayctl-export-") as folder:
        bundle = Path(connection.automl.run(run_id).download("model.zip", Path(folder))).read_bytes()
    model = export_onnx(bundle)
    with atomic_file(target) as stream:
        stream.write(model)
    say(str(target))
