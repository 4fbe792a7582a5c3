"""The report as text for a terminal."""

from __future__ import annotations

from typing import Any

from rayctl.automl.report.data import report_data
from rayctl.automl.report.fmt import clean, cut, metric_name, number, percent, plural, seconds, short
from rayctl.automl.report.inputs import ReportInputs

__all__ = ["summary_text"]

_TRIALS = 6
_FEATURES = 5
_WIDTH = 100
_KINDS = {"binary": "binary classification", "multiclass": "classification"}


def summary_text(inputs: ReportInputs) -> str:
    """Return 10 to 30 lines of plain text without escape sequences: result, trials, features, warnings."""
    data = report_data(inputs)
    run, verdict = data["run"], data["verdict"]
    kind = _KINDS.get(data["kind"], data["kind"])
    lines = [
        f"run {run['id']} · {kind} of {run['target']} · {run['state']} after {seconds(run.get('elapsed_s'))}",
        verdict["sentence"],
        _counts(data),
    ]
    lines += _metric_lines(data) + _trial_lines(data) + _feature_lines(data) + _detail_lines(data)
    lines += [f"! {cut(text, 2 * _WIDTH)}" for text in data["warnings"][:5]]
    again = data["reproduce"]["replay"] or data["reproduce"]["command"]
    if again:
        lines += ["", f"repeat it: {cut(again, 3 * _WIDTH)}"]
    return "\n".join(clean(line).rstrip() for line in lines) + "\n"


def _counts(data: dict[str, Any]) -> str:
    counts = data["verdict"]["counts"]
    parts = [f"{counts[state]} {state}" for state in ("done", "failed", "skipped") if counts[state]]
    table = data["run"].get("data") or {}
    size = f" · {plural(table['rows'], 'row')}, {plural(len(table['features']), 'feature')}" if table else ""
    return f"trials: {', '.join(parts) or 'none'} · {seconds(data['verdict']['fit_s'])} of fitting{size}"


def _metric_lines(data: dict[str, Any]) -> list[str]:
    if not data["metrics"]:
        return []
    shown = [f"{metric_name(item['name'])} {number(item['value'])}" for item in data["metrics"][:6]]
    return ["", "on validation rows: " + " · ".join(shown)]


def _trial_lines(data: dict[str, Any]) -> list[str]:
    done = [row for row in data["leaderboard"] if row["state"] == "done"]
    failed = [row for row in data["leaderboard"] if row["state"] == "failed"]
    if not done and not failed:
        return []
    lines = ["", f"{'#':>3}  {'trial':>5}  {'model':<22} {'score':>10} {'±':>9} {'weight':>7} {'fit':>8}"]
    for row in done[:_TRIALS]:
        weight = percent(row["weight"], 0) if row["weight"] > 0 else "–"
        lines.append(
            f"{row['rank'] or 0:>3}  {row['trial']:>5}  {short(row['family'], 22):<22} {number(row['score']):>10} "
            f"{number(row['std'], 3):>9} {weight:>7} {seconds(row['fit_s']):>8}"
        )
    if len(done) > _TRIALS:
        lines.append(f"     and {plural(len(done) - _TRIALS, 'more trial')}")
    for row in failed[:3]:
        why = (row["error"] or {}).get("message")
        lines.append(f"  ✗  {row['trial']:>5}  {short(row['family'], 22):<22} {cut(why, _WIDTH - 34)}")
    return lines


def _feature_lines(data: dict[str, Any]) -> list[str]:
    items = data["importance"] or []
    if not items:
        return []
    top = max(abs(items[0]["importance"] or 0.0), 1e-300)
    lines = ["", "most important features"]
    for item in items[:_FEATURES]:
        share = max(0.0, (item["importance"] or 0.0) / top)
        lines.append(
            f"  {short(item['feature'], 24):<24} {number(item['importance'], 3):>9}  {'█' * round(24 * share)}"
        )
    return lines


def _detail_lines(data: dict[str, Any]) -> list[str]:
    if data["classification"] and data["classification"]["confused"]:
        pairs = data["classification"]["confused"][:3]
        said = [f"{short(p['truth'], 16)} as {short(p['predicted'], 16)} ({p['rows']:,})" for p in pairs]
        return ["", "most often confused: " + ", ".join(said)]
    if data["regression"]:
        by = {item["quantile"]: item["value"] for item in data["regression"]["absolute_quantiles"]}
        return ["", f"error: half of the rows within {number(by[0.5])}, 95% within {number(by[0.95])}"]
    if data["forecast"]:
        found = data["forecast"]
        lines = ["", f"{plural(found['series'], 'series', 'series')}, {plural(found['windows'], 'window')}"]
        worst = found["by_series"]["worst"][:3] if found["series"] > 1 else []
        if worst:
            hardest = [f"{short(item['series'], 20)} ({number(item['error'], 3)})" for item in worst]
            lines.append("hardest: " + ", ".join(hardest))
        return lines
    return []
