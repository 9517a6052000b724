"""What strangers send to `i2i serve`: H1-H7 and H14-H16 of the catalogue."""

from __future__ import annotations

import io
import json
import re
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs i2i[serve]")

from .server import Server, field, multipart, picture, upload
from .test_pictures import png

FORM = "multipart/form-data; boundary=B"
MODEL = field("model", "trouble")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"), "upscale-x2")
    yield server
    log = server.log.read_text()
    assert server.stop() == 0
    assert "Traceback" not in log, log
    assert list(server.tmp.iterdir()) == [], "something was written to the disk"


def post(server: Server, body: bytes, **headers: str) -> tuple[int, str]:
    """Post a form as it is; return the status and the sentence."""
    given = {"content-type": FORM} | {name.replace("_", "-"): value for name, value in headers.items()}
    answer = server.client.post("/v1/translate", content=body, headers=given)
    return answer.status_code, answer.json().get("error", "") if answer.status_code != 200 else ""


def head(server: Server, *lines: str, path: str = "/v1/translate", method: str = "POST") -> bytes:
    """Return the head of a request."""
    first = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Content-Type: {FORM}"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


def test_H1_a_body_larger_than_the_limit_is_refused_before_or_while_it_is_read(server: Server) -> None:
    before = server.memory()
    said = server.raw(head(server, "Content-Length: 300000000") + b"x" * 1000)
    assert said.startswith(b"HTTP/1.1 413")
    assert b"20,000,000 bytes" in said
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        start = multipart(MODEL, upload(b""), end=b"")[:-2]
        line.sendall(head(server, "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (len(start), start))
        sent = 0
        try:
            while sent < 60_000_000:  # without a length
                line.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
        except ConnectionError:
            pass
        assert sent < 30_000_000, "it was read after the limit"  # the rest is in the buffers of the kernel
    assert server.memory() - before < 60


def test_H1_a_length_that_is_not_true_is_a_bad_request_or_waits_for_the_rest(server: Server) -> None:
    body = multipart(MODEL, upload(picture()))
    said = server.raw(head(server, f"Content-Length: {len(body) - 30}", "Connection: close") + body)
    assert said.startswith(b"HTTP/1.1 400")
    assert server.raw(head(server, "Content-Length: -5") + body).startswith(b"HTTP/1.1 400")
    assert server.raw(head(server, "Content-Length: 5", "Content-Length: 6") + body).startswith(b"HTTP/1.1 400")


def test_H1_json_may_only_be_small(server: Server) -> None:
    many = json.dumps({"model": "trouble", "codes": [[0.0] * 400_000]}).encode()
    answer = server.client.post("/v1/latent/decode", content=many, headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_H2_pixel_bombs_are_refused_before_they_are_decoded(server: Server) -> None:
    bombs = []
    for side in (13_000, 20_000):
        row = b"\0" * (side // 8 + 1)
        deflate = zlib.compressobj(9)
        data = b"".join([deflate.compress(row) for _ in range(side)]) + deflate.flush()
        bombs.append(png(side, side, b"", bits=1, colour=0)[:33] + idat(data))
    before = server.memory()
    server.translate(picture())
    for bomb in bombs:
        took = []
        for _ in range(5):
            start = time.monotonic()
            answer = server.translate(bomb)
            took.append(time.monotonic() - start)
            assert answer.status_code == 422
            assert "50,000,000" in answer.json()["error"]
        assert min(took) < 0.1
    with ThreadPoolExecutor(20) as pool:
        assert {answer.status_code for answer in pool.map(server.translate, bombs * 30)} <= {422, 503}
    assert server.memory() - before < 50


def idat(data: bytes) -> bytes:
    """Return the end of a PNG with this compressed data."""
    from .test_pictures import chunk

    return chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "a\\0b", "x" * 60_000, "C:\\\\x.png", "\u202egnp.exe", "'; rm -rf", "%2e%2e%2fx"]
)
def test_H3_the_name_of_an_upload_is_never_used(server: Server, name: str) -> None:
    body = multipart(MODEL, upload(picture(), name))
    answer = server.client.post("/v1/translate", content=body, headers={"content-type": FORM})
    assert answer.status_code in ((200,) if len(name) < 4000 else (200, 400))
    if answer.status_code == 200:
        assert answer.headers["content-disposition"] == 'attachment; filename="result.png"'
    assert list(server.tmp.iterdir()) == []


def test_H4_markup_is_never_answered_as_html_and_pages_run_only_our_scripts(server: Server) -> None:
    evil = "<img src=x onerror=alert(1)>"
    body = multipart(field("model", evil), upload(picture(), evil))
    for answer in (
        server.client.post("/v1/translate", content=body, headers={"content-type": FORM}),
        server.client.get(f"/v1/models/{evil}"),
        server.client.get(f"/{evil}"),
        server.client.post("/v1/sample", json={"model": evil, evil: 1}),
        server.client.get("/"),
    ):
        assert evil not in answer.text
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    page = server.client.get("/").text
    assert page.count("<script") == page.count('<script type="module" src="/page/') == 1
    assert "style=" not in page
    assert not re.search(r"\son\w+=|javascript:|https?://", page)


def test_H5_malformed_forms_are_refused_quickly(server: Server) -> None:
    good = multipart(MODEL, upload(picture()))
    cases = {
        b"": 400,
        b"garbage": 400,
        good[:-20]: 400,
        multipart(MODEL): 422,
        multipart(MODEL, upload(picture()), upload(picture())): 422,
        multipart(*[field(f"f{n}", "x") for n in range(1000)]): 422,
        multipart(MODEL, *[field("format", "png")] * 3): 422,
        multipart(("X: y\r\n" * 10_000 + "Content-Disposition: form-data; name=model", b"x")): 400,
        multipart(("Content-Disposition: form-data; name=model", b"x" * 2_000_000)): 413,
        multipart(("Content-Disposition: form-data", b"x")): 422,
        multipart(field("model", "trouble"), field("conditions", "[" * 100_000), upload(picture())): 422,
        multipart(("Content-Disposition: form-data; name=model", b"\xff\xfe"), upload(picture())): 422,
    }
    for body, status in cases.items():
        start = time.monotonic()
        found, sentence = post(server, body)
        assert (found, time.monotonic() - start < 3) == (status, True), (body[:80], sentence)
        assert sentence.endswith("."), sentence
    assert post(server, good, content_type="multipart/form-data")[0] == 400
    assert post(server, good, content_type=f"multipart/form-data; boundary={'B' * 5000}")[0] == 400
    assert post(server, good, content_type="application/json")[0] == 415
    assert post(server, good, content_encoding="gzip")[0] == 415
    assert post(server, good) == (200, "")


def test_H6_what_is_no_picture_is_refused_and_answers_are_encoded_again(server: Server) -> None:
    for foreign in (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<html><script>", b"%PDF-1.4"):
        answer = server.translate(foreign, "a.png")
        assert answer.status_code == 415
        assert "ot an image" in answer.json()["error"]
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "<script>alert(1)</script>"
    Image.new("RGB", (9, 9)).save(buffer, format="JPEG", exif=exif, comment=b"<script>")
    answer = server.translate(buffer.getvalue() + b"<html><script>alert(1)</script>")
    assert answer.status_code == 200
    assert b"script" not in answer.content
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_H7_nothing_that_is_sent_is_taken_for_an_address_or_a_path(server: Server) -> None:
    for value in ("file:///etc/passwd", "http://169.254.169.254/", "/etc/passwd", "../../etc/passwd"):
        assert post(server, multipart(field("model", value), upload(picture())))[0] == 404
        assert post(server, multipart(MODEL, field("picture", value)))[0] == 415  # read as the bytes of a picture
        assert post(server, multipart(MODEL, field("url", value), upload(picture())))[0] == 422
        assert post(server, multipart(MODEL, field("text", value)))[0] == 422
        status, sentence = post(server, multipart(MODEL, field("style", value), upload(picture())))
        assert (status, "not an image" in sentence.lower()) == (415, True)
        assert server.client.post("/v1/sample", json={"model": value}).status_code == 404


def test_H7_a_condition_that_is_a_picture_is_never_a_path_in_a_chain_either() -> None:
    from i2i_serve.actions import conditions

    from i2i.errors import ConfigError
    from i2i.modalities import Image as Images

    plain, styled = (SimpleNamespace(task=SimpleNamespace(conditions=kinds)) for kinds in ({}, {"style": Images()}))
    chain = SimpleNamespace(parts=[plain, styled], task=SimpleNamespace(conditions={}))
    for model, name in ((styled, "style"), (chain, "style"), (chain, "2.style")):
        with pytest.raises(ConfigError, match="send it as a file"):
            conditions(model, {}, {"conditions": {name: "/etc/passwd"}})  # type: ignore[arg-type]
    assert conditions(chain, {}, {"conditions": {"seed": 3}}) == {"seed": 3}  # type: ignore[arg-type]


def test_mistakes_in_a_request_are_sentences(server: Server) -> None:
    answers = [
        post(server, multipart(field("model", "truble"), upload(picture()))),
        post(server, multipart(MODEL, field("format", "gif"), upload(picture()))),
        post(server, multipart(upload(picture()))),
        *((one.status_code, one.json()["error"]) for one in (server.client.get("/v1/models/truble"),)),
        *((one.status_code, one.json()["error"]) for one in (server.client.get("/v1/jobs/7"),)),
    ]
    nearest = "There is no such model, did you mean trouble? GET /v1/models lists all models."
    assert answers == [
        (404, nearest),
        (422, "Format gif is for animations, and this is a picture: choose png, jpeg or webp."),
        (422, "The field model is missing."),
        (404, nearest),
        (404, "There is no such job; results are kept for 10 minutes."),
    ]
    asked = server.client.post("/v1/sample", json={"model": "trouble", "n": 0})
    assert asked.json()["error"] == "The field n must be at least 1, not 0."
    asked = server.client.post("/v1/sample", json={"model": "trouble", "conditons": {}})
    assert asked.json()["error"] == "The field conditons is not known; /openapi.json lists the fields."
    told = post(server, multipart(MODEL, field("modle", "x"), upload(picture())))[1]
    assert told.startswith("The field modle is not known; the fields are ")
    told = post(server, multipart(MODEL, field("<b>", "x"), upload(picture())))[1]
    assert told.startswith("A field is not known; the fields are ")


def test_deep_greys_are_converted_to_8_bits_and_not_clipped() -> None:
    import numpy as np
    from i2i_serve.encoding import Options, encoded

    from i2i.modalities import Image as Images

    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    expected = np.arange(256).reshape(16, 16, 1)
    for deep in (Image.fromarray(np.rint(ramp * 65535).astype(np.uint16)), Image.fromarray(ramp)):
        for kind in ("png", "jpeg", "webp"):
            sent = Image.open(io.BytesIO(encoded(deep, Images(), Options(kind, quality=100)).content))
            if sent.mode == "I;16":
                assert (np.asarray(sent) == expected[..., 0] * 257).all()
            else:
                assert np.abs(np.asarray(sent, dtype=int) - expected).max() <= (0 if kind == "png" else 4)


def test_results_too_large_for_their_format_are_refused_with_the_limit() -> None:
    import numpy as np
    from i2i_serve.encoding import Options, animated, still

    from i2i.errors import ConfigError
    from i2i.images import Video

    for kind, width in (("webp", 16400), ("jpeg", 65600)):
        with pytest.raises(ConfigError, match=rf"the result has {width}x2 pixels, and a {kind} at most"):
            still(Image.new("RGB", (width, 2)), Options(kind))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a gif at most 65,535 a side: choose png"):
        animated(Video.of(np.zeros((2, 1, 65600, 3), np.uint8), 10), Options())


@pytest.mark.parametrize("height", [1, 3, 8])
def test_an_animation_keeps_its_times_whatever_its_height(height: int) -> None:
    from i2i_serve.actions import translate

    import i2i

    frames = [Image.new("RGB", (9, height), (40 * n, 0, 0)) for n in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=[100, 2000, 300])
    _, (made,) = translate(i2i.load("upscale-x2"), {"picture": buffer.getvalue()}, {})
    with Image.open(io.BytesIO(made.content)) as clip:
        times = [(clip.seek(n), clip.info["duration"])[1] for n in range(clip.n_frames)]  # type: ignore[attr-defined]
    assert (times, made.width, made.height) == ([100, 2000, 300], 18, 2 * height)


def test_conditions_that_are_fields_or_parameters_are_refused() -> None:
    from i2i_serve.actions import sample, translate

    import i2i
    from i2i.errors import ConfigError

    for name in ("img", "tile", "scale"):
        with pytest.raises(ConfigError, match=f"no condition is called {name}"):
            translate(i2i.load("upscale-x2"), {"picture": picture()}, {"conditions": {name: "5"}})
    with pytest.raises(ConfigError, match="seed is a field of its own"):
        sample(i2i.load("digits"), {}, {"n": 1, "seed": 0, "conditions": {"seed": 1}})


def test_public_names_are_those_of_runs_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from i2i_serve.inference import Shelf
    from i2i_serve.menu import public_name

    for name in ("lr0.01", "lr0.001"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "lr0.01" / "model.safetensors").write_bytes(b"")
    (tmp_path / "net.pth").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "runs" / "lr0.01")
    asked = (".", "model.safetensors", "../lr0.001", "../../net.pth", "restore | ../lr0.01", "upscale-x2")
    names = [public_name(source, {}) for source in asked]
    assert names == ["lr0.01", "lr0.01", "lr0.001", "net", "restore | lr0.01", "upscale-x2"]
    assert Shelf({"lr0.01": "."}, 1).paths("lr0.01") == [str(tmp_path / "runs" / "lr0.01")]


def test_clients_are_not_told_what_only_the_host_can_do() -> None:
    from i2i_serve.inference import public

    end = "set I2I_LIMITS=3 to raise all limits on pictures"
    assert public(f"too large; make it smaller first, or {end}", [], "x") == "Too large; make it smaller first."
    assert public(f"damaged; replace the file or, if it is intact, {end}", [], "x") == "damaged; replace the file."


def test_names_at_the_start_of_a_sentence_keep_their_case() -> None:
    from i2i_serve.inference import public

    told = "runs/cgan/model.safetensors: this model is given the class"
    assert public(told, ["runs/cgan/model.safetensors"], "cgan") == "cgan: this model is given the class."
    assert public("label=17: this model has no such class", [], "x") == "label=17: this model has no such class."
    assert (
        public("unknown direction 'BtoC': use AtoB or BtoA", [], "x") == "Unknown direction 'BtoC': use AtoB or BtoA."
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"wait": "soon"}, 'The field wait must be true or false, not "soon".'),
        (
            {"conditions": [1]},
            'The field conditions must be an object such as {"direction": "BtoA"}, not a list of 1.',
        ),
        ({"conditions": {"label": {}}}, "The condition label must be text, a number, true or false, not an object."),
        ({"format": "tiff"}, "The field format must be 'png', 'jpeg', 'webp' or 'gif', not \"tiff\"."),
        ({"seed": 1.5}, "The field seed must be a whole number, not 1.5."),
        ({"n": 65}, "The field n must be at most 64, not 65."),
        ({"model": "x" * 300}, "The field model must have at most 200 characters, not a long text."),
    ],
)
def test_what_must_be_given_and_what_was_is_a_sentence(server: Server, changes: dict[str, Any], says: str) -> None:
    answer = server.client.post("/v1/sample", json={"model": "trouble", **changes})
    assert (answer.status_code, answer.json()["error"]) == (422, says)


@pytest.mark.parametrize(("kind", "type"), [("webp", "image/webp"), ("png", "image/png"), ("gif", "image/gif")])
def test_an_animation_is_sent_in_the_format_asked_for(server: Server, kind: str, type: str) -> None:
    stills = [Image.new("RGB", (8, 6), (0, 80 * n, 255)) for n in range(3)]
    stream = io.BytesIO()
    stills[0].save(stream, "GIF", save_all=True, append_images=stills[1:], duration=200)
    body = multipart(MODEL, field("format", kind), upload(stream.getvalue()))
    answer = server.client.post("/v1/translate", content=body, headers={"content-type": FORM})
    assert (answer.status_code, answer.headers["content-type"]) == (200, type)
    with Image.open(io.BytesIO(answer.content)) as made:
        assert (made.format, made.n_frames, made.size) == (kind.upper(), 3, (8, 6))
    body = multipart(MODEL, field("format", "jpeg"), upload(stream.getvalue()))
    assert post(server, body) == (
        422, "Format jpeg is for pictures, and this is an animation: choose gif, webp or png."
    )  # fmt: skip


def test_an_animation_becomes_a_gif_with_as_many_frames(server: Server) -> None:
    stills = [Image.new("RGB", (8, 6), (0, 80 * n, 255)) for n in range(3)]
    stream = io.BytesIO()
    stills[0].save(stream, "GIF", save_all=True, append_images=stills[1:], duration=200)
    answer = server.translate(stream.getvalue(), "moves.gif")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    with Image.open(io.BytesIO(answer.content)) as made:
        assert (made.n_frames, made.size, made.info["duration"]) == (3, (8, 6), 200)
        made.seek(2)
        assert made.convert("RGB").getpixel((4, 3)) == pytest.approx((255, 95, 0), abs=4)  # inverted


def test_H14_other_hosts_and_other_sites_are_refused(server: Server) -> None:
    good = multipart(MODEL, upload(picture()))
    for headers, status in [
        ({"host": "evil.com"}, 403),
        ({"host": f"evil.com:{server.port}"}, 403),
        ({"host": "127.0.0.1.evil.com"}, 403),
        ({"host": ""}, 403),
        ({"host": "192.168.0.7"}, 200),
        ({"origin": "http://evil.com"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": f"http://127.0.0.1:{server.port + 1}"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"origin": server.url, "sec_fetch_site": "same-origin"}, 200),
        ({"host": f"localhost:{server.port}", "origin": f"http://localhost:{server.port}"}, 200),
    ]:
        assert post(server, good, **headers)[0] == status, headers
    assert server.client.get("/v1/models", headers={"host": "evil.com"}).status_code == 403
    asked = {"origin": "http://evil.com", "access-control-request-method": "POST"}
    answer = server.client.options("/v1/translate", headers=asked)
    assert answer.status_code in (403, 405)
    assert "access-control-allow-origin" not in answer.headers


def test_H14_an_address_that_others_reach_needs_a_token() -> None:
    from i2i_serve.command import run
    from i2i_serve.limits import Limits

    from i2i.errors import ConfigError

    with pytest.raises(ConfigError, match="give a token"):
        run("0.0.0.0", 0, [], [], None, [], Limits())


def test_H14_a_token_is_asked_for() -> None:
    from i2i_serve.counts import Counts
    from i2i_serve.guard import Guard
    from i2i_serve.limits import Limits
    from starlette.responses import PlainTextResponse
    from starlette.testclient import TestClient

    client = TestClient(Guard(PlainTextResponse("fine"), {"testserver"}, "s3cret-token", Limits(), Counts()))
    for given in ("", "Bearer wrong", "Basic s3cret-token", "Bearer s3cret-toke"):
        answer = client.get("/v1/models", headers={"authorization": given})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/v1/models", headers={"authorization": "Bearer s3cret-token"}).text == "fine"
    assert client.get("/metrics").status_code == 401
    assert client.get("/").status_code == client.get("/healthz").status_code == 200


def test_H15_each_client_gets_its_own_picture_and_ids_cannot_be_guessed(server: Server) -> None:
    def inverted(seed: int) -> bool:
        given = picture(seed=seed)
        answer = server.translate(given)
        made, expected = (Image.open(io.BytesIO(data)).convert("RGB") for data in (answer.content, given))
        return bool((255 - bytearray_of(expected) == bytearray_of(made)).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(inverted, range(40)))
    jobs = [
        server.client.post("/v1/sample", json={"model": "trouble", "wait": False}).json()["id"] for _ in range(20)
    ]
    assert len(set(jobs)) == 20
    assert all(len(job) == 32 for job in jobs)
    assert server.client.get("/v1/jobs").status_code == 404, "jobs must not be listed"
    assert server.client.get(f"/v1/jobs/{'0' * 32}").status_code == 404
    for job in jobs:
        assert server.client.delete(f"/v1/jobs/{job}").status_code == 204
        assert server.client.get(f"/v1/jobs/{job}").status_code == 404


def bytearray_of(image: Image.Image):  # type: ignore[no-untyped-def]
    """Return the pixels as an array."""
    import numpy as np

    return np.asarray(image)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /%2e%2e%2f%2e%2e%2fetc/passwd", 404),
        ("GET /page/..%2f..%2fapp.py", 404),
        ("GET /page/%2e%2e/app.py", 404),
        ("GET //etc/passwd", 404),
        ("GET /page/", 404),
        ("GET /v1/jobs/" + "a" * 3000, 422),
        ("GET /v1/models/..%2f..%2fetc%2fpasswd", 404),
        ("PUT /v1/models", 405),
        ("TRACE /", 405),
        ("DELETE /", 405),
        ("GET /docs", 404),
        ("GET /.env", 404),
        ("GET /%00", 404),
        ("FOO /", 405),
    ],
)
def test_H16_odd_paths_and_methods(server: Server, request_line: str, status: int) -> None:
    said = server.raw(f"{request_line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert said.startswith(f"HTTP/1.1 {status}".encode()), said[:200]
    assert b"root:" not in said


def test_H16_large_and_malformed_heads(server: Server) -> None:
    start = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    assert server.raw(f"{start}X: {'x' * 40_000}\r\n\r\n".encode()).startswith(b"HTTP/1.1 431")
    for odd in (b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", f"{start}A b: c\r\n\r\n".encode()):
        assert server.raw(odd).startswith(b"HTTP/1.1 400")
    assert server.client.get("/healthz").json() == {"status": "ok"}


def test_a_chain_is_on_the_menu_with_its_size_and_scale() -> None:
    from i2i_serve.menu import menu

    models, sources = menu(["restore | upscale-x2"], [])
    assert [model["name"] for model in models] == ["restore | upscale-x2"]
    assert models[0]["scale"] == 2
    assert models[0]["bytes"] > 2_000_000
    assert sources == {"restore | upscale-x2": "restore | upscale-x2"}


def test_runs_that_are_not_on_the_menu_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from i2i_serve.menu import menu

    monkeypatch.chdir(tmp_path)
    Path("runs/broken").mkdir(parents=True)
    Path("runs/broken/metrics.json").write_text("{}")
    assert [*menu(["upscale-x2"], [])[1]] == ["upscale-x2"]
    assert [*menu(["upscale-x2", "restore", "upscale-x2"], [])[1]] == ["upscale-x2", "restore"]
    assert not caplog.text
    menu([], [])
    assert "runs/broken cannot be used: " in caplog.text
