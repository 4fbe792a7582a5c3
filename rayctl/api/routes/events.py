"""The event stream of a run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from rayctl.api.deps import Caller, RunId, Service
from rayctl.api.sse import StreamSlots, event_stream, is_ended, last_seen

__all__ = ["router"]

router = APIRouter(tags=["runs"])

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get(
    "/v1/runs/{run_id}/events",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "The run has ended and the reader has seen everything: do not come back."},
    },
)
async def events(
    request: Request,
    run_id: RunId,
    service: Service,
    caller: Caller,
    after: Annotated[int, Query(ge=0, lt=10**15, description="Only events with a larger id.")] = 0,
    last_event_id: Annotated[
        str | None, Header(description="The last id that was seen; counts more than `after`.")
    ] = None,
) -> Response:
    """Follow a run: events `state`, `trial`, `leaderboard`, `ensemble`, `log` and at last `done`.

    Each has a growing id. Resume with the header `Last-Event-ID`. Going away does not cancel the run.
    """
    slots: StreamSlots = request.app.state.slots
    slots.check()
    seen = last_seen(last_event_id, after)
    ended = is_ended(await service.get_run(run_id, tenant=caller.tenant))
    first = await service.events(run_id, after=seen, tenant=caller.tenant)
    if ended and not first:
        return Response(status_code=204)
    stream = event_stream(
        service,
        run_id,
        first=first,
        after=seen,
        ended=ended,
        tenant=caller.tenant,
        slots=slots,
        instance=request.url.path,
        trace_id=request.state.trace_id,
    )
    return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)
