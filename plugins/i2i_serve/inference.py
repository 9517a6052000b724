"""The process that computes: `python -m i2i_serve.inference FD`, started by `worker.Worker`.

It reads a request from the socket FD, answers it, and reads the next. A failed request is answered with a sentence in
which there are no paths of this computer; the details are on stderr, under the id in the sentence.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sys
import traceback
import warnings
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from i2i import ConfigError, DataError, I2IError, Model, NumericError, ResourceError, WeightsError, load
from i2i.devices import chosen

from . import actions, frames, menu
from .limits import ADVICE

ACTIONS = {
    "describe": actions.describe,
    "translate": actions.translate,
    "sample": actions.sample,
    "encode": actions.encode,
    "draw": actions.draw,
    "decode": actions.decode,
    "directions": actions.directions,
}


class Shelf:
    """The models, loaded when they are first used; the latest few stay in memory.

    Args:
        sources: what `i2i.load` takes, by public name.
        keep: how many.
    """

    def __init__(self, sources: dict[str, str], keep: int) -> None:
        self.sources, self.keep = sources, keep
        self.loaded: OrderedDict[str, Model] = OrderedDict()

    def get(self, name: str) -> Model:
        """Return a model. Raises: ConfigError, there is none of this name; as `i2i.load`."""
        if name not in self.sources:
            raise ConfigError("There is no such model; GET /v1/models lists all models")
        if name not in self.loaded:
            self.loaded[name] = load(self.sources[name])
        self.loaded.move_to_end(name)
        while len(self.loaded) > self.keep:
            self.loaded.popitem(last=False)
        return self.loaded[name]

    def paths(self, name: str) -> list[str]:
        """Return how errors may name a model: its file, and what `i2i.load` took; longer ones first."""
        source = self.sources.get(name, "")
        found = [os.path.abspath(source)] if source else []
        found += [source] if re.search(r"\w", source) else []  # not ".", which is in every sentence
        if name in self.loaded:
            found.append(str(self.loaded[name].source))
        return sorted(found, key=len, reverse=True)


def answer(shelf: Shelf, head: dict[str, Any], blobs: list[bytes]) -> bytes:
    """Do what a request asks for, and return the answer, packed."""
    name = head["model"]
    try:
        given = dict(zip(head["names"], blobs, strict=True))
        data, results = ACTIONS[head["do"]](shelf.get(name), given, head["options"])
        about = [{"type": r.type, "width": r.width, "height": r.height} for r in results]
        return frames.packed({"data": data, "results": about}, [r.content for r in results])
    except BaseException as error:
        return frames.packed(failure(error, head["id"], shelf.paths(name), name))


def failure(error: BaseException, id: str, paths: list[str], name: str) -> dict[str, Any]:
    """Return what a client learns of an error."""
    if isinstance(error, ConfigError | DataError):
        return {"status": 422, "error": public(str(error), paths, name)}
    print(f"i2i: request {id} failed: {type(error).__name__}: {error}", file=sys.stderr)
    if isinstance(error, ResourceError | MemoryError):
        return {"status": 503, "error": f"There is not enough memory for this: send less ({id}).", "retry": 10}
    if isinstance(error, NumericError):
        return {"status": 422, "error": f"The model made values that are not finite from this ({id})."}
    if isinstance(error, WeightsError):
        return {"status": 503, "error": f"The model cannot be loaded ({id}).", "retry": 60}
    if not isinstance(error, I2IError):
        traceback.print_exception(error)
    return {"status": 503, "error": f"The model failed; the log of the server says why ({id}).", "retry": 60}


def public(text: str, paths: list[str], name: str) -> str:
    """Return the sentence of an error for a client: without paths, and without advice for who runs the server."""
    for path in paths:
        text = text.replace(path, name)
    text = re.sub(r"the given bytes: ", "", text)
    text = ADVICE.sub("", text)
    text = re.sub(r"(?<![\w.])~?(/[\w.@+-]+){2,}/?", "a file", text)
    text = " ".join(text.split())
    return capital(text) + ("" if text.endswith((".", "?")) else ".")


def capital(text: str) -> str:
    """Return a sentence with a capital; a first word that is a name (`label=17`, `my_run:`) stays as it is."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+[ ,]", text) else text


def limit_memory(count: int | None) -> None:
    """Limit the memory of this process; i2i counts on what is left, and translates in tiles if that is not enough."""
    if count is not None:
        resource.setrlimit(resource.RLIMIT_AS, (count, count))


def main(descriptor: int) -> None:
    """Answer requests until the server is gone."""
    warnings.formatwarning = lambda message, *_: f"i2i: {message}\n"
    for number in (signal.SIGINT, signal.SIGTERM):  # the server says when to end
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as line, line.makefile("rb") as requests:
        wanted, _ = frames.read_now(requests)
        limit_memory(wanted["memory"])
        chosen()  # --device: reports one that does not exist now, not to each client
        models, sources = menu.menu(wanted["models"], wanted["plugin"])
        shelf = Shelf(sources, wanted["keep"])
        line.sendall(frames.packed({"models": models}))
        with suppress(EOFError, BrokenPipeError, ConnectionResetError):
            while True:
                line.sendall(answer(shelf, *frames.read_now(requests)))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except I2IError as error:
        print(f"i2i: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except EOFError:
        pass
