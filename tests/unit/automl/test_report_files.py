"""The files of a report: page, pictures, data and text, and that hostile names stay harmless."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from rayctl.automl.report import summary_text
from rayctl.automl.report.data import report_data
from rayctl.automl.report.fmt import bytes_text, clean, cut, number, seconds, short
from rayctl.automl.report.page import render
from tests.unit.automl.report_samples import HOSTILE, SAMPLES, files, hostile, regressor

PICTURES = {
    "binary": {"confusion", "roc", "precision_recall", "calibration", "thresholds", "gain", "importance", "weights"},
    "multiclass": {"confusion", "roc", "precision_recall", "calibration", "leaderboard", "score_over_time"},
    "regression": {"predicted_actual", "residuals", "residual_histogram", "fit_time", "latency"},
    "forecast": {"forecasts", "error_by_step", "error_by_series", "forecast_01", "forecast_12"},
    "failed": set(),
}


def svg(content: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(content)  # noqa: S314 - our own files


class Page(HTMLParser):
    """Elements, attributes and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open[-1:] == ["script"] else self.text).append(data)


@pytest.mark.parametrize("name", PICTURES)
def test_files_are_complete_and_well_formed(name: str) -> None:
    made = files(name)
    drawn = {path[6:-4] for path in made if path.endswith(".svg")}
    assert PICTURES[name] <= drawn
    assert bool(drawn) == bool(PICTURES[name])
    json.loads(made["report.json"])
    assert len(made["report.html"]) < 2_000_000
    for path, content in made.items():
        if path.endswith(".svg"):
            assert svg(content).tag == "{http://www.w3.org/2000/svg}svg"
        if path.endswith(".png"):
            assert content.startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("name", PICTURES)
def test_a_page_loads_nothing_and_runs_only_its_own_script(name: str) -> None:
    text = files(name)["report.html"].decode()
    page = Page(text)
    assert page.tags.count("script") == 1
    digest = base64.b64encode(hashlib.sha256("".join(page.scripts).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert {"img", "iframe", "object", "embed", "form", "base"}.isdisjoint(page.tags)
    for key, value in page.attributes:
        assert not key.startswith("on")
        if key in ("src", "href", "xlink:href", "action"):
            assert (value or "").startswith(("#", "data:")), (key, value)
    assert not re.search(r"url\((?!#)|@import", text)


FRESH = """
import hashlib, json, pickle, sys
import rayctl.automl.report as report
heavy = ("matplotlib", "jinja2", "sklearn", "ray", "pandas")
found = {"imported": [name for name in heavy if name in sys.modules]}
samples = pickle.load(sys.stdin.buffer)
report.build_report(samples.pop("failed"))
found["for a failed run"] = [name for name in heavy if name in sys.modules]
for name, sample in samples.items():
    files = report.build_report(sample)
    found[name] = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    """What a fresh process has imported when, and the reports that it builds."""
    samples = pickle.dumps({name: SAMPLES[name]() for name in ("failed", "binary", "forecast")})
    done = subprocess.run([sys.executable, "-c", FRESH], input=samples, capture_output=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["binary", "forecast"])
def test_equal_inputs_give_equal_bytes_in_another_process_too(name: str, fresh: dict[str, Any]) -> None:
    assert fresh[name] == {path: hashlib.sha256(content).hexdigest() for path, content in files(name).items()}


def test_the_package_imports_libraries_when_they_are_needed(fresh: dict[str, Any]) -> None:
    assert fresh["imported"] == []
    assert fresh["for a failed run"] == ["jinja2"]


def test_pictures_follow_the_page_s_colours() -> None:
    text = files("binary")["report.html"].decode()
    drawings = re.findall(r'<figure class="card".*?</figure>', text, flags=re.S)
    assert len(drawings) > 8
    for drawing in drawings:
        assert "var(--c" in drawing
        assert set(re.findall(r"#[0-9a-f]{6}\b", drawing)) <= {"#000000"}
    assert "prefers-color-scheme:dark" in text
    assert b"var(--" not in files("binary")["plots/roc.svg"]


def test_text_in_pictures_is_not_rounded_away() -> None:
    area = json.loads(files("binary")["report.json"])["classification"]["curves"][0]["auc"]
    assert f"AUC {area:.4f}".encode() in files("binary")["plots/roc.svg"]


def test_hostile_names_and_messages_are_only_text() -> None:
    inputs, made = hostile(), files("hostile")
    text = made["report.html"].decode()
    page = Page(text)
    assert page.tags.count("script") == 1
    assert not any("alert" in script for script in page.scripts)
    assert any("<script>alert(1)</script>" in part for part in page.text)
    assert not any(key.startswith("on") for key, _ in page.attributes)
    assert "\x1b" not in text
    assert "\x00" not in text
    for path, content in made.items():
        if path.endswith(".svg"):
            tags = {element.tag.split("}")[-1] for element in svg(content).iter()}
            assert "script" not in tags, path
    assert json.loads(made["report.json"])["run"]["target"] == HOSTILE  # data are exact
    said = summary_text(inputs)
    assert all(char.isprintable() for line in said.splitlines() for char in line)


def test_a_failed_run_has_a_page_that_says_why() -> None:
    text = " ".join(Page(files("failed")["report.html"].decode()).text)
    for expected in (
        "None of 2 trials succeeded.",
        "Allow more memory.",
        "The fold needed 5 GB.",
        "not run to the end",
    ):
        assert expected in text


def test_large_leaderboards_are_cut_but_members_and_data_are_kept() -> None:
    made = regressor()
    more = [made.rows[0] | {"trial": 100 + i, "weight": 0.0, "rank": 10 + i} for i in range(300)]
    member = made.rows[0] | {"trial": 999, "weight": 0.25, "rank": 400}
    document = report_data(replace(made, rows=[*made.rows[:-1], *more, member, made.rows[-1]]))
    page = render(document, [])
    assert "#999" in page
    assert "more trials" in page
    assert len(document["leaderboard"]) == 305


@pytest.mark.parametrize("name", ["binary", "multiclass", "regression", "forecast"])
def test_the_summary_fits_a_terminal(name: str) -> None:
    said = summary_text(SAMPLES[name]())
    lines = said.splitlines()
    assert 10 <= len(lines) <= 30
    assert "succeeded after 12.5 s" in lines[0]
    assert "The fold needed 5 GB." in said
    assert lines[-1] == "repeat it: rayctl automl replay run-1"


def test_numbers_as_people_read_them() -> None:
    assert [number(v) for v in (0.94123, 3.14159, 24310.4, -0.5, 0, None, float("nan"), 7, 1e-5)] == [
        *("0.9412", "3.142", "24,310", "−0.5000", "0", "–", "–", "7", "1e−05")
    ]
    assert [seconds(v) for v in (0, 0.0004, 0.0041, 21.34, 372, 3960)] == [
        *("0 s", "< 1 ms", "4.1 ms", "21.3 s", "6 m 12 s", "1 h 06 m")
    ]
    assert [bytes_text(v) for v in (812, 1234567, None)] == ["812 B", "1.23 MB", "–"]
    assert short("a" * 10 + "b" * 30, 12) == "aaaaaaaa…bbb"
    assert cut("one two three", 9) == "one two…"
    assert clean("a\x1b[0m\ud800b") == "a [0m b"
