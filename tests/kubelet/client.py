"""Run with a Ray Client address: prints the cluster's name as a task on its worker sees it, and the task's node."""

import os
import sys

import ray

for attempt in range(3):
    try:
        ray.init(sys.argv[1])
        break
    except ConnectionError:
        if attempt == 2:
            raise


@ray.remote(resources={"worker": 0.1})
def who() -> str:
    return os.environ["RAY_CLUSTER_NAME"] + " " + os.environ["RAY_CLOUD_INSTANCE_ID"]


print(ray.get(who.remote(), timeout=60))
