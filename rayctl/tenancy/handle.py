"""`TenantContext`: Ray's functions, actors and results for one tenant; without a tenant it is plain Ray."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

from rayctl.errors import InvalidRequest, RayctlError
from rayctl.tenancy.calls import ENVELOPE, belonging, carrying_class
from rayctl.tenancy.current import current_config, current_envelope
from rayctl.tenancy.environment import merged
from rayctl.tenancy.model import TenantConfig

__all__ = ["TenantActor", "TenantActorClass", "TenantContext", "TenantFunction", "current_context"]

_IN_FLIGHT = 1000
_KEPT = 128


class TenantContext:
    """Starts work that carries one tenant's configuration and runs in its environment.

    Args:
        config: The tenant's configuration; None: plain Ray.
        envelope: The same as bytes, for the calls.
        runtime_env: Ray's runtime environment of the tenant's processes; None: inherit, or the cluster's own.
    """

    def __init__(
        self,
        config: TenantConfig | None = None,
        envelope: bytes | None = None,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.envelope = envelope
        self.runtime_env = None if runtime_env is None else dict(runtime_env)
        self._submitted: OrderedDict[Callable[..., Any], Any] = OrderedDict()

    def remote(self, target: Any = None, **options: Any) -> Any:
        """Make a function or a class remote: ``ctx.remote(f)``, ``ctx.remote(f, num_cpus=2)``, ``@ctx.remote``.

        What comes back has ``.remote(...)`` and ``.options(...)``, as Ray's own does.

        Raises:
            InvalidRequest: it is neither a function nor a class.
        """
        if target is None:
            return lambda later: self.remote(later, **options)
        import ray

        if not isinstance(target, type) and not callable(target):
            raise InvalidRequest(f"{target!r} is neither a function nor a class.", code="not-remote")
        if self.envelope is None:
            return ray.remote(**options)(target) if options else ray.remote(target)
        own = self.config.defaults.options() if self.config is not None else {}
        if isinstance(target, type):
            own.pop("max_retries", None)
            return TenantActorClass(self, ray.remote(carrying_class(target)), {**own, **options})
        return TenantFunction(self, ray.remote(belonging(target, self.envelope)), {**own, **options})

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Start one call of a function; returns Ray's reference to its result.

        As with ``ray.remote``, a function is sent to the cluster when it is first called, and not again. What holds
        values of its own (methods, functions within functions, callable objects) is sent with each call, as it is then.

        Raises:
            InvalidRequest: it is no function.
        """
        return self._known(function).remote(*args, **kwargs)

    def _known(self, function: Callable[..., Any]) -> Any:
        """Return the remote form of a function, made once where that is safe: sending it costs more than a call."""
        if isinstance(function, type):
            raise InvalidRequest(
                f"{function!r} is a class, not a function.", code="not-remote", hint="Start an actor with ctx.actor."
            )
        if not isinstance(function, FunctionType) or function.__closure__ is not None:
            return self.remote(function)
        found = self._submitted.get(function)
        if found is None:
            found = self._submitted[function] = self.remote(function)
            if len(self._submitted) > _KEPT:
                self._submitted.popitem(last=False)
        return found

    def map(
        self, function: Callable[..., Any], *items: Iterable[Any], in_flight: int = _IN_FLIGHT, **options: Any
    ) -> Iterator[Any]:
        """Yield the results of a function for all items, in their order; at most ``in_flight`` are under way.

        Several iterables are walked together, like the built-in ``map``. The first error is raised where its result
        would have been; what is under way then is cancelled, as it is when the caller stops early.
        """
        import ray

        call = self.remote(function, **options) if options else self._known(function)
        waiting: deque[Any] = deque()
        try:
            for arguments in zip(*items, strict=False):
                waiting.append(call.remote(*arguments))
                if len(waiting) >= max(1, in_flight):
                    yield _get(waiting.popleft())
            while waiting:
                yield _get(waiting.popleft())
        finally:
            for reference in waiting:
                ray.cancel(reference)

    def actor(self, cls: type, *args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        """Start an actor. ``options``: Ray's (name, lifetime, num_cpus, …)."""
        return self.remote(cls, **(options or {})).remote(*args, **kwargs)

    def get_actor(self, name: str, namespace: str | None = None) -> Any:
        """Return a handle of a named actor whose calls carry this tenant's configuration.

        Raises:
            ValueError: there is no such actor (as Ray says it).
        """
        import ray

        return self.wrap(ray.get_actor(name, namespace=namespace))

    def wrap(self, handle: Any) -> Any:
        """Return a handle of the same actor whose calls carry this tenant's configuration."""
        plain = handle.plain if isinstance(handle, TenantActor) else handle
        return plain if self.envelope is None else TenantActor(plain, self.envelope)

    def put(self, value: Any) -> Any:
        """Put a value into the object store; returns Ray's reference."""
        import ray

        return ray.put(value)

    def get(self, references: Any, *, timeout: float | None = None) -> Any:
        """Return the values of references, as ``ray.get`` does.

        An error of rayctl's own that a call ended with is raised as it was, with its ``code`` and ``hint``.
        """
        return _get(references, timeout)

    def options_with(self, options: Mapping[str, Any], num_cpus: float) -> dict[str, Any]:
        """Return Ray's options for a call of this tenant. ``num_cpus``: what Ray reserves if they do not say it.

        Raises:
            InvalidRequest: ``over-tenant-limit``.
        """
        if self.config is not None:
            self.config.check_limits({"num_cpus": num_cpus, **options})
        env = merged(self.runtime_env, options.get("runtime_env"))
        found = {name: value for name, value in options.items() if name != "runtime_env"}
        return found if env is None else {**found, "runtime_env": env}

    def __reduce__(self) -> Any:
        # Without the functions that were sent: who receives this may start them anew.
        return TenantContext, (self.config, self.envelope, self.runtime_env)

    def __repr__(self) -> str:
        return f"<TenantContext {self.config.tenant if self.config is not None else 'of no tenant'}>"


def _get(references: Any, timeout: float | None = None) -> Any:
    import ray
    from ray.exceptions import RayTaskError

    try:
        return ray.get(references, timeout=timeout)
    except RayTaskError as error:
        if isinstance(error.cause, RayctlError):
            raise error.cause from error
        raise


class TenantFunction:
    """A remote function whose calls carry a tenant's configuration."""

    def __init__(self, context: TenantContext, function: Any, options: Mapping[str, Any]) -> None:
        self._context = context
        self._function = function
        self._options = dict(options)
        ready = context.options_with(self._options, num_cpus=1)
        self._ready = function.options(**ready) if ready else function

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Start a call; returns Ray's reference (or several, or a generator of them) to its result."""
        return self._ready.remote(*args, **kwargs)

    def options(self, **options: Any) -> TenantFunction:
        """Return the same function with other options of Ray."""
        return TenantFunction(self._context, self._function, {**self._options, **options})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("A remote function is started with .remote(...), not called.")

    def __reduce__(self) -> Any:
        return TenantFunction, (self._context, self._function, self._options)


class TenantActorClass:
    """An actor class whose instances belong to a tenant."""

    def __init__(self, context: TenantContext, cls: Any, options: Mapping[str, Any]) -> None:
        self._context = context
        self._cls = cls
        self._options = dict(options)

    def remote(self, *args: Any, **kwargs: Any) -> TenantActor:
        """Start an actor; returns its handle."""
        ready = self._context.options_with(self._options, num_cpus=0)
        cls = self._cls.options(**ready) if ready else self._cls
        # Its calls belong to this tenant unless they say otherwise, so the calls of this handle need not say anything.
        return TenantActor(cls.remote(*args, **kwargs, **{ENVELOPE: self._context.envelope}))

    def options(self, **options: Any) -> TenantActorClass:
        """Return the same class with other options of Ray."""
        return TenantActorClass(self._context, self._cls, {**self._options, **options})


class TenantActor:
    """A handle of an actor; its calls carry the configuration of the tenant whose handle this is.

    It can be passed to tasks and actors. ``plain`` is Ray's own handle, for ``ray.kill`` and the like. ``envelope``:
    what calls are handed; None: nothing, so that they belong to the tenant that created the actor.
    """

    def __init__(self, plain: Any, envelope: bytes | None = None) -> None:
        self.plain = plain
        self._envelope = envelope

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self.plain, name)
        return method if self._envelope is None else _Method(method, self._envelope)

    def __reduce__(self) -> Any:
        return TenantActor, (self.plain, self._envelope)

    def __repr__(self) -> str:
        return f"<TenantActor {self.plain!r}>"


class _Method:
    def __init__(self, method: Any, envelope: bytes) -> None:
        self._method = method
        self._envelope = envelope

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Start a call; returns Ray's reference to its result."""
        return self._method.remote(*args, **kwargs, **{ENVELOPE: self._envelope})

    def options(self, **options: Any) -> _Method:
        """Return the same method with other options of Ray."""
        return _Method(self._method.options(**options), self._envelope)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("An actor's method is started with .remote(...), not called.")


def current_context() -> TenantContext:
    """Return the context of the call at hand: what it starts carries the same configuration.

    The environment needs no mention, because Ray lets the parts of a call inherit it. Outside of a tenant's call it is
    plain Ray.
    """
    envelope = current_envelope()
    return TenantContext() if envelope is None else TenantContext(current_config(), envelope)
