"""Why a task gave nothing: what its code raised, or what Ray says of it."""

from __future__ import annotations

from dataclasses import dataclass

from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, RuntimeEnvSetupError

from rayctl.errors import RayctlError

__all__ = ["TaskFailure", "failure_of", "failure_of_task"]


@dataclass(frozen=True)
class TaskFailure:
    """Why a trial's task failed: an error code of `TrialError` and a text for the leaderboard."""

    code: str
    message: str

    @property
    def as_error(self) -> dict[str, str]:
        """The form that leaderboard rows carry."""
        return {"code": self.code, "message": self.message}


def failure_of(error: BaseException) -> TaskFailure:
    """Say why a trial failed by what it raised."""
    if isinstance(error, RayctlError):
        return TaskFailure(error.code, error.message)
    return TaskFailure("model-error", f"{type(error).__name__}: {error}"[:500])


def failure_of_task(error: BaseException) -> TaskFailure:
    """Say why waiting for a task failed: the environment, memory, the caller's data, or a dead worker."""
    if isinstance(error, RuntimeEnvSetupError):
        return TaskFailure("environment-error", f"The runtime environment could not be built: {error.error_message}")
    if isinstance(error, OutOfMemoryError):
        return TaskFailure("out-of-memory", "The worker was stopped because its node ran out of memory.")
    if isinstance(error, RayTaskError):
        return failure_of(error.cause)
    if not isinstance(error, RayError):
        return failure_of(error)
    return TaskFailure("worker-died", f"The worker process died ({type(error).__name__}).")
