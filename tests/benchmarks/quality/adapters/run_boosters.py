"""LightGBM or CatBoost with their default parameters: what somebody gets who does not search at all."""

from __future__ import annotations

from typing import Any

import pandas as pd
from job import Job


def coded(train: pd.DataFrame, test: pd.DataFrame, form: str, library: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both parts with texts as numbers (``ordinal``) or as the library's own categories (``native``).

    Values that training has not seen, and missing ones, are missing; CatBoost wants a text for that.
    """
    train, test = train.copy(), test.copy()
    for column in [name for name in train if not pd.api.types.is_numeric_dtype(train[name])]:
        known = pd.CategoricalDtype(sorted(train[column].dropna().unique()))
        for part in (train, test):
            values = part[column].astype(known)
            if form == "ordinal":
                part[column] = values.cat.codes.astype("float64").where(values.notna())
            elif library == "catboost":
                part[column] = values.astype(object).where(values.notna(), "(missing)")
            else:
                part[column] = values
    return train, test


def estimator(job: Job, categories: list[str]) -> Any:
    """Return the library's default estimator on all cores."""
    library = job.options["library"]
    if library == "lightgbm":
        import lightgbm

        kind = lightgbm.LGBMRegressor if job.is_regression else lightgbm.LGBMClassifier
        return kind(n_jobs=job.cpus, random_state=job.seed, verbose=-1)
    import catboost

    kind = catboost.CatBoostRegressor if job.is_regression else catboost.CatBoostClassifier
    return kind(
        thread_count=job.cpus, random_seed=job.seed, verbose=False, allow_writing_files=False, cat_features=categories
    )


def main() -> None:
    """Fit without any limit, predict the test rows."""
    job = Job.read()
    train, test = job.frames()
    features, target = train.drop(columns=job.target), train[job.target]
    estimator(job, [])  # imports the library, which is outside of everybody's clock
    with job.timed("fit"):
        features, test = coded(features, test, job.options["categories"], job.options["library"])
        texts = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
        model = estimator(job, texts).fit(features, target)
    with job.timed("predict"):
        predicted = model.predict(test) if job.is_regression else model.predict_proba(test)
    classes = ["prediction"] if job.is_regression else model.classes_
    job.hand_in(predicted, classes, ["lightgbm", "catboost", "scikit-learn", "pandas"])


if __name__ == "__main__":
    main()
