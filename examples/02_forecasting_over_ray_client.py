"""Many series, many models, cross-validated in parallel: forecasting over Ray Client.

The pattern: a `ProxyActor` named `automl-proxy` lives on the cluster. A caller somewhere else connects with Ray Client,
finds it by name, hands in a request, and fetches the result. The proxy makes one trainer per request, the trainer
fans `train_and_evaluate` out as Ray tasks.

Start the service with `rayctl up`. The data are five quarterly series of the United States' economy, 1959 to 2009, as
shipped with statsmodels.
"""

import pandas as pd
from statsforecast.models import AutoARIMA, AutoETS
from statsmodels.datasets import macrodata

import rayctl

raw = macrodata.load_pandas().data
quarters = pd.PeriodIndex.from_fields(year=raw["year"].astype(int), quarter=raw["quarter"].astype(int), freq="Q")
wide = raw[["realgdp", "realcons", "realinv", "cpi", "unemp"]].assign(quarter=quarters.to_timestamp())
series = wide.melt(id_vars="quarter", var_name="series", value_name="value")

search_space = {
    AutoARIMA: {"season_length": [1, 4], "approximation": [True], "max_p": [2], "max_q": [2]},
    AutoETS: {"season_length": [1, 4], "model": ["ZNN", "ZZN", "ZZZ"]},
}
request = dict(
    task="forecasting",
    target="value",
    time_column="quarter",
    id_columns=["series"],
    horizon=4,
    search_space=search_space,
    validation={"scheme": "time_series", "folds": 3},
    seed=0,
)

# "ray" is the local service's own Ray Client address; elsewhere write ray://host:10001.
with rayctl.connect("ray") as connection:
    run = connection.automl.submit(series, name="us-economy", **request)
    run.wait(timeout="10m")
    print(run.leaderboard())
    forecast = run.forecast()
    print(forecast.pivot(index="quarter", columns="series", values="prediction").round(2))
    assert len(forecast) == 4 * 5

    # The same without rayctl's client: plain Ray. Closures and frames travel as usual.
    import ray

    proxy = ray.get_actor("automl-proxy", namespace="rayctl")
    run_id = ray.get(proxy.do_auto_ml.remote(request, series))
    result = ray.get(proxy.get_result.remote(run_id, wait_s=60))
    assert [row["score"] for row in result["leaderboard"]] == [row.score for row in run.leaderboard()]
    print(f"plain Ray gave the same leaderboard: best is {result['best']['model']} {result['best']['params']}")
