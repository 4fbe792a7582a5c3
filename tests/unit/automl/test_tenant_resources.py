"""What a run's tasks reserve where its tenant has defaults and limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rayctl.automl.model import Resources, RunRequest
from rayctl.automl.tenant_resources import for_tenant
from rayctl.errors import InvalidRequest
from rayctl.tenancy.codec import parse


def request(**fields: Any) -> RunRequest:
    return RunRequest.model_validate({"task": "regression", "target": "y"} | fields)


def applied(asked: RunRequest, **tenant: Any) -> RunRequest:
    return for_tenant(asked, parse({"tenant": "a", **tenant}))


@pytest.mark.parametrize(
    ("asked", "defaults", "found"),
    [
        ({}, {}, {}),
        ({}, {"num_cpus": 0.5}, {"cpus": 0.5}),
        ({}, {"num_cpus": 2, "memory_bytes": 10**9}, {"cpus": 2, "memory_bytes": 10**9}),
        ({}, {"num_gpus": 1, "resources": {"disk": 1}}, {"gpus": 1, "custom": {"disk": 1}}),
        ({"cpus": 3}, {"num_cpus": 0.5, "memory_bytes": 5}, {"cpus": 3, "memory_bytes": 5}),
        ({"cpus": 1}, {"num_cpus": 4}, {"cpus": 1}),
        ({"custom": {"disk": 2}}, {"resources": {"disk": 1, "net": 1}}, {"custom": {"disk": 2, "net": 1}}),
        ({}, {"max_retries": 5}, {}),
    ],
)
def test_defaults_count_where_the_request_says_nothing(asked: Any, defaults: Any, found: Any) -> None:
    got = applied(request(**({"resources": asked} if asked else {})), defaults=defaults)
    assert got.resources == Resources(**found)
    again = RunRequest.model_validate_json(got.model_dump_json(exclude_unset=True))
    assert again == got, "as the database keeps it"


def test_without_a_registered_tenant_or_defaults_the_request_is_what_it_was() -> None:
    asked = request(resources={"cpus": 7})
    assert for_tenant(asked, None) is asked
    assert applied(asked) is asked
    assert "resources" not in json.loads(applied(request()).model_dump_json(exclude_unset=True))


@pytest.mark.parametrize(
    ("asked", "tenant", "said", "place"),
    [
        ({"resources": {"cpus": 3}}, {"limits": {"num_cpus": 2}}, "num_cpus=3; its limit is 2.", "/resources/cpus"),
        ({}, {"limits": {"num_cpus": 0.5}}, "num_cpus=1; its limit is 0.5.", "/resources/cpus"),
        (
            {"resources": {"memory_bytes": 2**31}},
            {"limits": {"memory_bytes": 2**30}},
            "memory=2,147,483,648",
            "/resources/memory_bytes",
        ),
        ({"resources": {"gpus": 1}}, {"limits": {"num_gpus": 0}}, "num_gpus=1; its limit is 0.", "/resources/gpus"),
        (
            {"resources": {"custom": {"disk": 2}}},
            {"limits": {"resources": {"disk": 1}}},
            "disk=2; its limit is 1.",
            "/resources/custom/disk",
        ),
        ({"trainer_resources": {"cpus": 4}}, {"limits": {"num_cpus": 2}}, "num_cpus=4", "/trainer_resources/cpus"),
        (
            {"resources": {"cpus": 3}},
            {"quota": {"max_cpus": 2}},
            "asks for 3 CPUs; all runs of tenant a may use 2.",
            "/resources/cpus",
        ),
        ({}, {"defaults": {"num_cpus": 4}, "quota": {"max_cpus": 2}}, "asks for 4 CPUs", "/resources/cpus"),
    ],
)
def test_limits_are_refused_clearly(asked: Any, tenant: Any, said: str, place: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        applied(request(**asked), **tenant)
    assert caught.value.code == "over-tenant-limit"
    assert said in caught.value.message
    assert [wrong["pointer"] for wrong in caught.value.errors] == [place]


def test_what_is_within_the_limits_is_accepted() -> None:
    limits = {"num_cpus": 2, "num_gpus": 0, "memory_bytes": 10**9, "resources": {"disk": 1}}
    got = applied(request(resources={"cpus": 2, "custom": {"disk": 1, "other": 9}}), limits=limits)
    assert got.resources.cpus == 2


def test_defaults_over_the_limits_are_a_mistake_of_the_configuration() -> None:
    with pytest.raises(InvalidRequest, match="default of num_cpus is 4, over the limit of 2"):
        parse({"tenant": "a", "defaults": {"num_cpus": 4}, "limits": {"num_cpus": 2}})
