"""Free text: what the components say, and their bounds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from rayctl.automl.tabular.text import TextModel

RNG = np.random.default_rng(0)
TOPICS = (
    ["goal", "match", "team", "player", "league", "coach", "season", "score"],
    ["stock", "market", "bank", "profit", "shares", "trade", "price", "fund"],
)


def sentences(rows: int) -> tuple[pa.Array, np.ndarray]:
    topic = RNG.integers(0, 2, rows)
    texts = [" ".join([*RNG.choice(TOPICS[code], 6), "the", "and", f"word{RNG.integers(0, 500)}"]) for code in topic]
    return pa.array(texts), topic


def test_components_tell_topics_apart_without_seeing_them() -> None:
    from sklearn.linear_model import LogisticRegression

    texts, topic = sentences(400)
    model = TextModel.fit(texts.slice(0, 200), 0)
    fitted = LogisticRegression().fit(model.transform(texts.slice(0, 200))[:, :5], topic[:200])
    assert fitted.score(model.transform(texts.slice(200))[:, :5], topic[200:]) > 0.98


def test_the_same_texts_give_the_same_model() -> None:
    texts, _ = sentences(100)
    first, second = TextModel.fit(texts, 3), TextModel.fit(texts, 3)
    np.testing.assert_array_equal(first.directions, second.directions)
    again = TextModel.from_json(first.to_json(), first.arrays())
    np.testing.assert_array_equal(again.transform(texts), first.transform(texts))


def test_missing_empty_and_unknown_texts_are_zero() -> None:
    texts, _ = sentences(100)
    model = TextModel.fit(texts, 0)
    assert model.transform(pa.array([None, "", "xyzzy plugh"], pa.string())).tolist() == [[0.0] * model.width] * 3


def test_words_that_every_text_has_count_by_how_often_it_has_them() -> None:
    texts = pa.array(["good good good good bad film", "good bad bad bad bad film film"] * 30)
    numbers = TextModel.fit(texts, 0).transform(texts)
    assert np.abs(numbers[0] - numbers[1]).max() > 0.3
    assert TextModel.fit(pa.array(["good good bad"] * 60), 0).width == 0


def test_texts_that_share_no_word_have_no_components() -> None:
    model = TextModel.fit(pa.array([f"a{index} b{index} c{index}" for index in range(50)]), 0)
    assert model.width == 0
    assert model.transform(pa.array(["a1 b1"])).shape == (1, 0)


def test_writing_without_spaces_is_cut_into_characters() -> None:
    texts = pa.array([f"今日は天気が{'良い' if index % 2 else '悪い'}です{index}" for index in range(60)])
    model = TextModel.fit(texts, 0)
    assert model.analyzer == "char"
    assert model.width > 1
    assert np.isfinite(model.transform(texts)).all()


def test_models_that_do_not_fit_together_are_refused() -> None:
    model = TextModel.fit(sentences(100)[0], 0)
    arrays = model.arrays()
    for change in ({"idf": arrays["idf"][1:]}, {"kept": arrays["kept"] + 2**16}, {"directions": np.zeros(3)}):
        with pytest.raises(ValueError, match="fit together"):
            TextModel.from_json(model.to_json(), {**arrays, **change})


def test_many_texts_are_read_in_parts_that_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pa.array([f"number {index % 7} of the {index % 5} quick foxes" for index in range(90)] + [None, ""])
    model = TextModel.fit(texts, 0)
    whole = model.transform(texts)
    monkeypatch.setattr("rayctl.automl.tabular.text._ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(model.transform(texts), whole)
    assert model.transform(texts.slice(0, 0)).shape == (0, model.width)
