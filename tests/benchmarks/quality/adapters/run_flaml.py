"""FLAML's AutoML with its default estimators, with or without its stacked ensemble."""

from __future__ import annotations

from flaml import AutoML
from job import Job


def main() -> None:
    """Fit for the budget, predict the test rows."""
    job = Job.read()
    train, test = job.frames()
    features, target = train.drop(columns=job.target), train[job.target]
    automl = AutoML()
    with job.timed("fit"):
        automl.fit(
            X_train=features, y_train=target, task="regression" if job.is_regression else "classification",
            metric=job.metric, time_budget=job.budget_s, n_jobs=job.cpus, seed=job.seed,
            ensemble=job.options["ensemble"], verbose=0, log_file_name=f"{job.folder}/flaml.log",
        )  # fmt: skip
    with job.timed("predict"):
        predicted = automl.predict(test) if job.is_regression else automl.predict_proba(test)
    job.notes |= {"best_estimator": automl.best_estimator, "best_config": automl.best_config}
    packages = ["flaml", "lightgbm", "catboost", "xgboost", "scikit-learn", "pandas"]
    job.hand_in(predicted, ["prediction"] if job.is_regression else automl.classes_, packages)


if __name__ == "__main__":
    main()
