"""What the routes take and answer, as pydantic models: FastAPI checks requests with them, and writes the OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Format = Literal["png", "jpeg", "webp", "gif"]
LARGEST_SEED = 2**63 - 1
Name = Annotated[str, Field(max_length=200, description="A name of GET /v1/models.", examples=["upscale-x2"])]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED, description="The same seed gives the same pictures.")]
Value = str | int | FiniteFloat | bool | None
Conditions = Annotated[
    dict[str, Value], Field(default_factory=dict, max_length=20, description="Those of GET /v1/models/{name}.")
]
Code = Annotated[list[FiniteFloat], Field(min_length=1, max_length=100_000)]


class Asked(BaseModel):
    """What all requests of JSON have in common; other fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Name
    conditions: Conditions
    format: Format | None = Field(None, description="png for pictures and gif for animations by default.")
    wait: bool = Field(True, description="Answer when the job has ended; false: at once, with the job.")


class Sample(Asked):
    """New pictures."""

    n: int = Field(1, ge=1, le=64, description="How many.")
    seed: Seed = 0


class Draw(Asked):
    """New latent codes."""

    n: int = Field(1, ge=1, le=64, description="How many.")
    seed: Seed = 0


class Decode(Asked):
    """Pictures of latent codes, each a list of numbers."""

    codes: list[Code] = Field(min_length=1, max_length=64)
    seed: Seed = 0


class Directions(Asked):
    """The directions of the attributes that a model was trained with."""


class Picture(BaseModel):
    """A result of a job."""

    url: str
    type: str
    width: int
    height: int
    bytes: int


class JobState(BaseModel):
    """A job: something that is computed, or has been."""

    id: str = Field(pattern="^[0-9a-f]{32}$")
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    before: int = Field(description="Jobs that come before this one.")
    error: str | None = Field(description="Why it failed, in a sentence.")
    data: Any = Field(None, description="Codes or directions.")
    results: list[Picture]


class Error(BaseModel):
    """Why a request is refused, in a sentence."""

    error: str


class CardOf(BaseModel):
    """A model, as in `i2i models`."""

    name: str
    does: str
    takes: str = Field(description='"image", "label map", "clip", "caption", ...; "" for a model that only samples.')
    makes: str
    scale: int
    bytes: int = Field(description="Of its weights.")
    licence: str
    quality: str


class Condition(BaseModel):
    """A condition of a model."""

    name: str
    kind: str = Field(description='"image", "label map", "caption", "seed", "choice", "class", "number" or "text".')
    choices: list[Any]
    default: Any


class Space(BaseModel):
    """A latent space."""

    size: int = Field(description="Numbers of a code.")
    encode: bool = Field(description="Whether pictures can be encoded.")
    directions: bool = Field(description="Whether directions of attributes can be looked for.")
    draw: list[Condition]
    decode: list[Condition]


class Label(BaseModel):
    """A class of label maps."""

    index: int
    name: str
    colour: str


class Abilities(CardOf):
    """A model and what it can do."""

    translate: list[Condition] | None
    sample: list[Condition] | None
    latent: Space | None
    labels: list[Label] | None
    multiple: int
    size: int | None


class Health(BaseModel):
    """Whether the server works."""

    status: Literal["ok", "starting", "stopping"]
