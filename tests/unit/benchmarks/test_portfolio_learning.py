"""Learning the portfolio: no judged table is used, the fast blend is the engine's, and the order is what it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rayctl.automl.ensemble import greedy_blend
from rayctl.automl.model import DataSummary, RunRequest, TaskType
from rayctl.automl.search import distinct
from rayctl.automl.tabular.portfolio import adapt, portfolio
from tests.benchmarks.portfolio.additions import ADDITIONS, with_additions
from tests.benchmarks.portfolio.blend import MIN_WEIGHT, Target, blend
from tests.benchmarks.portfolio.configurations import REFERENCE, Configuration, handwritten, pool
from tests.benchmarks.portfolio.greedy import Objective, order
from tests.benchmarks.portfolio.learn import Comparison, write_portfolio
from tests.benchmarks.portfolio.regret import WORST, Board
from tests.benchmarks.portfolio.sources import EVERY, FORBIDDEN, KINDS, SOURCES, Source, split
from tests.benchmarks.portfolio.store import Result, Store, Truth
from tests.benchmarks.quality.tables import TASKS


def members(rng: np.random.Generator, truth: np.ndarray, count: int = 6) -> np.ndarray:
    """Return predictions that are the truth with noise of different kinds and sizes."""
    return np.stack([truth + rng.normal(scale=0.3 + 0.2 * place, size=len(truth)) for place in range(count)])


def test_no_table_is_a_judged_task() -> None:
    used = {source.item for source in EVERY.values()}
    assert not used & FORBIDDEN
    assert not used & {task.item for task in TASKS.values()}


@pytest.mark.parametrize("name", ["attrition", "mlb_position", "sacramento", "synthetic_heavy"])
def test_parts_of_a_table_do_not_overlap_and_the_target_is_no_feature(name: str) -> None:
    source = SOURCES[name]
    train, test = split(source, 0)
    assert len(train) <= source.train_rows
    assert len(test) <= source.test_rows
    assert not set(source.drop) & set(train.columns)
    again, other = split(source, 0), split(source, 1)
    assert train.equals(again[0])
    assert not train.equals(other[0])
    if source.kind != "regression":
        assert set(test[source.target]) == set(train[source.target])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "count"), [("large", 4_000), ("small", 3_999)])
def test_what_is_measured_of_additions_is_what_the_engine_tries(kind: str, size: str, count: int) -> None:
    task = TaskType.REGRESSION if kind == "regression" else TaskType.CLASSIFICATION
    classes = {"binary": ["a", "b"], "multiclass": ["a", "b", "c"], "regression": None}[kind]
    request = RunRequest(task=task, target="y")
    rows = DataSummary(rows=count, columns=["x", "y"], features=["x"], fingerprint="", classes=classes)
    expected = [adapt(entry.candidate, rows, request) for entry in with_additions(kind, ADDITIONS[size])]
    assert list(distinct(expected)) == portfolio(rows, request)


@pytest.mark.parametrize("kind", KINDS)
def test_pool_has_every_entry_once_and_all_that_were_written_by_hand(kind: str) -> None:
    keys = [configuration.key for configuration in pool(kind)]
    assert len(keys) == len(set(keys)) >= 45
    assert {configuration.key for configuration in handwritten(kind)} <= set(keys)
    assert REFERENCE.key not in keys


def test_blend_gives_the_engines_weights_for_a_regression() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    found = members(rng, truth)
    expected = greedy_blend(
        dict(enumerate(found)), lambda values: float(np.sqrt(np.mean((values - truth) ** 2))), min_weight=MIN_WEIGHT
    )
    weights = blend(Target.of("regression", truth), found)
    assert {place: weight for place, weight in enumerate(weights) if weight > 0} == pytest.approx(expected.weights)
    assert len(expected.weights) > 1


def test_blend_gives_the_engines_weights_for_a_log_loss() -> None:
    rng = np.random.default_rng(1)
    found = 1 / (1 + np.exp(-rng.normal(1.0, 1.0, size=(5, 300))))
    expected = greedy_blend(
        dict(enumerate(found)), lambda values: float(-np.mean(np.log(values))), min_weight=MIN_WEIGHT
    )
    weights = blend(Target.of("multiclass", np.zeros(300)), found)
    assert {place: weight for place, weight in enumerate(weights) if weight > 0} == pytest.approx(expected.weights)


def test_loss_of_ranks_is_that_of_scikit_learn_per_fold() -> None:
    rng = np.random.default_rng(2)
    truth, fold = rng.integers(0, 2, 900), np.repeat([4, 7, 9], 300)
    predicted = np.clip(0.1 + 0.1 * truth + 0.08 * rng.normal(size=(3, 900)), 0, 1)
    found = Target.of("binary", truth, fold).losses(predicted)
    expected = [1 - np.mean([roc_auc_score(truth[fold == f], row[fold == f]) for f in (4, 7, 9)]) for row in predicted]
    assert found == pytest.approx(expected, abs=1e-3)


def board(
    rng: np.random.Generator, configurations: list[Configuration], noise: list[float], cost: list[float]
) -> Board:
    """A regression whose configurations err independently, each with its own size."""
    truth = rng.normal(size=600)
    oof, test = (np.stack([truth + scale * rng.normal(size=600) for scale in noise]) for _ in range(2))
    keys = tuple(configuration.key for configuration in configurations)
    seconds = dict(zip(keys, cost, strict=True))
    target = Target.of("regression", truth)
    return Board(
        Source(f"toy{rng.integers(10**9)}", "regression", "toy", "toy", "y"), "toy", frozenset(keys), keys, oof, test,
        target, target, seconds, seconds, seconds, 600, 1.0, 0.0, 1.0,
    )  # fmt: skip


def test_regret_of_nothing_is_the_worst_and_more_members_are_not_worse() -> None:
    it = [Configuration("linear", {"strength": float(value)}) for value in range(4)]
    one = board(np.random.default_rng(3), it, [0.5] * 4, [1.0] * 4)
    keys = [configuration.key for configuration in it]
    assert one.regret([]) == WORST
    found = [one.regret(keys[:count]) for count in range(1, 5)]
    assert found == sorted(found, reverse=True)
    about = one.screened(keys[:1], keys[1:])
    assert about[keys[1]] == pytest.approx(one.regret(keys[:2]), abs=0.03)
    assert one.screened(keys, ["nobody-0"]) == {"nobody-0": one.regret(keys)}


def test_order_is_breadth_first_then_by_what_is_worth_its_cost() -> None:
    rng = np.random.default_rng(4)
    it = [
        Configuration("lightgbm", {"learning_rate": 0.1}),
        Configuration("lightgbm", {"learning_rate": 0.05}),
        Configuration("catboost", {"depth": 6}),
        Configuration("linear", {"strength": 1.0}),
    ]
    # CatBoost is a little better than LightGBM but ten times as expensive; the linear model is useless.
    found = [board(rng, it, [0.5, 0.5, 0.48, 9.0], [1.0, 1.0, 10.0, 0.1]) for _ in range(4)]
    places = order(Objective.of(found, "regression", 0.0), it, 4)
    assert {place.model for place in places[:1]} == {"lightgbm"}
    assert places[1].model == "catboost", "the other useful family comes before a second model of the first"
    assert places[2].model == "lightgbm"
    assert places[3].model == "linear"


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    numbers = np.arange(4, dtype=np.float32)
    assert not store.has("toy-s0", "linear-1")
    store.write("toy-s0", "linear-1", Result("ok", numbers, numbers[:2], 1.5, 2.0, 3.0, 1, "said"))
    found = store.read("toy-s0", "linear-1")
    assert found.info() == {
        "state": "ok", "cpu_s": 1.5, "wall_s": 2.0, "predicted_s": 3.0, "capped": 1, "message": "said",
    }  # fmt: skip
    assert found.oof.tolist() == [0, 1, 2, 3]
    truth = Truth(numbers, numbers, numbers[:2], 4)
    store.write_truth("toy-s0", truth)
    store.write_truth("toy-s0", truth)
    with pytest.raises(ValueError, match="changed"):
        store.write_truth("toy-s0", Truth(numbers + 1, numbers, numbers[:2], 4))


def test_portfolio_is_written_one_entry_per_line_and_other_kinds_stay(tmp_path: Path) -> None:
    from tests.benchmarks.portfolio.learn import Learned

    target = tmp_path / "portfolio.json"
    target.write_text(json.dumps({"binary": [{"model": "knn", "params": {}}], "regression": []}))
    entry = Configuration("linear", {"strength": 1.0})
    write_portfolio([Learned("regression", True, (entry, entry), None, ())], target)  # type: ignore[arg-type]
    assert json.loads(target.read_text()) == {
        "binary": [{"model": "knn", "params": {}}],
        "regression": [{"model": "linear", "params": {"strength": 1.0}}] * 2,
    }
    assert len(target.read_text().splitlines()) == 9


@pytest.mark.parametrize(
    ("learned", "better"),
    [([0.9, 0.9, 0.1, 0.1], True), ([0.0, 0.0, 0.4, 0.1], False), ([0.9, 0.9, 0.2, 0.2], False)],
)
def test_the_learned_order_is_kept_where_it_is_better_on_tables_it_does_not_know(
    learned: list[float], better: bool
) -> None:
    """The long prefixes count; an order that is only as good as the hand-written one is not worth a change."""
    none = np.zeros((2, 4))
    written = np.full((2, 4), 0.2)
    assert Comparison(("a", "b"), np.array([learned, learned]), written, none, none).learned_is_better is better
