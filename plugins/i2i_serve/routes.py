"""The routes of the HTTP API: models, jobs, health and metrics; those that compute are in `computing`."""

from __future__ import annotations

import asyncio
import difflib
import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from .jobs import Job, Result
from .limits import Refusal
from .schema import Abilities, CardOf, Error, Health, JobState, Picture
from .server import State

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": text}
    for status, text in {
        400: "The request is malformed.",
        401: "A token is needed.",
        403: "The request came from elsewhere.",
        404: "There is no such thing.",
        413: "Too many bytes.",
        415: "Not a type that is possible.",
        422: "What was asked for is not possible.",
        429: "Too many jobs of one client.",
        503: "The server is busy, starting or stopping, or the model failed; try again after Retry-After seconds.",
    }.items()
}
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
JobId = Annotated[str, Path(max_length=200, description="Of a job: 32 hexadecimal digits.")]
router = APIRouter(responses=ERRORS)


def state_of(request: Request) -> State:
    """Return the state of the server."""
    state: State = request.app.state.server
    return state


@router.get("/healthz", response_model=Health, summary="Whether the server works")
async def health(request: Request) -> Response:
    """Answer 200 if pictures can be translated now, else 503."""
    state = state_of(request)
    status = "stopping" if state.queue.stopping else "ok" if state.worker.ready.is_set() else "starting"
    return JSONResponse(
        {"status": status}, 200 if status == "ok" else 503, None if status == "ok" else {"Retry-After": "3"}
    )


@router.get("/metrics", response_class=PlainTextResponse, summary="Numbers for Prometheus")
async def metrics(request: Request) -> PlainTextResponse:
    """Return counters and gauges in the text format of Prometheus."""
    state = state_of(request)
    queue = state.queue
    return PlainTextResponse(
        state.counts.text(
            {
                "i2i_queue_jobs": ("Jobs that wait.", len(queue)),
                "i2i_running_jobs": ("Jobs that are being computed.", queue.running is not None),
                "i2i_held_bytes": ("Bytes of uploads and results in memory.", queue.budget.held),
                "i2i_kept_jobs": ("Jobs whose state can be asked for.", len(queue.jobs)),
            }
        ),
        media_type="text/plain; version=0.0.4",
    )


@router.get("/v1/models", summary="The models")
async def models(request: Request) -> list[CardOf]:
    """Return a card of each model: what it does, takes and makes, its scale and licence."""
    return [CardOf(**card) for card in state_of(request).worker.models.values()]


@router.get("/v1/models/{name:path}", summary="One model, and what it can do")
async def model(request: Request, name: Annotated[str, Path(max_length=200)]) -> Abilities:
    """Return the card of a model with its conditions, classes and latent space."""
    state = state_of(request)
    known = card(state, name)
    if name not in state.abilities:
        with state.queue.budget.account() as account:
            job = state.queue.add("describe", name, {}, {}, client_of(request), account)
        await ended(request, job)
        error, found = job.error, job.data
        state.queue.forget(job)
        if error or found is None:
            raise error or Refusal(404, "The client has gone.")
        state.abilities[name] = found
    return Abilities(**{**state.abilities[name], **known})


@router.get("/v1/jobs/{id}", summary="A job")
async def job_of(
    request: Request,
    id: JobId,
    wait: Annotated[float, Query(ge=0, le=20, description="Seconds to wait for the end of the job, at most.")] = 0,
) -> JobState:
    """Return the state of a job, and where its results are."""
    state = state_of(request)
    job = state.queue.get(id)
    if wait and not job.done.is_set():
        await ended(request, job, wait)
    return shown(state, job)


@router.get(
    "/v1/jobs/{id}/results/{number}",
    response_class=Response,
    summary="A result of a job",
    responses={200: {"content": {kind: {} for kind in SUFFIXES}, "description": "A picture or clip."}},
)
async def result(request: Request, id: JobId, number: Annotated[int, Path(ge=0, le=1000)]) -> Response:
    """Return a picture, or a clip as a GIF."""
    job = state_of(request).queue.get(id)
    if number >= len(job.results):
        raise Refusal(404, f"The job is {job.state} and has {len(job.results)} results.")
    return file(job.results[number])


@router.delete("/v1/jobs/{id}", status_code=204, summary="Cancel or forget a job")
async def forget(request: Request, id: JobId) -> Response:
    """Cancel a job that waits, and forget its upload and results."""
    queue = state_of(request).queue
    queue.forget(queue.get(id))
    return Response(status_code=204)


def card(state: State, name: str) -> dict[str, Any]:
    """Return the card of a model. Raises: Refusal, there is none of this name."""
    found = state.worker.models.get(name)
    if found is None:
        near = difflib.get_close_matches(name, state.worker.models, n=1)
        meant = f", did you mean {near[0]}?" if near else ";"
        raise Refusal(404, f"There is no such model{meant} GET /v1/models lists all models.")
    return found


def client_of(request: Request) -> str:
    """Return the address of a client."""
    return request.client.host if request.client else ""


def file(result: Result) -> Response:
    """Return a picture as an answer, with a type and a name of ours."""
    name = f"result.{SUFFIXES[result.type]}"
    return Response(result.content, 200, {"Content-Disposition": f'attachment; filename="{name}"'}, result.type)


def shown(state: State, job: Job) -> JobState:
    """Return the state of a job for a client."""
    results = [
        Picture(
            url=f"/v1/jobs/{job.id}/results/{n}", type=r.type, width=r.width, height=r.height, bytes=len(r.content)
        )
        for n, r in enumerate(job.results)
    ]
    return JobState(
        id=job.id,
        state=job.state,
        before=state.queue.place(job),
        error=job.error.sentence if job.error else None,
        data=job.data,
        results=results,
    )


async def ended(request: Request, job: Job, seconds: float | None = None) -> bool:
    """Wait until a job has ended; return whether it has, or the client has gone, or the time is over."""
    done = asyncio.ensure_future(job.done.wait())
    gone = asyncio.ensure_future(disconnected(request))
    job.watchers += 1
    try:
        await asyncio.wait({done, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return job.done.is_set()
    finally:
        done.cancel()
        gone.cancel()
        job.watchers -= 1
        job.seen = time.monotonic()


async def disconnected(request: Request) -> None:
    """Return when the client has gone; the body of the request must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
