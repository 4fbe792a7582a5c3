"""What ended trials leave behind: whole or not at all, only for the same question, bounded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayctl.automl.actions import FoldResult
from rayctl.automl.engine import Candidate, FoldOutcome
from rayctl.automl.follow_up import continuation
from rayctl.automl.model import LeaderboardRow, RunRequest, TaskType, TrialState
from rayctl.automl.search import candidate_key
from rayctl.automl.trial_files import REUSE, TrialFiles, forget_data, prune, question_folder
from rayctl.state.artifacts import ArtifactStore
from rayctl.tenancy.codec import parse

CANDIDATE = Candidate("lightgbm", {"num_leaves": 31, "derived": ["counts"], "objective": None})
VERSIONS = {"python": "3.11.7", "numpy": "2.4.0"}
PRINT = "0123456789abcdef" * 4


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}")


def files_of(store: ArtifactStore, folder: str = "reuse/a/b/c") -> TrialFiles:
    return TrialFiles(store, folder)


def outcomes_of(folds: int = 2, seed: int = 0) -> dict[int, FoldOutcome]:
    rng = np.random.default_rng(seed)
    return {
        fold: FoldOutcome(
            0.5 + fold,
            rng.normal(size=(7, 3)).astype(np.float32 if fold else np.float64),
            1.25,
            0.5,
            rng.integers(0, 255, 50 * fold, dtype=np.uint8),
            None if fold else 17,
        )
        for fold in range(folds)
    }


def results_of(outcomes: dict[int, FoldOutcome]) -> dict[int, FoldResult]:
    return {
        fold: FoldResult(o.score, o.fit_s, o.predict_s, int(o.model.nbytes), o.stopped_at)
        for fold, o in outcomes.items()
    }


def row_of(candidate: Candidate = CANDIDATE, trial: int = 3, state: TrialState = TrialState.DONE) -> LeaderboardRow:
    score = 1.0 if state is TrialState.DONE else None
    return LeaderboardRow(
        trial=trial, model=candidate.model, params=candidate.params, state=state, score=score, fold_scores=[0.5, 1.5]
    )


def same(a: dict[int, FoldOutcome], b: dict[int, FoldOutcome]) -> bool:
    def plain(outcome: FoldOutcome) -> tuple[object, ...]:
        arrays = [(array.dtype, array.shape, array.tobytes()) for array in (outcome.predictions, outcome.model)]
        return (outcome.score, outcome.fit_s, outcome.predict_s, outcome.stopped_at, *arrays)

    return a.keys() == b.keys() and all(plain(a[fold]) == plain(b[fold]) for fold in a)


# Keeping and finding ------------------------------------------------------------------------------------


def test_what_is_kept_comes_back_with_predictions_and_models(store: ArtifactStore) -> None:
    outcomes = outcomes_of(3)
    files_of(store).save(CANDIDATE, row_of(), results_of(outcomes), outcomes)
    found = files_of(store).find()
    assert found.keys() == {candidate_key(CANDIDATE)}
    trial = found[candidate_key(CANDIDATE)]
    assert (trial.candidate, trial.row, trial.results) == (CANDIDATE, row_of(), results_of(outcomes))
    assert same(files_of(store).load(CANDIDATE), outcomes)


def test_a_trial_that_is_not_worth_its_models_is_found_without_them(store: ArtifactStore) -> None:
    files_of(store).save(CANDIDATE, row_of(), results_of(outcomes_of()), {})
    assert files_of(store).find().keys() == {candidate_key(CANDIDATE)}
    assert files_of(store).load(CANDIDATE) == {}


def test_trials_come_in_the_order_of_their_numbers(store: ArtifactStore) -> None:
    for number in (5, 0, 12, 3):
        candidate = Candidate("m", {"x": number})
        files_of(store).save(candidate, row_of(candidate, number), {}, {})
    assert [trial.row.trial for trial in files_of(store).find().values()] == [0, 3, 5, 12]


def test_only_the_own_folder_is_looked_at(store: ArtifactStore) -> None:
    outcomes = outcomes_of()
    files_of(store, "reuse/a/data/q1").save(CANDIDATE, row_of(), results_of(outcomes), outcomes)
    for other in ("reuse/a/data/q2", "reuse/b/data/q1", "reuse/a/other/q1", "reuse/a/data/q"):
        assert files_of(store, other).find() == {}
        assert files_of(store, other).load(CANDIDATE) == {}


@pytest.mark.security("S10")
def test_pickled_candidates_are_never_found(store: ArtifactStore) -> None:
    """A file that says what to unpickle must not come from a shared folder, and the row does not hold the class."""
    pickled = Candidate("mine.Model", {"x": 1}, b"cloudpickle")
    outcomes = outcomes_of()
    files_of(store).save(pickled, row_of(pickled), results_of(outcomes), outcomes)
    assert store.list("reuse") == []
    # As if somebody had written one: what says that it is of a pickled class is not taken.
    plain = Candidate("mine.Model", {"x": 1})
    files_of(store).save(plain, row_of(plain), results_of(outcomes), outcomes)
    (index,) = [file.key for file in store.list("reuse") if file.key.endswith(".json")]
    store.put(index, json.dumps({**json.loads(store.get(index)), "pickled": True}).encode())
    assert files_of(store).find() == {}
    assert files_of(store).load(pickled) == {}
    assert files_of(store).load(Candidate("mine.Model", {"x": 1})) == {}


@pytest.mark.parametrize("value", [(64, 64), {1: 2}, b"bytes", {"a", "b"}])
def test_a_configuration_that_json_changes_is_not_taken_for_another(store: ArtifactStore, value: object) -> None:
    """A model may treat (64, 64) and [64, 64] differently, and its seed depends on which it is."""
    candidate = Candidate("m", {"x": value})
    files_of(store).save(candidate, row_of(candidate), {}, {})
    for key, trial in files_of(store).find().items():
        assert candidate_key(trial.candidate) == key


def test_parameters_that_json_cannot_express_are_left_out(store: ArtifactStore) -> None:
    candidate = Candidate("m", {"kernel": object()})
    outcomes = outcomes_of()
    files_of(store).save(candidate, row_of(candidate), results_of(outcomes), outcomes)
    assert store.list(REUSE) == []


def test_folds_that_were_taken_over_stay_when_a_trial_is_completed(store: ArtifactStore) -> None:
    """The completing run has the arrays of the folds that it ran itself only."""
    outcomes = outcomes_of(3)
    first = {fold: outcomes[fold] for fold in (0, 1)}
    files_of(store).save(CANDIDATE, row_of(state=TrialState.SKIPPED), results_of(first), first)
    files_of(store).save(CANDIDATE, row_of(), results_of(outcomes), {2: outcomes[2]})
    assert same(files_of(store).load(CANDIDATE), outcomes)
    other = results_of(outcomes) | {0: FoldResult(0.9, 1.0, 1.0)}
    files_of(store).save(CANDIDATE, row_of(), other, {2: outcomes[2]})
    assert files_of(store).load(CANDIDATE).keys() == {1, 2}


# Damage -------------------------------------------------------------------------------------------------


def saved(tmp_path: Path) -> tuple[TrialFiles, Path, Path, dict[int, FoldOutcome]]:
    outcomes = outcomes_of()
    files = files_of(ArtifactStore(f"file://{tmp_path}"))
    files.save(CANDIDATE, row_of(), results_of(outcomes), outcomes)
    stem = tmp_path / "reuse/a/b/c" / candidate_key(CANDIDATE)
    return files, stem.with_suffix(".json"), stem.with_suffix(".npz"), outcomes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.999), flip=st.floats(0, 0.999), kind=st.sampled_from(["cut", "flip", "zeros", "garbage"]))
def test_damaged_arrays_are_as_good_as_missing(tmp_path: Path, cut: float, flip: float, kind: str) -> None:
    files, _, arrays, _ = saved(tmp_path)
    data = bytearray(arrays.read_bytes())
    if kind == "cut":
        del data[int(cut * len(data)) :]
    elif kind == "flip":
        data[int(flip * len(data))] ^= 1 << int(8 * cut)
    elif kind == "zeros":
        data[int(cut * len(data)) :] = bytes(len(data) - int(cut * len(data)))
    else:
        data[:] = b"garbage" * int(1 + 10 * cut)
    unchanged = bytes(data) == arrays.read_bytes()
    arrays.write_bytes(data)
    assert unchanged or files.load(CANDIDATE) == {}
    assert files.find().keys() == {candidate_key(CANDIDATE)}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.999))
def test_a_damaged_index_is_as_good_as_missing(tmp_path: Path, cut: float) -> None:
    files, index, _, _ = saved(tmp_path)
    text = index.read_bytes()
    index.write_bytes(text[: int(cut * len(text))])
    assert files.find() == {}
    assert files.load(CANDIDATE) == {}


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[]",
        "7",
        '"x"',
        "{}",
        "\xff",
        '{"format": 1}',
        '{"format": 1, "pickled": false, "row": {}, "results": []}',
    ],
)
def test_an_index_of_another_kind_is_as_good_as_missing(tmp_path: Path, text: str) -> None:
    files, index, _, _ = saved(tmp_path)
    index.write_bytes(text.encode("latin-1"))
    assert files.find() == {}
    assert files.load(CANDIDATE) == {}


@pytest.mark.parametrize(
    "change",
    [{"format": 99}, {"results": []}, {"results": {"x": {}}}, {"results": {"0": {"score": 1}}}, {"row": {"trial": 1}}],
)
def test_an_index_of_another_version_is_as_good_as_missing(tmp_path: Path, change: dict[str, object]) -> None:
    files, index, _, _ = saved(tmp_path)
    index.write_text(json.dumps(json.loads(index.read_text()) | change))
    assert files.find() == {}
    assert files.load(CANDIDATE) == {}


def test_an_index_under_another_name_is_not_found(tmp_path: Path) -> None:
    files, index, _, _ = saved(tmp_path)
    index.rename(index.with_name(candidate_key(Candidate("other")) + ".json"))
    assert files.find() == {}


def test_the_arrays_of_another_fit_do_not_go_with_an_index(tmp_path: Path) -> None:
    """Two runs write the same trial at once: the arrays of one, and then the index of the other."""
    files, index, arrays, _ = saved(tmp_path)
    before = index.read_bytes()
    others = outcomes_of(seed=1)
    files.save(CANDIDATE, row_of(), results_of(others), others)
    assert same(files.load(CANDIDATE), others)
    index.write_bytes(before)
    assert files.load(CANDIDATE) == {}
    files.save(CANDIDATE, row_of(), results_of(others), {})
    assert arrays.exists()
    assert files.load(CANDIDATE) == {}


def test_missing_arrays_are_no_error(tmp_path: Path) -> None:
    files, _, arrays, _ = saved(tmp_path)
    arrays.unlink()
    assert files.load(CANDIDATE) == {}


# The question -------------------------------------------------------------------------------------------


def request(**fields: object) -> RunRequest:
    return RunRequest.model_validate({"task": "classification", "target": "y"} | fields)


def folder(asked: RunRequest | None = None, fingerprint: str = PRINT, versions: dict[str, str] = VERSIONS) -> str:
    return question_folder(asked or request(), fingerprint, versions)


@pytest.mark.parametrize(
    "fields",
    [
        {"time_budget_s": 5},
        {"max_trials": 7},
        {"trial_timeout_s": 9},
        {"max_parallel": 2},
        {"name": "a name"},
        {"labels": {"a": "b"}},
        {"resources": {"cpus": 2}},
        {"trainer_resources": {"cpus": 1}},
        {"reuse": False},
        {"continues": "r1"},
        {"replay_of": "r1"},
        {"ensemble": True},
        {"search_space": [{"model": "m"}], "ensemble": True},
        {"data": {"uri": "file:///x.csv"}},
    ],
)
def test_budgets_and_names_do_not_change_the_question(fields: dict[str, object]) -> None:
    assert folder(request(**fields)) == folder()


def carried(asked: RunRequest, **fields: object) -> str:
    return question_folder(asked, PRINT, VERSIONS, parse({"tenant": "a", **fields}))


def test_of_a_tenant_what_scores_can_depend_on_changes_the_question() -> None:
    plain, own = request(), request(custom_metric={"name": "mine", "path": "a.b"})
    mine = request(search_space=[{"model": "my.package.Model"}])
    assert carried(plain) == folder(), "a registered tenant with nothing of its own asks what everybody asks"
    for asked in (plain, own, mine):
        assert carried(asked, quota={"max_running": 1}, description="x", limits={"num_cpus": 2}) == carried(asked)
        assert carried(asked, environment={"packages": ["six==1.15"]}) != carried(asked)
        assert carried(asked, environment={"packages": ["six"]}) != carried(asked, environment={"packages": ["toolz"]})
        same = carried(asked, environment={"packages": ["six", "toolz"]})
        assert same == carried(asked, environment={"packages": ["Toolz", "six"], "setup_timeout_s": 5})
    assert carried(plain, settings={"bonus": 1}) == carried(plain), "no code of the tenant can read it"
    for asked in (own, mine):
        assert carried(asked, settings={"bonus": 1}) != carried(asked, settings={"bonus": 2})
        assert carried(asked, settings={"a": 1, "b": 2}) == carried(asked, settings={"b": 2, "a": 1})


CHANGES: list[dict[str, object]] = [
    {"seed": 1},
    {"target": "z"},
    {"task": "regression"},
    {"metric": "log_loss"},
    {"metric": "f1"},
    {"custom_metric": {"name": "mine", "path": "a.b"}},
    {"validation": {"folds": 4}},
    {"validation": {"scheme": "holdout"}},
    {"validation": {"group_column": "g"}},
    {"features": ["a"]},
    {"weight_column": "w"},
    {"class_weight": "balanced"},
    {"runtime_env": {"pip": ["x"]}},
    {"tenant": "other"},
    {"ensemble": False},
    {"search_space": [{"model": "m"}]},
]


def test_what_results_depend_on_changes_the_question() -> None:
    folders = [folder(), *(folder(request(**change)) for change in CHANGES)]
    folders.append(folder(fingerprint="f" * 64))
    folders.append(folder(versions=VERSIONS | {"numpy": "2.4.1"}))
    folders.append(folder(versions=VERSIONS | {"catboost": "1.2"}))
    alone = folder(request(search_space=[{"model": "m"}]))
    assert alone == folder(request(ensemble=False))  # the same models: one trial, fitted again on all rows
    assert len(set(folders)) == len(folders) - 1


def test_the_folder_does_not_depend_on_the_order_of_versions_and_keeps_tenants_apart() -> None:
    assert folder(versions=dict(reversed(VERSIONS.items()))) == folder()
    assert folder().split("/")[:3] == [REUSE, "default", PRINT[:32]]
    assert folder(request(tenant="other")).startswith(f"{REUSE}/other/")


def test_a_continued_forecast_asks_the_same_question_with_its_windows_pinned() -> None:
    """The number of windows follows from the time budget; a continuation keeps that of the run that it continues."""

    def series(**fields: object) -> RunRequest:
        plain: dict[str, object] = {"task": "forecasting", "target": "y", "time_column": "t", "horizon": 6}
        return request(**(plain | fields))

    first = series(time_budget_s=10)
    done = [LeaderboardRow(trial=0, model="m", state=TrialState.DONE, score=1.0, fold_scores=[1.0, 1.0])]
    following = continuation("r1", first, done, 60.0, None)
    assert following.validation.folds == 2
    assert folder(following) == folder(first)
    assert folder(series(horizon=7)) != folder(first)


# Keeping the bound --------------------------------------------------------------------------------------


def fill(store: ArtifactStore, tmp_path: Path, sizes: dict[str, tuple[int, float]]) -> None:
    for key, (size, changed_at) in sizes.items():
        store.put(key, bytes(size))
        os.utime(tmp_path / key, (changed_at, changed_at))


def test_the_oldest_questions_go_first_and_only_as_many_as_needed(store: ArtifactStore, tmp_path: Path) -> None:
    fill(
        store,
        tmp_path,
        {
            "reuse/t/d1/q1/a.json": (100, 50.0),
            "reuse/t/d1/q1/b.npz": (300, 10.0),
            "reuse/t/d1/q2/a.json": (200, 20.0),
            "reuse/u/d2/q3/a.json": (400, 30.0),
            "reuse/u/d2/q4/a.json": (100, 99.0),
            "data/d1.arrow": (10_000, 1.0),
        },
    )
    assert prune(store, 1100) == 0
    assert prune(store, 1099) == 1  # q2; q1 was added to at 50
    assert not store.exists("reuse/t/d1/q2/a.json")
    assert prune(store, 500) == 1
    left = {file.key for file in store.list("reuse")}
    assert left == {"reuse/t/d1/q1/a.json", "reuse/t/d1/q1/b.npz", "reuse/u/d2/q4/a.json"}
    assert prune(store, 0) == 2
    assert store.list("reuse") == []
    assert store.exists("data/d1.arrow")
    assert prune(store, 0) == 0


@given(sizes=st.lists(st.integers(1, 500), min_size=1, max_size=12), most=st.integers(0, 3000))
@settings(max_examples=25, deadline=None)
def test_pruning_always_keeps_the_bound(sizes: list[int], most: int) -> None:
    store = ArtifactStore("memory://prune")
    store.delete("reuse")
    for number, size in enumerate(sizes):
        store.put(f"reuse/t/d/q{number % 5}/{number}.npz", bytes(size))
    removed = prune(store, most)
    left = sum(file.bytes for file in store.list("reuse"))
    assert left <= most
    assert (removed == 0) == (sum(sizes) <= most)


def test_forgetting_a_table_removes_what_was_learned_from_it_for_every_tenant(store: ArtifactStore) -> None:
    asked = request()
    other = request(tenant="other", seed=3)
    near = PRINT[:31] + "0" + PRINT[32:]
    for fields, fingerprint in ((asked, PRINT), (other, PRINT), (request(seed=9), PRINT), (asked, near)):
        store.put(f"{question_folder(fields, fingerprint, VERSIONS)}/x.json", b"{}")
        store.put(f"{question_folder(fields, fingerprint, VERSIONS)}-0a1b/x.npz", b"{}")
    store.put(f"data/{PRINT}.arrow", b"data")
    store.put("runs/r1/trials/x.json", b"{}")
    forget_data(store, f"data/{PRINT}.arrow")
    left = [file.key for file in store.list(REUSE)]
    assert len(left) == 2
    assert all(near[:32] in key for key in left)
    assert store.exists(f"data/{PRINT}.arrow")
    assert store.exists("runs/r1/trials/x.json")
    forget_data(store, f"data/{PRINT}.arrow")
    forget_data(ArtifactStore("memory://nothing"), f"data/{PRINT}.arrow")


def test_task_types_are_told_apart() -> None:
    assert folder(request(task=TaskType.REGRESSION)) != folder()
