"""The report as one HTML page that needs no network and no script.

Names and messages come from callers and are hostile: everything is escaped, unprintable characters are replaced, and
the page's own policy (Content-Security-Policy) forbids every script but the one that sorts tables, and every request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from rayctl.automl.report import fmt
from rayctl.automl.report.ink import DARK, LIGHT, themed
from rayctl.automl.report.trials import fold_range

if TYPE_CHECKING:
    from rayctl.automl.report.plots import Picture

__all__ = ["render"]

_SHOWN_DONE = 100
_SHOWN_OTHERS = 50
_DOTS_WIDTH = 132.0
_CLASS = 24
_PAGE_LIGHT = {
    "page": "#f5f6f8",
    "soft": "#eef1f5",
    "good": "#00734f",
    "bad": "#b3261e",
    "bad-soft": "#fdecea",
    "warn": "#8a5a00",
    "warn-soft": "#fff6e0",
}
_PAGE_DARK = {
    "page": "#0e1116",
    "soft": "#202631",
    "good": "#4fd1a1",
    "bad": "#ff8a80",
    "bad-soft": "#2d1b1b",
    "warn": "#f2c14e",
    "warn-soft": "#2a2416",
}


def render(document: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """Return the page. ``document`` is that of `report_data`, ``pictures`` those of `draw_all`."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    def finalize(value: Any) -> Any:
        if value is None or (isinstance(value, str) and not isinstance(value, Markup)):
            return fmt.clean(value)
        return value

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=finalize, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "num": fmt.number,
        "pct": fmt.percent,
        "secs": fmt.seconds,
        "size": fmt.bytes_text,
        "short": fmt.short,
        "metric": fmt.metric_name,
        "plural": fmt.plural,
        "pretty": lambda value: Markup(escape(_pretty(value))),  # marked as done, so that its lines are kept
        "inline": lambda value: ", ".join(f"{key}={item}" for key, item in value.items()),
        "when": lambda value: fmt.clean(value)[:19].replace("T", " "),
        "key": lambda value: "" if value is None else value,
    }
    folder = files(__package__)
    script = folder.joinpath("sort.js").read_text(encoding="utf-8")
    shown, hidden = _shown(document["leaderboard"])
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in ("forecasts", "quality", "search", "features")}
    for picture in pictures:
        if picture.section is not None:
            inline = Markup(themed(picture.svg, str(escape(fmt.clean(f"{picture.title}. {picture.help}")))))
            item = {"title": picture.title, "help": picture.help, "svg": inline, "name": picture.name}
            figures[picture.section].append(item)
    return environment.from_string(folder.joinpath("template.html.j2").read_text(encoding="utf-8")).render(
        d=document,
        run=document["run"],
        verdict=document["verdict"],
        tiles=_tiles(document),
        figures=figures,
        board=shown,
        hidden=hidden,
        dots=_dots(shown),
        unmeasured=_unmeasured(document),
        called=_class_names(document),
        style=Markup(folder.joinpath("style.css").read_text(encoding="utf-8") + _variables()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _variables() -> str:
    """The colours of pictures and page, light and dark; print is always light."""

    def block(colours: Mapping[str, str]) -> str:
        return "".join(f"--{name}:{colour};" for name, colour in colours.items())

    light, dark = block(LIGHT | _PAGE_LIGHT), block(DARK | _PAGE_DARK)
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _shown(board: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Return the trials for the page (the best, all members, and some of the failed ones) and how many are left out."""
    done = [row for row in board if row["state"] == "done"]
    others = [row for row in board if row["state"] != "done"]
    shown = [row for place, row in enumerate(done) if place < _SHOWN_DONE or row["weight"] > 0] + others[:_SHOWN_OTHERS]
    return shown, len(board) - len(shown)


def _dots(board: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return, per trial, where its folds' dots and its mean are (pixels) on the scale that all rows share."""
    limits = fold_range(board)
    if limits is None:
        return {}
    low, width = limits[0], limits[1] - limits[0]

    def place(value: float) -> float:
        return round(6 + (_DOTS_WIDTH - 12) * min(1.0, max(0.0, (value - low) / width)), 1)

    return {
        row["trial"]: {"folds": [place(v) for v in row["fold_scores"] if v is not None], "mean": place(row["score"])}
        for row in board
        if row["state"] == "done" and row["score"] is not None
    }


def _tiles(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """The figures at the top: value, what it is, and a remark."""
    run, verdict = document["run"], document["verdict"]
    name, tiles = fmt.metric_name(run["metric"]), []

    def tile(label: str, value: str, remark: str = "") -> None:
        tiles.append({"label": label, "value": value, "remark": remark})

    best = verdict["best_trial"]
    score, of_best = fmt.apart(verdict["score"], best["score"] if best else None)
    if verdict["score"] is not None:
        unit = "window" if run["task"] == "forecasting" else "fold"
        spread = f"± {fmt.number(verdict['std'], 3)} " if verdict["std"] is not None and verdict["folds"] > 1 else ""
        over = f"over {fmt.plural(verdict['folds'], unit)}" if verdict["folds"] else ""
        tile(name, score, f"{spread}{over}".strip())
        if best and not verdict["baseline"]:
            tile("Best single trial", of_best, f"#{best['trial']} {best['family']}")
        if verdict["constant"] is not None:
            tile("Without a model", fmt.number(verdict["constant"]), "the same answer for every row")
    tile("Trials done", f"{verdict['counts']['done']:,}", _other_trials(verdict))
    budget = f"of {fmt.seconds(run['time_budget_s'])} allowed" if run.get("time_budget_s") else ""
    tile("Time", fmt.seconds(run.get("elapsed_s")), budget or f"{fmt.seconds(verdict['fit_s'])} of fitting")
    data = run.get("data")
    if data:
        what = (
            fmt.plural(data["series"], "series", "series")
            if data.get("series")
            else fmt.plural(len(data["features"]), "feature")
        )
        tile("Rows", f"{data['rows']:,}", what)
    if verdict["size_bytes"]:
        tile("Model size", fmt.bytes_text(verdict["size_bytes"]), fmt.plural(verdict["members"], "trial"))
    return tiles


def _other_trials(verdict: Mapping[str, Any]) -> str:
    """What became of the trials that have no score, and how many were not made by this run."""
    counts = verdict["counts"]
    texts = [f"{counts[state]:,} {state}" for state in ("failed", "skipped") if counts[state]]
    if verdict["reused"]:
        texts.append(f"{verdict['reused']:,} from earlier runs")
    return ", ".join(texts) or ("all came to an end" if counts["done"] else "")


def _class_names(document: Mapping[str, Any]) -> dict[str, str]:
    """Return class → what it is called in tables, where long names stay different."""
    classes = (document["classification"] or {}).get("classes") or []
    return dict(zip(classes, fmt.short_each(classes, _CLASS), strict=True))


def _unmeasured(document: Mapping[str, Any]) -> int:
    """Return how many columns of a table have no importance although others have one."""
    run, measured = document["run"], document["importance"]
    if run["task"] == "forecasting" or not measured or not run.get("data"):
        return 0
    return max(0, len(run["data"]["features"]) - len(measured))


def _pretty(value: Any) -> str:
    """Return JSON over several lines, each of them clean."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    return "\n".join(fmt.clean(line) for line in text.split("\n"))
