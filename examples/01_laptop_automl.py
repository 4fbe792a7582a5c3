"""AutoML on a laptop: from a table to predictions in a few lines.

Start the service once with `rayctl up`, then run this file. It needs nothing but rayctl itself: the table is the
breast cancer data set that comes with scikit-learn (569 tumours, 30 measurements).
"""

from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import rayctl

table = load_breast_cancer(as_frame=True).frame
train, test = train_test_split(table, random_state=0, stratify=table["target"])

with rayctl.connect() as connection:
    run = connection.automl.submit(train, target="target", task="classification", max_trials=8, seed=0, name="tumours")
    for event in run.watch():
        if event.kind == "trial":
            row = event.data
            print(f"trial {row['trial']}  {row['model']:<14} {row['state']:<7} {row['score']}")

    print(run.leaderboard())
    probabilities = run.predict(test.drop(columns="target"), proba=True)
    score = roc_auc_score(test["target"], probabilities["proba_1"])
    print(f"ROC AUC on rows that the search never saw: {score:.4f}")
    assert score > 0.97
