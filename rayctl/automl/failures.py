"""Why a task gave nothing: what its code raised, or what Ray says of it."""

from __future__ import annotations

from dataclasses import dataclass

from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, RuntimeEnvSetupError

from rayctl.errors import RayctlError

__all__ = ["TaskFailure", "failure_of", "failure_of_task"]


@dataclass(frozen=True)
class TaskFailure:
    """Why a trial's task failed: an error code of `TrialError`, a text for the leaderboard, and what to do about it."""

    code: str
    message: str
    hint: str | None = None

    @property
    def as_error(self) -> dict[str, str]:
        """The form that leaderboard rows carry."""
        told = {"code": self.code, "message": self.message}
        return told if self.hint is None else {**told, "hint": self.hint}


def failure_of(error: BaseException) -> TaskFailure:
    """Say why a trial failed by what it raised."""
    if isinstance(error, RayctlError):
        return TaskFailure(error.code, error.message, error.hint)
    return TaskFailure("model-error", f"{type(error).__name__}: {error}"[:500])


def failure_of_task(error: BaseException) -> TaskFailure:
    """Say why waiting for a task failed: the environment, memory, the caller's data, or a dead worker."""
    if isinstance(error, RuntimeEnvSetupError):
        text = f"The runtime environment could not be built: {error.error_message}"
        return TaskFailure("environment-error", text, "Check the packages and options of runtime_env.")
    if isinstance(error, OutOfMemoryError):
        text = "The worker was stopped because its node ran out of memory."
        return TaskFailure("out-of-memory", text, "Use a smaller model, or fewer tasks at once (max_parallel).")
    if isinstance(error, RayTaskError):
        return failure_of(error.cause)
    if not isinstance(error, RayError):
        return failure_of(error)
    text = f"The worker process died ({type(error).__name__})."
    return TaskFailure("worker-died", text, "If it happens again, leave the model out: it crashes its process.")
