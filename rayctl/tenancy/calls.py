"""Functions and classes of users, made to run as calls of a tenant.

A function of one tenant has its envelope with it: Ray sends both to a worker once, and a call costs nothing more. What
serves several tenants (actors, the tasks of the AutoML service) takes the envelope of each call as one hidden keyword
argument, so that plain callers, who know nothing of it, can call the same actor: their calls belong to the tenant that
created it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rayctl.tenancy.current import current_envelope, serving

__all__ = ["ENVELOPE", "belonging", "carrying", "carrying_class"]

ENVELOPE = "rayctl_envelope_"
"""Name of the hidden keyword argument."""

_OWN = "_rayctl_own_envelope"


def belonging(function: Callable[..., Any], envelope: bytes) -> Callable[..., Any]:
    """Return a function that runs ``function`` as a call of the tenant whose envelope this is."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in functions have none
        signature = FUNCTION
    return _wrapped(function, lambda args, kwargs: envelope, signature)


def carrying(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs ``function`` as a call of the tenant whose envelope is handed along."""
    return _wrapped(function, lambda args, kwargs: kwargs.pop(ENVELOPE, None))


def carrying_class(cls: type) -> type:
    """Return a subclass for an actor: its construction and every call of it belong to the tenant that asked for it.

    Calls without an envelope belong to the tenant that created the actor.
    """

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        own = kwargs.pop(ENVELOPE, None)
        object.__setattr__(self, _OWN, own)
        with serving(own):
            cls.__init__(self, *args, **kwargs)  # type: ignore[misc]

    def envelope_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
        # A method that calls another one stays with the call that it is part of.
        return kwargs.pop(ENVELOPE, None) or current_envelope() or getattr(args[0], _OWN, None)

    methods = {name: _wrapped(method, envelope_of, METHOD) for name, method in _methods(cls).items()}
    return type(
        cls.__name__, (cls,), {**methods, "__init__": init, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    )


def _methods(cls: type) -> Mapping[str, Callable[..., Any]]:
    """Methods that can be called on an actor; those that begin with two underscores are Python's, but for __call__."""
    found = {}
    for name, member in inspect.getmembers_static(cls) if hasattr(inspect, "getmembers_static") else _static(cls):
        if inspect.isfunction(member) and (not name.startswith("__") or name == "__call__"):
            found[name] = member
    return found


def _static(cls: type) -> Iterator[tuple[str, Any]]:
    """Python 3.10 has no getmembers_static."""
    for name in dir(cls):
        yield name, inspect.getattr_static(cls, name)


_ARGUMENTS = (
    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
)
_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
FUNCTION, METHOD = inspect.Signature(_ARGUMENTS), inspect.Signature((_SELF, *_ARGUMENTS))


def _wrapped(
    function: Callable[..., Any],
    envelope_of: Callable[[tuple[Any, ...], dict[str, Any]], bytes | None],
    signature: inspect.Signature = FUNCTION,
) -> Callable[..., Any]:
    call: Callable[..., Any]
    if inspect.isasyncgenfunction(function):

        async def call(*args: Any, **kwargs: Any) -> Any:
            envelope = envelope_of(args, kwargs)
            items = function(*args, **kwargs)
            try:
                # Step by step: between two steps the process may serve others, and the end may come from elsewhere.
                while True:
                    with serving(envelope):
                        try:
                            item = await anext(items)
                        except StopAsyncIteration:
                            return
                    yield item
            finally:
                with serving(envelope):
                    await items.aclose()

    elif inspect.iscoroutinefunction(function):

        async def call(*args: Any, **kwargs: Any) -> Any:
            with serving(envelope_of(args, kwargs)):
                return await function(*args, **kwargs)

    elif inspect.isgeneratorfunction(function):

        def call(*args: Any, **kwargs: Any) -> Any:
            envelope = envelope_of(args, kwargs)
            items = function(*args, **kwargs)
            try:
                while True:
                    with serving(envelope):
                        try:
                            item = next(items)
                        except StopIteration:
                            return
                    yield item
            finally:
                with serving(envelope):
                    items.close()

    else:

        def call(*args: Any, **kwargs: Any) -> Any:
            with serving(envelope_of(args, kwargs)):
                return function(*args, **kwargs)

    functools.update_wrapper(call, function)
    # Ray checks arguments against the signature, and would find the one of the wrapped function. Of a method it drops
    # the first parameter.
    vars(call).pop("__wrapped__", None)
    vars(call)["__signature__"] = signature
    return call
