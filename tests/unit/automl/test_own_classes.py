"""A caller's class that came as bytes: kept while it is as it was sent, and pickled as the bytes that it came as."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import cloudpickle
import numpy as np
import pytest

from rayctl.automl import own_classes


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_classes, "_loaded", type(own_classes._loaded)())


def sent(source: str, name: str = "Mine") -> bytes:
    """Return a class or function of a script of somebody else's, by value."""
    script = f"import sys, cloudpickle\n{textwrap.dedent(source)}\nsys.stdout.buffer.write(cloudpickle.dumps({name}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=60)
    return done.stdout


PLAIN = """
    import numpy as np

    def helper(x):
        return np.mean(x) + SHIFT

    SHIFT = 1.5

    class Base:
        SCALE = (1.0, "a")

    class Mine(Base):
        def __init__(self, a=1):
            super().__init__()
            self.a = a
            self.seen = None

        @property
        def double(self):
            return 2 * self.a

        @staticmethod
        def zero():
            return 0

        def fit(self, x, y):
            self.seen = helper(x)
            return self
"""


@pytest.fixture(scope="module")
def plain() -> bytes:
    return sent(PLAIN)


def test_a_class_is_loaded_once_and_its_objects_carry_the_bytes_that_it_came_as(plain: bytes) -> None:
    cls = own_classes.load(plain)
    assert own_classes.load(bytes(plain)) is cls
    fitted = cls(a=3).fit(np.ones(4), None)
    data = own_classes.dumps({"model": fitted, "cls": cls})
    assert plain in data
    again = cloudpickle.loads(data)
    assert type(again["model"]) is again["cls"]
    assert (again["model"].seen, again["model"].double, again["model"].zero()) == (2.5, 6, 0)
    assert plain in own_classes.dumps(fitted)  # pickling it leaves its traces in the class
    assert own_classes.load(plain) is cls
    assert own_classes._loaded[plain].is_as_sent


def test_they_load_in_a_process_that_never_saw_the_class(plain: bytes) -> None:
    data = own_classes.dumps(own_classes.load(plain)(a=4))
    script = "import sys, cloudpickle; print(cloudpickle.loads(sys.stdin.buffer.read()).double)"
    done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True, timeout=60)
    assert done.stdout.split() == [b"8"]


CHANGES: dict[str, Any] = {
    "an attribute": lambda cls: setattr(cls, "SCALE", (2.0, "a")),
    "an attribute of its base": lambda cls: setattr(cls.__base__, "SCALE", (2.0, "a")),
    "a method": lambda cls: setattr(cls, "fit", lambda self, x, y: self),
    "a global variable": lambda cls: cls.fit.__globals__.update(helper=None),
    "a global variable of a helper": lambda cls: cls.fit.__globals__["helper"].__globals__.update(SHIFT=7.0),
    "an attribute of a function": lambda cls: setattr(cls.fit, "calls", 1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_class_that_a_fit_has_changed_is_loaded_anew_and_a_model_keeps_the_change(plain: bytes, change: Any) -> None:
    cls = own_classes.load(plain)
    change(cls)
    data = own_classes.dumps(cls())
    assert plain not in data
    assert data == cloudpickle.dumps(cls())
    fit = own_classes.load(plain).fit
    assert fit(own_classes.load(plain)(), np.ones(2), None).seen == 2.5
    assert not fit.__dict__


MUTABLE = {
    "a list": "class Mine:\n    cache = []",
    "a dictionary that a method uses": "d = {}\nclass Mine:\n    def fit(self):\n        d[1] = 2",
    "a dictionary of a helper": "d = {}\ndef f():\n    d[1] = 2\nclass Mine:\n    def fit(self):\n        f()",
    "a dictionary in a closure": "def make():\n  d = {}\n  class Mine:\n    def fit(self):\n      d[1] = 2"
    "\n  return Mine\nMine = make()",
    "a default": "class Mine:\n    def fit(self, d=[]):\n        d.append(1)",
    "an array": "import numpy as np\nclass Mine:\n    weights = np.zeros(3)",
    "an object": "class Other:\n    pass\nclass Mine:\n    other = Other()",
    "a list in a tuple": "class Mine:\n    both = (1, [])",
    "another kind of class": "class Meta(type):\n    pass\nclass Mine(metaclass=Meta):\n    pass",
}


@pytest.mark.parametrize("source", MUTABLE.values(), ids=MUTABLE)
def test_what_can_change_in_place_is_not_kept(source: str) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(source, namespace)  # noqa: S102 (the class of somebody else)
    pickled = cloudpickle.dumps(namespace["Mine"])
    cls = own_classes.load(pickled)
    assert not own_classes._loaded
    assert pickled not in own_classes.dumps(cls())


def test_what_can_be_imported_is_no_concern_of_it() -> None:
    pickled = cloudpickle.dumps(textwrap.TextWrapper)
    assert own_classes.load(pickled) is textwrap.TextWrapper
    assert not own_classes._loaded


def test_estimators_of_scikit_learn_style_and_functions_are_kept() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    source = """
    from sklearn.base import BaseEstimator, RegressorMixin
    import numpy as np
    class Mine(RegressorMixin, BaseEstimator):
        def __init__(self, a: int = 1) -> None:
            self.a = a
        def fit(self, X, y, sample_weight=None):
            self.mean_ = np.exp(np.mean(y))
            return self
        def predict(self, X):
            return np.full(len(X), self.mean_)
    def loss(truth, predicted):
        return float(np.abs(truth - predicted).mean())
    """
    exec(textwrap.dedent(source), namespace)  # noqa: S102 (the class of somebody else)
    for name in ("Mine", "loss"):
        pickled = cloudpickle.dumps(namespace[name])
        assert own_classes.load(pickled) is own_classes.load(pickled)
    assert len(own_classes._loaded) == 2


def test_only_the_last_few_are_kept() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number in range(own_classes._MOST + 3):
        exec(f"class Mine{number}:\n    pass", namespace)  # noqa: S102 (the class of somebody else)
        own_classes.load(cloudpickle.dumps(namespace[f"Mine{number}"]))
    assert len(own_classes._loaded) == own_classes._MOST
