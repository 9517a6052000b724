"""Are the results of an exported file those of i2i? `differences` runs both; `first_difference` names the layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from i2i import NumericError

from .contract import Contract
from .graph import library, parsed
from .recorded import Recorded

TOLERANCE = 1e-4  # in [-1, 1]
WANTED = ((48, 48), (75, 101), (201, 136))  # height and width of the pictures that are compared, at least
BATCHES = (1, 3)
CODES = (1, 3, 70)  # of samples: more than the 64 that are decoded at a time
Run = Callable[..., Tensor]


class Result(NamedTuple):
    """How far a file is from i2i: the largest and the mean difference of a value in [-1, 1], and of how many runs."""

    largest: float
    mean: float
    runs: int


def inputs(contract: Contract) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
    """Yield what is compared, with a name: three sizes and two batches, or three batches of codes."""
    noise = torch.Generator().manual_seed(0)
    if contract.takes == "codes":
        for n in CODES:
            codes = torch.randn(n, contract.latent, generator=noise)
            labels = torch.randint(max(1, len(contract.classes)), (n,), generator=noise)
            yield f"batch {n}", (codes, labels) if contract.classes else (codes,)
        return
    for height, width in sizes(contract):
        for n in BATCHES:
            yield f"{width}x{height}, batch {n}", (picture(contract, n, height, width, noise),)


def sizes(contract: Contract) -> list[tuple[int, int]]:
    """Return three sizes that differ, as multiples that the contract allows."""

    def fitted(side: int) -> int:
        return -(-max(side, contract.minimum) // contract.multiple) * contract.multiple

    found = [(fitted(height), fitted(width)) for height, width in WANTED]
    if len(set(found)) == len(found):
        return found
    least = fitted(1)
    return [(least, least), (least, 2 * least), (2 * least, least)]


def picture(contract: Contract, n: int, height: int, width: int, noise: torch.Generator) -> Tensor:
    """Return images with large shapes and some noise, or label maps of large shapes."""
    coarse = max(2, height // 12), max(2, width // 12)
    if contract.takes == "label map":
        labels = torch.tensor(contract.labels or (0, 1))
        places = torch.randint(len(labels), (n, 1, *coarse), generator=noise)
        return labels[interpolate(places.float(), (height, width)).long()]
    shapes = interpolate(torch.rand((n, 3, *coarse), generator=noise) * 2 - 1, (height, width), mode="bilinear")
    return (shapes + 0.2 * torch.rand(shapes.shape, generator=noise) - 0.1).clamp(-1, 1)


def differences(recorded: Recorded, contract: Contract, run: Run, what: str, tolerance: float) -> Result:
    """Compare the results of a file with those of i2i.

    Raises:
        Differs: they differ by more than the tolerance, or the file does not run.
    """
    largest, total, runs = 0.0, 0.0, 0
    for name, given in inputs(contract):
        with torch.inference_mode():
            ours = recorded(*given)
        try:
            theirs = run(*given)
        except Exception as error:
            first = " ".join(str(error).split())[:300]
            if first.startswith("Guard failed"):  # of torch.export, with the names of its variables
                raise Differs(
                    f"{what} would be limited to some sizes, because what this model does depends on the "
                    f"size of its input; it refuses {name}",
                    given,
                ) from error
            raise Differs(f"{what} does not run at {name} ({first})", given) from error
        if theirs.shape != ours.shape:
            raise Differs(f"{what} makes {list(theirs.shape)} at {name}, and i2i makes {list(ours.shape)}", given)
        apart = (theirs - ours).abs()
        if not apart.max() <= tolerance:
            raise Differs(
                f"{what} differs from i2i by {apart.max():.2g} at {name}; at most {tolerance:g} is accepted", given
            )
        largest, total, runs = max(largest, apart.max().item()), total + apart.mean().item(), runs + 1
    return Result(largest, total / runs, runs)


class Differs(NumericError):
    """The results of a file are not those of i2i; `given` is the input for which they are not."""

    def __init__(self, sentence: str, given: tuple[Tensor, ...]) -> None:
        super().__init__(sentence)
        self.given = given


def session_of(data: bytes) -> Any:
    """Return an ONNX Runtime session for the bytes of a file."""
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised
    return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def runner(data: bytes) -> Run:
    """Return what runs an ONNX file: tensors -> tensor."""
    session = session_of(data)
    names = [one.name for one in session.get_inputs()]

    def run(*given: Tensor) -> Tensor:
        # An input that has no effect, such as the label of a chain, is not in the file.
        feed = {name: value.numpy() for name, value in zip(names, given, strict=False)}
        return torch.from_numpy(session.run(["result"], feed)[0])

    return run


def first_difference(recorded: Recorded, data: bytes, given: tuple[Tensor, ...], tolerance: float) -> str:
    """Return where the results of an ONNX file begin to differ from those of i2i, in words.

    The result of each layer is made an output of the file, and compared in the order of the file.
    """
    onnx = library("onnx")
    ours, model = results_of_layers(recorded, given), parsed(data)
    found: dict[str, str] = {}  # the last output of each layer, in the order in which layers end
    for node in model.graph.node:
        for layer in layers_of(node.name):
            if layer in ours:
                found.pop(layer, None)
                found[layer] = node.output[0]
    known = {one.name for one in model.graph.output}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in dict.fromkeys(found.values()) if name not in known
    )
    before = "the input"
    session = session_of(model.SerializeToString())
    feed = {one.name: value.numpy() for one, value in zip(session.get_inputs(), given, strict=False)}
    for layer, theirs in zip(found, session.run(list(found.values()), feed), strict=True):
        kind, own = ours[layer]
        limit = tolerance * max(1.0, own.abs().max().item())
        if theirs.shape != own.shape or not (torch.from_numpy(theirs) - own).abs().max() <= limit:
            if layer.count(".") < 2:  # the task itself: what it does with the results of its layers
                break
            return f"first in layer {shown(layer, recorded)} ({kind})"
        before = f"layer {shown(layer, recorded)}"
    return f"first after {before}"


def results_of_layers(recorded: Recorded, given: tuple[Tensor, ...]) -> dict[str, tuple[str, Tensor]]:
    """Return the class and the result of each layer by its name; without layers that are used several times."""
    calls: dict[str, list[tuple[str, Tensor]]] = {}
    with ExitStack() as stack, torch.inference_mode():
        for name, module in recorded.named_modules():

            def keep(module: Any, _: Any, made: Any, name: str = name) -> None:
                if isinstance(made, Tensor) and made.is_floating_point():
                    calls.setdefault(name.replace(".task.", "."), []).append((type(module).__name__, made.clone()))

            stack.callback(module.register_forward_hook(keep).remove)
        recorded(*given)
    return {name: made[0] for name, made in calls.items() if name and len(made) == 1}


def layers_of(node: str) -> Iterator[str]:
    """Yield the layers that a node of an ONNX file is in, the innermost first, by its name.

    Example:
        >>> list(layers_of("/parts.0/G/body/body.3/Conv"))
        ['parts.0.G.body.3', 'parts.0.G.body', 'parts.0.G', 'parts.0']
    """
    path: list[str] = []
    names = []
    for part in node.strip("/").split("/")[:-1]:
        if path and part.startswith(f"{path[-1].rpartition('.')[2]}."):  # "body.3" in "body" repeats its name
            part = part.partition(".")[2]
        path.append(part)
        names.append(".".join(path))
    yield from reversed(names)


def shown(layer: str, recorded: Recorded) -> str:
    """Return the name of a layer as in its task, with the number of the part in a chain."""
    _, number, *rest = layer.split(".")
    name = ".".join(rest)
    return name if len(recorded.tasks) == 1 else f"{name} of part {int(number) + 1}"
