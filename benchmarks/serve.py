"""`i2i serve` under load.

    python benchmarks/serve.py --clients 200 --minutes 10 --json benchmarks/results/serve.json
    python benchmarks/serve.py --schema 40 --json benchmarks/results/serve.json    # requests made from /openapi.json

Clients translate small pictures, sample digits and follow jobs, each with a picture of its own size, so that an
answer for another client would be noticed. 5 % of them are hostile: bombs, endless and malformed bodies, silence,
other hosts, odd paths, and leaving early. A process of its own asks for /healthz all the time. At the end the worker
is killed once.

Goals: no unplanned 5xx (503 with Retry-After is planned), no mixed-up answer, health p99 < 250 ms, memory flat
within 5 % and 20 MB, and a killed worker replaced within 5 s. The load of the computer at the start is recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
from PIL import Image
from serve_http import ENDLESS, ask, get, number, png_bomb, post_json, resident, translation, worker_of

MODELS = ("upscale-x2", "restore", "digits")
HOSTILE = 0.05  # share of the clients
THINK = 2.0  # seconds between two requests of a client, on average
HEALTH = 0.05  # seconds between two looks at the health


class Tally:
    """What was answered: counts by kind and status, seconds of translations, and what must not happen."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.wrong: list[str] = []


def main() -> None:
    """Start a server, load it, print the figures, and exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="How does the server behave under load?")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--schema", type=int, help="instead: so many generated requests for each route, added to --json"
    )
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.probe:
        probe(given.probe, given.minutes)
        return
    if given.schema:
        schema(given.schema, given.json)
        return
    load = os.getloadavg()
    server, port = started()
    try:
        figures = asyncio.run(measured(server, port, given.clients, given.minutes))
        figures["worker_restart_seconds"] = restarted(server, port)
        server.send_signal(signal.SIGTERM)
        start = time.monotonic()
        figures["exit_code"], figures["exit_seconds"] = server.wait(20), round(time.monotonic() - start, 2)
    finally:
        server.kill()
    words = ["benchmarks/serve.py", "--clients", str(given.clients), "--minutes", f"{given.minutes:g}"]
    figures = {"command": f"python {' '.join(words)}", "cpu": platform.processor() or platform.machine()} | figures
    figures |= {"cores": os.cpu_count(), "load_at_start": [round(one, 1) for one in load]}
    figures["missed"] = missed(figures)
    print(json.dumps(figures, indent=1))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(bool(figures["missed"]))


def schema(examples: int, file: Path | None) -> None:
    """Send requests that Schemathesis generates from the OpenAPI, and add what came of it to the figures in a file.

    Half of the names of models are of models that are there. One check is left out: that a model can do what is asked
    is not in the schema. Exit with 1 if a check failed.
    """
    server, port = started()
    try:
        with tempfile.TemporaryDirectory() as folder:
            described = Path(folder) / "openapi.json"
            described.write_text(json.dumps(with_models(json.load(urlopen(f"http://127.0.0.1:{port}/openapi.json")))))
            options = ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--seed", "1", "--no-color"]
            command = [sys.executable, "-m", "schemathesis.cli", "run", str(described), *options]
            command += ["--url", f"http://127.0.0.1:{port}", "--max-examples", str(examples)]
            said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    generated, passed = re.findall(r"(\d+) generated, (\d+) passed", said.stdout)[0]
    line = f"python benchmarks/serve.py --schema {examples}"
    counts = {"requests": int(generated), "passed": int(passed), "failed": int(generated) - int(passed)}
    found = {"command": line, "version": version("schemathesis"), **counts}
    print(json.dumps(found))
    if file:
        figures = {**json.loads(file.read_text()), "schemathesis": found}
        file.write_text(json.dumps(figures, indent=1) + "\n")
    if said.returncode:
        print(said.stdout[-20_000:], said.stderr, file=sys.stderr)
        sys.exit(1)


def with_models(described: Any) -> Any:
    """Return a description in which every model is any text or one of those that are there."""
    if isinstance(described, list):
        return [with_models(part) for part in described]
    if not isinstance(described, dict):
        return described
    parts = {key: with_models(part) for key, part in described.items()}
    if isinstance(parts.get("model"), dict) and parts["model"].get("type") == "string":
        parts["model"] = {"anyOf": [{"type": "string", "enum": list(MODELS)}, parts["model"]]}
    return parts


def missed(figures: dict[str, Any]) -> list[str]:
    """Return the goals that were missed."""
    memory = figures["memory_mb"]
    flat = all(after <= before * 1.05 + 20 for before, after in memory.values())
    goals = {
        "no unplanned 5xx": not figures["wrong"],
        "health p99 < 250 ms": figures["health"]["p99_ms"] < 250,
        "flat memory": flat,
        "worker replaced within 5 s": figures["worker_restart_seconds"] < 5,
        "exit code 0 within 10 s": figures["exit_code"] == 0 and figures["exit_seconds"] < 10,
    }
    return [name for name, met in goals.items() if not met]


def started() -> tuple[subprocess.Popen[bytes], int]:
    """Start a server, and return it with its port."""
    models = [word for model in MODELS for word in ("-m", model)]
    command = [sys.executable, "-m", "i2i", "serve", "--port", "0", *models]
    server = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert server.stderr is not None
    for line in server.stderr:
        found = re.search(rb"http://[\d.]+:(\d+)", line)
        if found:
            os.set_blocking(server.stderr.fileno(), False)
            return server, int(found[1])
    raise SystemExit("the server did not start")


async def measured(server: subprocess.Popen[bytes], port: int, clients: int, minutes: float) -> dict[str, Any]:
    """Load the server, and return the figures."""
    tally, until = Tally(), time.monotonic() + 60 * minutes
    command = [sys.executable, __file__, "--probe", str(port), "--minutes", str(minutes)]
    health = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    hostile = max(1, round(HOSTILE * clients))
    tasks = [asyncio.create_task(attack(port, until, tally, n)) for n in range(hostile)]
    tasks += [asyncio.create_task(use(port, until, tally, n)) for n in range(clients - hostile)]
    memory: dict[str, list[float]] = {"server": [], "worker": []}
    while time.monotonic() < until:
        await asyncio.sleep(min(2, 6 * minutes))
        for name, pid in (("server", server.pid), ("worker", worker_of(server.pid))):
            memory[name].append(resident(pid))
    await asyncio.gather(*tasks)
    shown, _ = await health.communicate()
    held = number(await ask(port, get("/metrics")), "i2i_held_bytes")
    return {
        "clients": clients,
        "hostile": hostile,
        "minutes": minutes,
        "answers": dict(sorted(tally.answers.items())),
        "wrong": tally.wrong[:20],
        "translate": quantiles(tally.seconds),
        "health": json.loads(shown),
        "memory_mb": {name: [round(one, 1) for one in ends(values)] for name, values in memory.items()},
        "held_bytes_at_the_end": held,
    }


def ends(values: list[float]) -> tuple[float, float]:
    """Return the median of the second tenth and of the last tenth: the first is of warming up."""
    tenth = max(1, len(values) // 10)
    return float(np.median(values[tenth : 2 * tenth] or values)), float(np.median(values[-tenth:]))


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Return the number of samples, and their quantiles in milliseconds."""
    values = np.quantile(seconds or [0.0], [0.5, 0.99, 1]) * 1000
    return {"count": len(seconds)} | dict(zip(("p50_ms", "p99_ms", "max_ms"), np.round(values, 1).tolist()))


def probe(port: int, minutes: float) -> None:
    """Ask for /healthz until the end, one connection each, and print the quantiles."""
    seconds, until = [], time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
            line.sendall(get("/healthz"))
            assert line.recv(4096).startswith(b"HTTP/1.1 200")
        seconds.append(time.monotonic() - start)
        time.sleep(HEALTH)
    print(json.dumps(quantiles(seconds)))


# ---- clients


async def use(port: int, until: float, tally: Tally, client: int) -> None:
    """Behave as a client, until the end."""
    chance = random.Random(client)
    size = 32 + client % 64, 32 + client // 64
    noise = np.random.default_rng(client).integers(0, 255, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format="PNG")
    while time.monotonic() < until:
        await asyncio.sleep(chance.expovariate(1 / THINK))
        kind = chance.choice(("upscale", "restore", "digits", "job"))
        start = time.monotonic()
        try:
            if kind == "digits":
                answer = await ask(port, post_json("/v1/sample", {"model": "digits", "n": 1, "seed": client}))
                expected = (32, 32)
            else:
                scale, model = (1, "restore") if kind == "restore" else (2, "upscale-x2")
                answer = await ask(port, translation(model, buffer.getvalue(), kind != "job"))
                expected = size[0] * scale, size[1] * scale
            if kind == "job" and answer[0] == 202:
                answer = await followed(port, json.loads(answer[2]))
        except (OSError, EOFError, asyncio.IncompleteReadError, ValueError) as error:
            tally.wrong.append(f"{kind}: {type(error).__name__}: {error}")
            continue
        note(tally, kind, answer)
        if answer[0] == 200:
            tally.seconds.append(time.monotonic() - start)
            made = Image.open(io.BytesIO(answer[2])).size
            if made != expected:
                tally.wrong.append(f"{kind}: {made} for {expected}")


async def followed(port: int, job: dict[str, Any]) -> tuple[int, bytes, bytes]:
    """Wait for a job, fetch its result, and forget it."""
    address = f"/v1/jobs/{job['id']}"
    while job.get("state") in ("queued", "running"):
        status, head, body = await ask(port, get(f"{address}?wait=10"))
        if status != 200:
            return status, head, body
        job = json.loads(body)
    answer = await ask(port, get(f"{address}/results/0"))
    await ask(port, get(address, "DELETE"))
    return answer


def note(tally: Tally, kind: str, answer: tuple[int, bytes, bytes]) -> None:
    """Count an answer; a 5xx other than 503 with Retry-After must not happen."""
    status, head, body = answer
    tally.answers[f"{kind} {status}"] += 1
    if status >= 500 and not (status == 503 and b"retry-after" in head):
        tally.wrong.append(f"{kind}: {status} {body[:100]!r}")


async def attack(port: int, until: float, tally: Tally, client: int) -> None:
    """Behave as a hostile client, until the end; what it is answered must be 4xx, or planned."""
    chance = random.Random(-client)
    bomb = translation("upscale-x2", png_bomb(13_000), True)
    good = translation("upscale-x2", png_bomb(64), True)
    while time.monotonic() < until:
        await asyncio.sleep(chance.expovariate(1 / THINK))
        kind = chance.choice(("bomb", "endless", "malformed", "silent", "host", "path", "leaves", "garbage"))
        with suppress(OSError, EOFError, asyncio.IncompleteReadError, ValueError):
            if kind in ("silent", "leaves"):
                await quiet(port, good, kind == "silent")
                tally.answers[f"hostile {kind}"] += 1
                continue
            request = {
                "bomb": bomb,
                "endless": good.split(b"\r\n\r\n")[0].replace(b"Content-Length", b"X") + ENDLESS,
                "malformed": good.replace(b"--B--", b"--C--"),
                "host": good.replace(b"Host: 127.0.0.1", b"Host: evil.com"),
                "path": get("/%2e%2e%2f%2e%2e%2fetc/passwd"),
                "garbage": random.randbytes(300) + b"\r\n\r\n",
            }[kind]
            note(tally, f"hostile {kind}", await ask(port, request))


async def quiet(port: int, request: bytes, silent: bool) -> None:
    """Send half a request and nothing more, or all of it and leave."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request[: len(request) // 2] if silent else request)
    await writer.drain()
    await asyncio.sleep(15 if silent else 0.01)
    writer.close()


def restarted(server: subprocess.Popen[bytes], port: int) -> float:
    """Kill the worker, and return the seconds until the server works again."""
    os.kill(worker_of(server.pid), signal.SIGKILL)
    start = time.monotonic()
    time.sleep(0.2)
    while asyncio.run(ask(port, get("/healthz")))[0] != 200:
        time.sleep(0.05)
    return round(time.monotonic() - start, 2)


if __name__ == "__main__":
    main()
