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

from rayctl.automl.report.data import report_data
from rayctl.automl.report.fmt import apart, bytes_text, clean, number, percent, seconds, short, short_each
from rayctl.automl.report.page import render
from tests.unit.automl.report_samples import HOSTILE, SAMPLES, files, regressor

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
    samples = pickle.dumps({name: SAMPLES[name]() for name in ("failed", "forecast")})
    done = subprocess.run([sys.executable, "-c", FRESH], input=samples, capture_output=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["forecast"])
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
    made = files("hostile")
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
    assert "more trials in <code>rayctl automl report run-1 -o report.json</code>" in page
    assert len(document["leaderboard"]) == 305


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.94123, "0.9412"),
        (3.14159, "3.142"),
        (24310.4, "24,310"),
        (123456789.0, "123,456,789"),
        (1.23456e9, "1.235e+09"),
        (-0.5, "−0.5000"),
        (0.00123, "0.00123"),
        (0.99996, "0.99996"),
        (1.0, "1.000"),
        (0, "0"),
        (-7, "−7"),
        (7, "7"),
        (1e-5, "1e−05"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_numbers_as_people_read_them(value: float | None, text: str) -> None:
    assert number(value) == text


def test_spreads_keep_two_digits() -> None:
    assert [number(value, 3) for value in (0.00432, 0.0432, 0.432, 123.4)] == ["0.0043", "0.043", "0.432", "123"]


@pytest.mark.parametrize(
    ("first", "second", "texts"),
    [
        (0.99341, 0.99344, ("0.99341", "0.99344")),
        (0.9934, 0.9934, ("0.9934", "0.9934")),
        (0.99, None, ("0.9900", "–")),
        (24310.2, 24310.4, ("24,310.2", "24,310.4")),
    ],
)
def test_two_numbers_look_equal_only_if_they_are(first: float, second: float | None, texts: tuple[str, str]) -> None:
    assert apart(first, second) == texts


def test_durations_sizes_and_shares_as_people_read_them() -> None:
    assert [seconds(v) for v in (0, 1e-6, 0.000137, 0.0041, 0.9996, 21.34, 99.97, 372, 3960)] == [
        *("0 s", "< 0.01 ms", "0.14 ms", "4.1 ms", "1 s", "21.3 s", "1 m 40 s", "6 m 12 s", "1 h 06 m")
    ]
    assert [bytes_text(v) for v in (812, 999_700, 1234567, None)] == ["812 B", "1 MB", "1.23 MB", "–"]
    assert [percent(v) for v in (0, 0.0004, 0.5, 0.9996, 1, None)] == [
        "0.0%",
        "< 0.1%",
        "50.0%",
        "> 99.9%",
        "100.0%",
        "–",
    ]
    assert [percent(v, 0) for v in (0.004, 0.996, 0.1)] == ["< 1%", "> 99%", "10%"]


def test_names_as_people_read_them() -> None:
    assert short("a" * 10 + "b" * 30, 12) == "aaaaaaaa…bbb"
    assert (short(""), short_each(["", "b"])) == ("(empty)", ["(empty)", "b"])
    assert clean("a\x1b[0m\ud800b") == "a [0m b"
    middle = "x" * 20
    alike = [f"p{middle}0{middle}r", f"p{middle}1{middle}r", f"q{middle}0{middle}s"]
    assert len(set(short_each(alike, 8))) == 3
    assert all(len(name) <= 8 for name in short_each(alike, 8))
