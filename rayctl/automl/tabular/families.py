"""The model families of rayctl: their names, classes, forms of the data and own parameters.

Importing this module imports no model library: the trainer uses it to plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Literal, cast

from rayctl.automl import estimators
from rayctl.automl.model import TaskType
from rayctl.automl.tabular.training import Fitter
from rayctl.errors import InvalidRequest

__all__ = ["DERIVED_KINDS", "FAMILIES", "OWN_PARAMETERS", "Family", "Resolved", "View", "own_parameters", "resolve"]

View = Literal["tree", "dense"]

DERIVED_KINDS = ("target_mean", "counts", "crosses", "arithmetic", "groups")
OWN_PARAMETERS = ("derived", "target_transform")
"""Parameters of ours that the built-in families take besides their library's.

``derived``: list of kinds of derived features (`DERIVED_KINDS`; models on trees only). ``target_transform``:
``log`` or ``standard``: the scale on which a regression is fitted.
"""


@dataclass(frozen=True)
class Family:
    """One family.

    ``classifier``, ``regressor``: the classes whose parameters it takes (empty: not for this task). ``fitter``:
    ``module:function`` (see `rayctl.automl.tabular.training.Fitter`). ``fixed``: settings under the caller's.
    ``extra``: parameters it understands besides those of the classes, or instead of them (``class_parameters`` False).
    ``max_rows``: left out of the portfolio above. ``weighs``: weights of rows count in its fits.
    """

    name: str
    classifier: str
    regressor: str
    view: View
    fitter: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    class_parameters: bool = True
    max_rows: float = math.inf
    weighs: bool = True

    def path(self, task: TaskType) -> str:
        """Return the importable path of the class for a task."""
        return self.classifier if task is TaskType.CLASSIFICATION else self.regressor


@dataclass(frozen=True)
class Resolved:
    """A model of a request, imported: its class, its view of the data, its family if it has one."""

    model: str
    cls: type
    view: View
    family: Family | None

    def check(self, params: Mapping[str, Any]) -> None:
        """Refuse parameters of one candidate (InvalidRequest).

        ``unknown-parameter``: it has no such; ``invalid-parameter``: a value of rayctl's own that no fit could use.
        """
        if self.family is None:
            estimators.check_parameters(self.cls, self.model, params)
            return
        own_parameters(self, params)
        if self.family.name == "kernel":
            from rayctl.automl.tabular.kernel_model import check_values

            check_values(params)
        known = {*OWN_PARAMETERS, *self.family.extra}
        rest = [name for name in params if name not in known]
        if rest and not self.family.class_parameters:
            raise InvalidRequest(
                f"The model {self.model!r} has no parameter {rest[0]!r}.",
                code="unknown-parameter",
                hint=f"It has {', '.join((*self.family.extra, *OWN_PARAMETERS))}.",
            )
        estimators.check_parameters(self.cls, self.model, rest)

    @property
    def takes_weights(self) -> bool:
        """Whether weights of rows make a difference to what it learns."""
        return self.family.weighs if self.family is not None else estimators.takes_weights(self.cls)

    @property
    def fitter(self) -> Fitter:
        """The function that fits this model."""
        if self.family is None:
            from rayctl.automl.tabular.object_model import fit_object

            return cast(Fitter, partial(fit_object, self.cls, self.model))
        module, _, name = self.family.fitter.partition(":")
        return cast(Fitter, getattr(import_module(f"rayctl.automl.tabular.{module}"), name))


def own_parameters(resolved: Resolved, params: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """Return (kinds of derived features, target transform) of a candidate's parameters.

    Raises:
        InvalidRequest: ``invalid-parameter``.
    """
    if resolved.family is None:
        return (), "identity"
    derived = params.get("derived") or ()
    if isinstance(derived, str):
        derived = (derived,)
    unknown = [kind for kind in derived if kind not in DERIVED_KINDS]
    if unknown or (derived and resolved.view != "tree"):
        raise InvalidRequest(
            f"The model {resolved.model!r} cannot have derived features {', '.join(map(repr, unknown or derived))}.",
            code="invalid-parameter",
            hint=f"Kinds are {', '.join(DERIVED_KINDS)}, for the models on trees.",
        )
    transform = str(params.get("target_transform") or "identity")
    if transform not in ("identity", "log", "standard"):
        raise InvalidRequest(
            f"There is no target transform {transform!r}.",
            code="invalid-parameter",
            hint="Choose identity, log or standard.",
        )
    return tuple(derived), transform


_LINEAR = ("sklearn.linear_model.LogisticRegression", "sklearn.linear_model.Ridge")
_LINEAR_FIXED = {"max_iter": 300}

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "lightgbm",
            "lightgbm.LGBMClassifier",
            "lightgbm.LGBMRegressor",
            "tree",
            "lightgbm_model:fit_lightgbm",
            extra=("native_categories",),
        ),
        Family(
            "catboost",
            "catboost.CatBoostClassifier",
            "catboost.CatBoostRegressor",
            "tree",
            "catboost_model:fit_catboost",
            extra=("native_categories",),
        ),
        Family(
            "extra_trees",
            "sklearn.ensemble.ExtraTreesClassifier",
            "sklearn.ensemble.ExtraTreesRegressor",
            "tree",
            "forest_model:fit_extra_trees",
        ),
        Family(
            "random_forest",
            "sklearn.ensemble.RandomForestClassifier",
            "sklearn.ensemble.RandomForestRegressor",
            "tree",
            "forest_model:fit_random_forest",
        ),
        Family("linear", *_LINEAR, "dense", "linear_model:fit_linear", _LINEAR_FIXED),
        Family("logistic_regression", _LINEAR[0], "", "dense", "linear_model:fit_linear", _LINEAR_FIXED),
        Family("ridge", "", _LINEAR[1], "dense", "linear_model:fit_linear"),
        Family(
            "knn",
            "sklearn.neighbors.KNeighborsClassifier",
            "sklearn.neighbors.KNeighborsRegressor",
            "dense",
            "neighbors_model:fit_neighbors",
            weighs=False,
            max_rows=5_000,  # every prediction compares with every training row, in each of the folds' models
        ),
        Family(
            "kernel",
            *_LINEAR,
            "dense",
            "kernel_model:fit_kernel",
            extra=("kernel", "width", "n_components"),
            class_parameters=False,
            max_rows=20_000,  # a row is compared with a thousand others, in each of the folds' models
        ),
        Family(
            "mlp",
            "sklearn.neural_network.MLPClassifier",
            "sklearn.neural_network.MLPRegressor",
            "dense",
            "mlp_model:fit_mlp",
            {"max_iter": 60, "n_iter_no_change": 8},
            # Gradient steps are sized for targets around 1 (see `fit_model`).
            max_rows=200_000,
        ),
    )
}


def resolve(model: str, pickled_class: bytes | None, task: TaskType) -> Resolved:
    """Import the model of a search entry or candidate. Only in task processes.

    Raises:
        InvalidRequest: ``unknown-model``, ``wrong-model-type``, ``missing-extra``.
    """
    family = FAMILIES.get(model) if pickled_class is None else None
    if family is not None:
        path = family.path(task)
        if not path:
            raise InvalidRequest(
                f"The model {model!r} is not one for {task.value}.", code="wrong-model-type", hint="Use 'linear'."
            )
        if family.name == "catboost":
            from rayctl.automl.tabular.catboost_model import require_catboost

            require_catboost()
        return Resolved(model, estimators.load_class(path), family.view, family)
    if pickled_class is None and "." not in model:
        raise estimators.unknown_model(model, FAMILIES)
    cls = estimators.load_class(model, pickled_class, FAMILIES)
    estimators.check_methods(cls, model)
    _check_type(cls, model, task)
    return Resolved(model, cls, "dense", None)


def _check_type(cls: type, model: str, task: TaskType) -> None:
    """Refuse a scikit-learn regressor for classification and the other way round; unknown types pass."""
    wanted = "classifier" if task is TaskType.CLASSIFICATION else "regressor"
    from sklearn.base import ClassifierMixin, RegressorMixin

    wrong, right = (RegressorMixin, ClassifierMixin) if wanted == "classifier" else (ClassifierMixin, RegressorMixin)
    if issubclass(cls, wrong) and not issubclass(cls, right):
        raise InvalidRequest(
            f"The model {model!r} is not a {wanted}; the task is {task.value}.",
            code="wrong-model-type",
            hint=f"Name a class that is a {wanted}, or change the task.",
        )
