"""The routes that compute: translate, sample and the latent space.

With `wait` (the default) the answer is the picture, or the finished job if there are several; a client that leaves
cancels its job. Without, it is the job, and GET /v1/jobs/{id} says how far it is.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.responses import JSONResponse, Response

from i2i import DataError, images
from i2i.modalities import Image

from .form import Form, read_form, unknown
from .limits import ADVICE, Account, Refusal
from .routes import ERRORS, card, client_of, ended, file, shown, state_of
from .schema import Conditions, Decode, Directions, Draw, Error, Format, JobState, Sample
from .server import State

WANTED = {  # by the type of an error of pydantic
    "bool_type": "be true or false",
    "bool_parsing": "be true or false",
    "string_type": "be text",
    "int_type": "be a whole number",
    "int_parsing": "be a whole number",
    "int_from_float": "be a whole number",
    "float_type": "be a number",
    "float_parsing": "be a number",
    "finite_number": "be a finite number",
    "list_type": "be a list",
    "dict_type": 'be an object such as {{"direction": "BtoA"}}',
    "literal_error": "be {expected}",
    "greater_than_equal": "be at least {ge}",
    "less_than_equal": "be at most {le}",
    "string_too_long": "have at most {max_length} characters",
    "too_long": "have at most {max_length} entries",
    "too_short": "have at least {min_length} entries",
}
Read = TypeVar("Read", bound=BaseModel)
PICTURES = {
    f"image/{kind}": {"schema": {"type": "string", "format": "binary"}} for kind in ("png", "jpeg", "webp", "gif")
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    200: {"model": JobState, "content": PICTURES, "description": "The picture, or the job if there are several."},
    202: {"model": JobState, "description": "The job, with wait = false."},
    503: {**ERRORS[503], "model": Error},
}
router = APIRouter(responses=ANSWERS)


class Translate(BaseModel):
    """The fields of a translation beside the files."""

    model: str = Field(max_length=200)
    text: str | None = Field(None, max_length=10_000)
    conditions: Conditions
    format: Format | None = None
    wait: bool = True


def form_of(properties: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    """Return the description of a form for the OpenAPI."""
    schema = {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}
    encoding = {"conditions": {"contentType": "application/json"}} if "conditions" in properties else {}
    content = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
    return {"requestBody": {"required": True, "content": content}}


FILE = {"type": "string", "format": "binary"}
NAME = {"type": "string", "maxLength": 200, "description": "A name of GET /v1/models.", "example": "upscale-x2"}
WAIT = {"type": "string", "enum": ["true", "false"], "default": "true"}
TRANSLATE = form_of(
    {
        "model": NAME,
        "picture": {**FILE, "description": "The picture, label map or clip."},
        "text": {"type": "string", "maxLength": 10_000, "description": "The caption, for text to image."},
        "style": {**FILE, "description": "A picture, for a model with the condition style."},
        "instance": {**FILE, "description": "An instance map, for a model with the condition instance."},
        "conditions": {"type": "string", "description": 'Other conditions as JSON, such as {"direction": "BtoA"}.'},
        "format": {
            "type": "string",
            "enum": ["png", "jpeg", "webp", "gif"],
            "description": "By default png, and gif for animations, which jpeg cannot be; only they can be gif.",
        },
        "wait": WAIT,
    },
    ["model"],
)
ENCODE = form_of({"model": NAME, "picture": FILE, "wait": WAIT}, ["model", "picture"])


@router.post("/v1/translate", summary="Translate a picture, label map, clip or caption", openapi_extra=TRANSLATE)
async def translate(request: Request) -> Response:
    """Translate one upload, or one caption."""
    state = state_of(request)
    state.queue.room(client_of(request))
    texts, files = ("model", "text", "conditions", "format", "wait"), ("picture", "style", "instance")
    with state.queue.budget.account() as account:
        form = await read_form(request, texts, files, state.limits, account)
        asked = read(Translate, form)
        takes = card(state, asked.model)["takes"]
        for name, content in form.files.items():
            await check(content, state, "image" if name != "picture" else takes)
        options = asked.model_dump(exclude={"model", "wait"})
        return await computed(request, "translate", asked.model, options, form.files, account, asked.wait)


@router.post("/v1/sample", summary="Make new pictures")
async def sample(request: Request, asked: Sample) -> Response:
    """Make `n` new pictures, of a class or a caption if the model has these conditions."""
    return await of_json(request, "sample", asked)


@router.post("/v1/latent/encode", summary="The latent code of a picture", openapi_extra=ENCODE)
async def encode(request: Request) -> Response:
    """Return a job whose data is a list of one code."""
    state = state_of(request)
    state.queue.room(client_of(request))
    with state.queue.budget.account() as account:
        form = await read_form(request, ("model", "wait"), ("picture",), state.limits, account)
        asked = read(Translate, form)
        card(state, asked.model)
        if "picture" not in form.files:
            raise Refusal(422, "The field picture is missing: send a file.")
        await check(form.files["picture"], state, "image")
        return await computed(request, "encode", asked.model, {}, form.files, account, asked.wait)


@router.post("/v1/latent/draw", summary="New latent codes")
async def draw(request: Request, asked: Draw) -> Response:
    """Return a job whose data is a list of `n` codes."""
    return await of_json(request, "draw", asked)


@router.post("/v1/latent/decode", summary="The pictures of latent codes")
async def decode(request: Request, asked: Decode) -> Response:
    """Return the picture of each code."""
    return await of_json(request, "decode", asked)


@router.post("/v1/latent/directions", summary="The directions of attributes")
async def directions(request: Request, asked: Directions) -> Response:
    """Return a job whose data describe the directions of attributes.

    They have "attributes", their "vectors", which are added to a code, and their "fit". A model that cannot encode
    also has "agreement", how well each attribute can be predicted from pictures (a correlation), and "refused", a
    sentence for each attribute without a direction. Learning can take a minute, and is done once for each model.
    """
    return await of_json(request, "directions", asked)


async def of_json(request: Request, do: str, asked: Any) -> Response:
    """Compute what a request of JSON asks for."""
    state = state_of(request)
    card(state, asked.model)
    options = asked.model_dump(exclude={"model", "wait"})
    with state.queue.budget.account() as account:
        return await computed(request, do, asked.model, options, {}, account, asked.wait)


async def computed(
    request: Request,
    do: str,
    model: str,
    options: Mapping[str, Any],
    blobs: Mapping[str, bytes],
    account: Account,
    wait: bool,
) -> Response:
    """Let a job wait; return its result if the client waits for it, else the job."""
    state = state_of(request)
    job = state.queue.add(do, model, options, blobs, client_of(request), account)
    if not wait:
        return JSONResponse(shown(state, job).model_dump(), 202, {"Location": f"/v1/jobs/{job.id}"})
    kept = False
    try:
        if not await ended(request, job):
            raise Refusal(503, "The client has gone.", 1)
        if job.error is not None:
            raise job.error
        if len(job.results) == 1:
            return file(job.results[0])
        kept = len(job.results) > 1
        return JSONResponse(shown(state, job).model_dump())
    finally:
        if not kept:
            state.queue.forget(job)


def read(kind: type[Read], form: Form) -> Read:
    """Return the texts of a form, checked. Raises: Refusal, one is not possible."""
    values: dict[str, Any] = dict(form.texts)
    if "conditions" in values:
        try:
            values["conditions"] = TypeAdapter(dict[str, Any]).validate_python(json.loads(values["conditions"]))
        except (ValueError, RecursionError) as error:
            raise Refusal(422, 'The field conditions is not a JSON object, such as {"direction": "BtoA"}.') from error
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise Refusal(422, sentence(error.errors())) from error


def sentence(errors: Any) -> str:
    """Return the first error of a validation as a sentence: what must be given, and what was, if that is short."""
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return f"{unknown(str(first['loc'][-1]))}; /openapi.json lists the fields."
    where = [
        str(part) for part in first["loc"] if part not in ("body", "query", "path")
    ]  # below it, names are theirs
    if first["type"] == "json_invalid":
        return "The body is not JSON."
    if first["type"] in ("model_attributes_type", "dict_type") and not where:
        return "The body is not a JSON object: send one, with Content-Type: application/json."
    name = f"The field {where[0]}" if where else "The body"
    if first["type"] == "missing":
        return f"{name} is missing."
    if where[:1] == ["conditions"] and len(where) > 1:
        name, wanted = f"The condition {where[1][:40]}", "be text, a number, true or false"
    else:
        wanted = WANTED.get(first["type"], "").format(**first.get("ctx", {})) or unstiff(first["msg"])
    return f"{name} must {wanted}, not {given(first['input'])}."


def given(value: Any) -> str:
    """Return what was given, if that is short, or else what kind of thing it is."""
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return "an object"
    plain = json.dumps(value) if value is None or isinstance(value, str | int | float) else ""
    return plain if 0 < len(plain) <= 40 else "a long text" if isinstance(value, str) else "this"


def unstiff(told: str) -> str:
    """Return what pydantic says about a value as the end of "must"."""
    return re.sub(r"^(Input|String|List|Dictionary) should ", "", told)


async def check(content: bytes, state: State, kind: str) -> None:
    """Refuse an upload by its first bytes and its header, before it waits: 415 if it is no picture, 422 if too large.

    Clips are checked by the worker: their formats are other ones.
    """
    if kind in ("image", "label map"):
        await asyncio.to_thread(check_picture, content, state.limits.pixels)


def check_picture(content: bytes, most: int) -> None:
    """Raise Refusal if a picture cannot be read, or has more pixels than possible; it is not decoded."""
    size = Image().size_of(content)
    if size is not None and size[0] * size[1] <= most:
        return
    try:
        images.read_rgb(content, limit=most)
    except DataError as error:
        text = ADVICE.sub("", str(error).removeprefix("the given bytes: "))
        foreign = text.startswith(("not an image", images.UNSUPPORTED))
        raise Refusal(415 if foreign else 422, f"{text[:1].upper()}{text[1:]}.") from error
