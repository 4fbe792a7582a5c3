"""``rayctl automl predict | download``."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from rayctl.cli.context import Settings, global_options, pass_settings
from rayctl.cli.output import Column, emit, say
from rayctl.errors import InvalidRequest, NotFound

__all__ = ["download", "predict"]

_FILES: list[Column] = [
    ("FILE", lambda item: str(item["name"])),
    ("BYTES", lambda item: str(item.get("bytes", "–"))),
]

_PREDICT = """\b
Examples:
  rayctl automl predict RUN new.csv -o predictions.csv --proba
  rayctl automl predict RUN                                    the forecast of a run on series
  cat new.csv | rayctl automl predict RUN - > predictions.csv
"""
_DOWNLOAD = """\b
Examples:
  rayctl automl download RUN                     which files there are
  rayctl automl download RUN model.zip           for rayctl.load_model("model.zip") in Python
  rayctl automl download RUN --all -d results
"""


@click.command(epilog=_PREDICT)
@click.argument("run_id", metavar="RUN")
@click.argument("data", metavar="[DATA]", required=False)
@click.option("-o", "--output", "target", metavar="FILE", default="-", help="CSV or Parquet, by its name.")
@click.option("--proba", is_flag=True, help="Add the probability of each class.")
@global_options(output=False)
@pass_settings
def predict(settings: Settings, run_id: str, data: str | None, target: str, proba: bool) -> None:
    """Predict with the model of a run.

    DATA is a CSV, Parquet or Arrow file, or - for standard input. For series it may be left out. The predictions
    go to standard output as CSV, or to FILE, which appears when it is complete.
    """
    suffix = Path(target).suffix.lower()
    if target != "-" and suffix not in (".csv", ".parquet"):
        raise click.BadParameter("write the name of a .csv or .parquet file, or - for standard output.")
    content: Any = sys.stdin.buffer.read() if data == "-" else data
    if data == "-" and not content:
        raise InvalidRequest("Standard input is empty.", code="no-data")
    with settings.connect() as connection:
        table = connection.automl.run(run_id).predict_table(content, proba)
    if target == "-":
        write_csv(table, sys.stdout.buffer)
        return
    from rayctl.client.download import atomic_file

    with atomic_file(Path(target)) as stream:
        if suffix == ".csv":
            write_csv(table, stream)
        else:
            import pyarrow.parquet as pq

            pq.write_table(table, stream)
    settings.note(f"{table.num_rows} predictions in {target}")


def write_csv(table: Any, stream: BinaryIO) -> None:
    """Write an Arrow table as CSV. (Arrow would put every column name in quotes.)"""
    import pyarrow.csv as arrow_csv

    from rayctl.automl.csv_times import with_short_times

    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(table.column_names)
    stream.write(header.getvalue().encode())
    arrow_csv.write_csv(with_short_times(table), stream, arrow_csv.WriteOptions(include_header=False))
    stream.flush()


@click.command(epilog=_DOWNLOAD)
@click.argument("run_id", metavar="RUN")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All files of the result.")
@click.option("-d", "--directory", type=click.Path(path_type=Path), default=Path(), help="Where to put them.")
@global_options()
@pass_settings
def download(settings: Settings, run_id: str, names: tuple[str, ...], everything: bool, directory: Path) -> None:
    """Save files of a run's result; without a NAME list what there is.

    A file appears when it is complete and its checksum is right.
    """
    with settings.connect() as connection:
        run = connection.automl.run(run_id)
        known = run.artifacts()
        if not names and not everything:
            emit(settings, known, rows=known, columns=_FILES, empty="This run has no files.")
            return
        wanted = [str(item["name"]) for item in known] if everything else list(names)
        saved = []
        directory.mkdir(parents=True, exist_ok=True)
        for name in wanted:
            try:
                path = run.download(name, directory)
            except NotFound as error:
                there = ", ".join(str(item["name"]) for item in known) or "none yet"
                hint = f"Its files: {there}. Where they go is said with -d, --directory."
                raise NotFound(error.message, code=error.code, hint=hint) from error
            saved.append({"name": name, "path": str(path)})
            if settings.for_people:
                say(saved[-1]["path"])
        if not settings.for_people:
            emit(settings, saved, rows=saved, columns=[("PATH", lambda item: str(item["path"]))])
