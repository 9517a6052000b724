"""What photographs carry through `i2i translate`: metadata, colour profiles and 16-bit colour."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin
from test_images import adobe_rgb, chunk, encode, far, grey_profile, icc, png, press, scene

import i2i
from i2i import images
from i2i.errors import DataError
from i2i.images import Output, exif, notes, profile, read_rgb, save, take
from i2i.modalities import Image as ImageModality
from i2i.model import Model, translate_files

KINDS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}
XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description '
    b'tiff:Orientation="6" exif:PixelXDimension="24" dc:title="Caf\xc3\xa9"><tiff:ImageWidth>24</tiff:ImageWidth>'
    b"<xmp:Thumbnails><a>secret</a></xmp:Thumbnails></rdf:Description></x:xmpmeta>"
)
IPTC = b"\x1c\x02\x69\x00\x05Title\x1c\x02\x50\x00\x03Ann"  # headline and author
MAKER = b"MAKER\0" + bytes(range(200))


class Same(i2i.Task):
    """Changes nothing."""

    def translate(self, image: torch.Tensor) -> torch.Tensor:
        return image


class Four(i2i.Task):
    """Repeats every pixel four times in both directions; `ran` counts how often."""

    makes = ImageModality(scale=4)
    ran = 0

    def translate(self, image: torch.Tensor) -> torch.Tensor:
        self.ran += 1
        return image.repeat_interleave(4, 2).repeat_interleave(4, 3)


class Coloured(Same):
    """Makes grey red."""

    makes = ImageModality(colour=True)

    def translate(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([image[:, :1], -torch.ones_like(image[:, :2])], 1)


@pytest.fixture(autouse=True)
def _forget_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test get its warnings, which are issued once per name of a file."""
    monkeypatch.setattr(notes, "_warned", set())


def model(task: type[i2i.Task] = Same) -> Model:
    return Model(task(), {}, Path("here"))


def tags(orientation: int = 6, thumbnail: bytes = b"") -> bytes:
    """Build EXIF by hand: author, camera, orientation, date, maker note, sizes, place, and a thumbnail.

    Source: Exif 2.32, 4.5 and 4.6.
    """
    order, body = "<", bytearray()

    def directory(start: int, entries: list[tuple[int, int, int, bytes]], following: int = 0) -> bytes:
        """Return a directory at `start`, with the longer values after it."""
        after = start + 2 + 12 * len(entries) + 4
        table, values = struct.pack("<H", len(entries)), b""
        for tag, kind, count, value in entries:
            place = value.ljust(4, b"\0")
            if len(value) > 4:
                place = struct.pack("<I", after + len(values))
                values += value + b"\0" * (len(value) % 2)
            table += struct.pack("<HHI", tag, kind, count) + place
        return table + struct.pack("<I", following) + values

    def numbers(kind: str, *values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}{kind}", *values)

    main = [
        (0x010F, 2, 6, b"Canon\0"),
        (0x0112, 3, 1, numbers("H", orientation)),
        (0x0132, 2, 20, b"2024:05:06 07:08:09\0"),
        (0x013B, 2, 8, b"Ann Lee\0"),
        (0x8298, 2, 6, b"(c) A\0"),
        (0x8769, 4, 1, b""),
        (0x8825, 4, 1, b""),
    ]
    details = [
        (0x829A, 5, 1, numbers("I", 1, 250)),
        (0x9000, 7, 4, b"0232"),
        (0x927C, 7, len(MAKER), MAKER),
        (0xA002, 3, 1, numbers("H", 24)),
        (0xA003, 3, 1, numbers("H", 36)),
    ]
    place = [(1, 2, 2, b"N\0"), (2, 5, 3, numbers("I", 52, 1, 30, 1, 15, 10))]
    second = 8 + len(directory(8, main))
    third = second + len(directory(second, details))
    fourth = third + len(directory(third, place))
    main[5] = (0x8769, 4, 1, numbers("I", second))
    main[6] = (0x8825, 4, 1, numbers("I", third))
    body += b"II*\0" + numbers("I", 8) + directory(8, main, fourth if thumbnail else 0)
    body += directory(second, details) + directory(third, place)
    if thumbnail:
        small = [(0x0103, 3, 1, numbers("H", 6)), (0x0201, 4, 1, b""), (0x0202, 4, 1, numbers("I", len(thumbnail)))]
        small[1] = (0x0201, 4, 1, numbers("I", fourth + len(directory(fourth, small))))
        body += directory(fourth, small) + thumbnail
    return bytes(body)


def carrying(
    pixels: np.ndarray, kind: str, *, block: bytes = b"", xmp: bytes = b"", iptc: bytes = b"", **options: Any
) -> bytes:
    """Encode a picture with metadata by Pillow."""
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        if xmp:
            info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        if iptc:
            data = exif.resource(iptc)
            info.add_text("Raw profile type iptc", f"\niptc\n{len(data):8}\n{data.hex()}\n", zip=True)
        options["pnginfo"] = info
    if kind == "JPEG":
        data = b"Photoshop 3.0\0" + exif.resource(iptc)
        options |= {"extra": b"\xff\xed" + struct.pack(">H", 2 + len(data)) + data} if iptc else {}
        options |= {"quality": 100, "subsampling": 0}
    if kind == "WEBP":
        options["lossless"] = True
    if kind in ("JPEG", "WEBP") and xmp:
        options["xmp"] = xmp
    if kind == "TIFF":
        given = Image.Exif()
        if block:
            given.load(b"Exif\0\0" + block)
        for tag, value in ((700, xmp), (33723, iptc)):
            if value:
                given[tag] = value
        options["exif"] = given
    elif block:
        options["exif"] = b"Exif\0\0" + block
    return encode(Image.fromarray(pixels), kind, **options)


def carried(path: Any) -> dict[str, Any]:
    """Return what a file carries, as Pillow reads it."""
    with Image.open(path) as image:
        image.load()
        all_tags = image.getexif()
        found = {"size": image.size, "mode": image.mode, "icc": image.info.get("icc_profile")}
        found |= {"xmp": image.info.get("xmp", b""), "dpi": image.info.get("dpi")}
        found |= {"tags": dict(all_tags), "details": all_tags.get_ifd(0x8769), "place": all_tags.get_ifd(0x8825)}
        found["small"] = all_tags.get_ifd(0x0201) if image.format == "TIFF" else all_tags.get_ifd(1)
        if image.format == "TIFF":
            found["iptc"] = image.tag_v2.get(33723)  # type: ignore[attr-defined]
        elif image.format == "PNG":
            text = image.info.get("Raw profile type iptc", "").split()
            found["iptc"] = exif.iptc_in(bytes.fromhex("".join(text[2:]))) or None
        else:
            found["iptc"] = image.info.get("photoshop", {}).get(0x0404)
        return found


def translated(data: bytes, folder: Path, name: str, task: type[i2i.Task] = Same, **asked: Any) -> Path:
    """Return the file that `i2i translate` makes of encoded bytes."""
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / name).write_bytes(data)
    source, out, output = str(folder / "in" / name), folder / "out", Output(**asked)
    assert translate_files([source], out, model(task), output=output, say=lambda _: None) == []
    return out / output.name(Path(name))


def close(one: np.ndarray, two: np.ndarray) -> bool:
    """Return whether two pictures are equal but for compression."""
    return one.shape == two.shape and bool(np.abs(one.astype(int) - two).mean() < 6)


@pytest.mark.parametrize("in_rows", [False, True])
@pytest.mark.parametrize(
    ("method", "kept"), [("tiff_lzw", "tiff_lzw"), ("jpeg", "tiff_adobe_deflate"), (None, "raw")]
)
def test_a_translated_tiff_is_compressed_as_before(
    in_rows: bool, method: str | None, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_rows:
        monkeypatch.setattr("i2i.images.large.LARGE", 0)
        monkeypatch.setattr("i2i.images.write.LARGE", 0)
    source = io.BytesIO()
    Image.fromarray(np.arange(64 * 96 * 3, dtype=np.uint8).reshape(64, 96, 3)).save(
        source, format="TIFF", compression=method, tiffinfo={278: 8}
    )
    made = translated(source.getvalue(), tmp_path, "a.tif", tile=32 if in_rows else None)
    with Image.open(made) as file:
        assert file.info["compression"] == kept
        with Image.open(source) as before:
            assert np.abs(np.asarray(file).astype(int) - np.asarray(before)).max() <= 1


# ---- metadata


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", KINDS)
def test_what_a_photograph_carries_survives_in_every_format(tmp_path: Path, kind: str, after: str) -> None:
    data = carrying(
        scene().transpose(1, 0, 2)[:, ::-1].copy(), kind, block=tags(), xmp=XMP, iptc=IPTC, dpi=(240, 240)
    )
    target = translated(data, tmp_path, f"a{KINDS[kind]}", Four, format=KINDS[after][1:])
    found, width, height = carried(target), 36 * 4, 24 * 4
    assert found["size"] == (width, height)
    assert found["tags"].get(0x0112, 1) == 1
    assert found["tags"][0x013B] == "Ann Lee"
    assert found["tags"][0x010F] == "Canon"
    assert found["details"][0x829A] == 1 / 250
    assert (found["details"][0xA002], found["details"][0xA003]) == (width, height)
    assert found["details"][0x927C] == MAKER
    assert found["place"][2] == (52, 30, 1.5)
    assert found["small"] == {}
    assert "Café".encode() in found["xmp"]
    assert b'tiff:Orientation="6"' not in found["xmp"]
    assert b'exif:PixelXDimension="144"' in found["xmp"]
    assert b"<tiff:ImageWidth>144<" in found["xmp"]
    assert b"secret" not in target.read_bytes()
    if "WEBP" not in (kind, after):  # it has neither
        assert found["dpi"] == pytest.approx((240, 240), abs=0.1)
        assert found["iptc"] == IPTC


@pytest.mark.parametrize("kind", KINDS)
def test_strip_leaves_out_everything(tmp_path: Path, kind: str) -> None:
    data = carrying(scene(), kind, block=tags(), xmp=XMP, iptc=IPTC, dpi=(240, 240), icc_profile=adobe_rgb())
    target = translated(data, tmp_path, f"a{KINDS[kind]}", strip=True)
    found = carried(target)
    assert [found[key] for key in ("icc", "xmp", "iptc", "details", "place", "small")] == [
        None,
        b"",
        None,
        {},
        {},
        {},
    ]
    assert not {0x010F, 0x013B, 0x0112, 0x011A} & set(found["tags"])
    for secret in (b"Ann", b"Canon", b"Caf", b"MAKER", b"wide"):
        assert secret not in target.read_bytes()
    assert close(read_rgb(target), read_rgb(data))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pil_result_keeps_them_when_it_is_saved(tmp_path: Path, kind: str) -> None:
    data = carrying(scene(), kind, block=tags(1), xmp=XMP, iptc=IPTC, dpi=(240, 240), icc_profile=adobe_rgb())
    result = i2i.translate(data, model(Four))
    assert isinstance(result, Image.Image)
    assert result.getexif()[0x013B] == "Ann Lee"
    assert result.info["icc_profile"] == adobe_rgb()
    for after, suffix in KINDS.items():
        result.save(tmp_path / f"a{suffix}")
        buffer = io.BytesIO()
        result.save(buffer, after)
        for target in (tmp_path / f"a{suffix}", buffer):
            found = carried(target)
            assert found["details"][0xA002] == 144
            assert found["icc"] == adobe_rgb()
            assert "Café".encode() in found["xmp"]
    result.save(tmp_path / "b.jpg", exif=b"", xmp=b"")
    assert carried(tmp_path / "b.jpg")["details"] == {}
    assert type(result.resize((9, 9))) is Image.Image
    assert type(i2i.translate(encode(scene(), "PNG"), model())) is Image.Image  # it carries nothing
    save(result, tmp_path / "c.png")
    assert carried(tmp_path / "c.png")["tags"][0x013B] == "Ann Lee"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "c.png")), np.asarray(result))


def test_a_thumbnail_is_erased_wherever_it_is() -> None:
    thumbnail = b"\xff\xd8" + b"thumbnail" * 40 + b"\xff\xd9"
    block = tags(thumbnail=thumbnail)
    assert thumbnail in block
    for more in (b"", b"after"):
        done = exif.patched(block + more, 10, 20)
        assert thumbnail not in done
        assert b"thumbnail" not in done
        assert done.endswith(more)
        read = Image.Exif()
        read.load(b"Exif\0\0" + done)
        assert read.get_ifd(1) == {}
        assert (read[0x0112], read[0x013B], read.get_ifd(0x8769)[0xA003]) == (1, "Ann Lee", 20)
    assert len(exif.patched(block, 10, 20)) == len(block) - len(thumbnail)


def test_values_that_do_not_change_keep_their_places() -> None:
    block = tags()
    done = exif.patched(block, 24, 36)
    assert len(done) == len(block)
    assert sum(one != two for one, two in zip(block, done)) <= 4  # the orientation, and the types of two sizes
    big = exif.patched(tags(), 70_000, 80_000)
    read = Image.Exif()
    read.load(b"Exif\0\0" + big)
    assert read.get_ifd(0x8769)[0xA002] == 70_000


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damaged_exif_is_rejected_or_stays_exif(data: st.DataObject) -> None:
    block = bytearray(tags(thumbnail=b"thumbnail" * 9))
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    block = block[: data.draw(st.integers(1, len(block)))]
    try:
        done = exif.patched(bytes(block), 5, 7)
    except ValueError:
        return
    assert len(done) <= len(block)
    assert exif.patched(done, 5, 7) == done


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda some: exif.resource(IPTC) + b"8BIM" + some))
def test_any_photoshop_resources_give_iptc_or_nothing(resources: bytes) -> None:
    assert exif.iptc_in(resources) in (IPTC, b"") or resources.count(b"8BIM") == 1


def moved(block: bytes) -> bytes:
    """Return EXIF whose thumbnail starts at its first directory."""
    head = struct.pack("<HHI", 0x0201, 4, 1)
    place = block.index(head) + len(head)
    return block[:place] + struct.pack("<I", 8) + block[place + 4 :]


HOSTILE: dict[str, Any] = {
    "exif that is text": {"block": b"no EXIF at all"},
    "exif with an endless directory": {"block": b"II*\0\x08\0\0\0\xff\xff" + bytes(40)},
    "exif that points outside": {"block": b"II*\0" + struct.pack("<I", 2**31) + bytes(20)},
    "exif whose thumbnail is its tags": {"block": moved(tags(thumbnail=b"0123456789"))},
    "iptc in pieces": {"iptc": b"\xff" * 300},
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_metadata_does_not_cost_the_picture(tmp_path: Path, kind: str, name: str) -> None:
    data = carrying(scene(), kind, **HOSTILE[name])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", images.ImageWarning)
        target = translated(data, tmp_path, f"{name}{KINDS[kind]}")
    texts = [str(warning.message) for warning in said if "left out" in str(warning.message)]
    assert len(texts) == ("exif" in name)
    assert all(f"{name}{KINDS[kind]}' has damaged EXIF, left out of the result" in text for text in texts)
    assert close(read_rgb(target), read_rgb(data))
    assert carried(target)["details"] == {}


def test_metadata_beyond_the_limits_is_left_out_with_one_warning(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(5_000_000)
    for kind in ("WEBP", "TIFF"):
        data = carrying(scene(), kind, block=tags(), xmp=noise)
        with pytest.warns(images.ImageWarning, match=r"has XMP of 5,000,000 bytes, left out of the result") as said:
            found = carried(translated(data, tmp_path, f"large{KINDS[kind]}"))
        assert len(said) == 1
        assert found["xmp"] == b""
        assert found["tags"][0x013B] == "Ann Lee"
    data = carrying(scene(), "WEBP", block=tags(), xmp=XMP + bytes(70_000))
    with pytest.warns(images.ImageWarning, match=r"as JPEG cannot hold XMP of 70,\d\d\d bytes; it was left out$"):
        found = carried(translated(data, tmp_path, "more.webp", format="jpg"))
    assert (found["xmp"], found["tags"][0x013B]) == (b"", "Ann Lee")


def test_texts_of_a_png_that_are_too_large_do_not_cost_the_picture(tmp_path: Path) -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(70_000_000), 9))
    late = bytearray(png(1, 1, 8, 0, b"\0\7"))
    late[-12:-12] = bomb  # after the pixels
    for name, data in (("early.png", png(1, 1, 8, 0, b"\0\7", bomb)), ("late.png", bytes(late))):
        with pytest.warns(images.ImageWarning, match="has too large texts, left out of the result") as said:
            target = translated(data, tmp_path, name)
        assert len(said) == 1
        assert np.asarray(Image.open(target)).tolist() == [[7]]
        assert target.stat().st_size < 200


# ---- colour profiles


def described(primaries: list[tuple[float, float, float]], curve: bytes, name: bytes = b"some\0") -> bytes:
    """Build an RGB profile of primaries (XYZ relative to D50, in rows) and a tone curve."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    text = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + b"\0" * 81}
    text[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    light = {b"wtpt": xyz(0.9642, 1.0, 0.8249)}
    light |= {key: xyz(*values) for key, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return icc(b"mntr", b"RGB ", b"XYZ ", text | light | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def curve(*values: int) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *values) + b"\0" * (len(values) % 2 * 2)


def formula(kind: int, *numbers: float) -> bytes:
    return b"para\0\0\0\0" + struct.pack(f">HH{len(numbers)}i", kind, 0, *(round(n * 65536) for n in numbers))


REC709 = [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)]
P3 = [(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)]
SRGB = formula(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
PROFILES = {
    "display p3": described(P3, SRGB),
    "adobe rgb": adobe_rgb(),
    "linear, named sRGB": described(REC709, curve(), b"sRGB-elle-V2-g10.icc\0"),
    "gamma 2.2, named sRGB": described(REC709, curve(563), b"sRGB-elle-V2-g22.icc\0"),
    "a table": described(P3, curve(*(round(65535 * (n / 15) ** 1.8) for n in range(16)))),
    "formula 0": described(P3, formula(0, 1.8)),
    "formula 1": described(P3, formula(1, 2.2, 0.9, 0.1)),
    "formula 2": described(P3, formula(2, 2.2, 0.9, 0.05, 0.05)),
    "formula 4": described(P3, formula(4, 2.2, 0.9, 0.1, 0.1, 0.1, 0.01, 0.0)),
}
COLOURS = (np.random.default_rng(3).integers(110, 150, (12, 16, 3))).astype(np.uint8)  # within sRGB


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_does_what_littlecms_does_and_the_way_back_is_exact(name: str) -> None:
    space = profile.space_of(PROFILES[name])
    assert space is not None
    ramp = np.arange(256, dtype=np.uint8)
    for pixels in (COLOURS, np.stack([ramp] * 3, -1)[None]):
        found = space.to_srgb((pixels / 255).astype(np.float32))
        source = ImageCms.ImageCmsProfile(io.BytesIO(PROFILES[name]))
        image = Image.fromarray(pixels)
        exact = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,  # with others, it moves black to black
            outputMode="RGB",
            flags=ImageCms.Flags.NOOPTIMIZE,
        )
        assert far(found * 255, exact) <= 1.6, name
        if "formula" not in name or pixels is COLOURS:
            assert far(space.from_srgb(found) * 255, pixels) < 0.3, name
    deep = np.random.default_rng(1).integers(110 * 257, 150 * 257, (20, 20, 3))
    again = space.from_srgb(space.to_srgb((deep / 65535).astype(np.float32))) * 65535
    assert far(again, deep) < 4, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PROFILES)
def test_a_result_has_the_profile_of_the_photograph_and_its_colours(tmp_path: Path, kind: str, name: str) -> None:
    data = carrying(COLOURS, kind, icc_profile=PROFILES[name])
    target = translated(data, tmp_path, f"a{KINDS[kind]}", Four)
    assert carried(target)["icc"] == PROFILES[name]
    with Image.open(target) as image:
        found = np.asarray(image)[2::4, 2::4]
    if kind in ("PNG", "TIFF"):
        assert np.array_equal(found, COLOURS)
    else:
        assert np.abs(found.astype(int) - COLOURS).mean() < 5


@pytest.mark.parametrize("name", ["linear, named sRGB", "gamma 2.2, named sRGB"])
def test_a_profile_named_srgb_that_is_not_is_converted(name: str) -> None:
    light = np.arange(256) / 255
    light = light if "linear" in name else light ** (563 / 256)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert far(expected, np.arange(256)) > 8
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    given = encode(ramp, "PNG", icc_profile=PROFILES[name])
    assert far(read_rgb(given)[0, :, 1], expected) <= 1
    assert far((take(given).tensor[0, 1, 0].numpy() + 1) * 127.5, expected) < 0.6


@pytest.mark.parametrize("gamma", [256, 461])
@pytest.mark.parametrize("deep", [False, True])
def test_grey_profiles_are_kept_and_colour_made_of_grey_is_srgb(tmp_path: Path, gamma: int, deep: bool) -> None:
    ramp = np.arange(256, dtype=np.uint16 if deep else np.uint8)[None].repeat(8, 0) * (257 if deep else 1)
    data = encode(ramp, "PNG", icc_profile=grey_profile(gamma))
    light = (np.arange(256) / 255) ** (gamma / 256)
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert far((take(data).tensor[0, 0, 0].numpy() + 1) / 2, expected) < 1e-3
    target = translated(data, tmp_path, "grey.png")
    assert carried(target)["icc"] == grey_profile(gamma)
    assert far(np.asarray(Image.open(target)), ramp) <= (2 if deep else 0)
    red = translated(data, tmp_path, "red.png", Coloured)
    with Image.open(red) as image:
        said = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(said)
        assert profile.means_srgb(image.info["icc_profile"])
        assert far(np.asarray(image)[0, :, 0] / 255, expected) < 0.004
    assert profile.srgb_profile() == profile.srgb_profile.__wrapped__()


@pytest.mark.parametrize("clear", [False, True])
def test_webp_has_no_grey_so_pixels_of_a_grey_profile_become_srgb(tmp_path: Path, clear: bool) -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(64, 0).repeat(4, 1))
    if clear:
        ramp.putalpha(200)
    data = encode(np.asarray(ramp), "PNG", icc_profile=grey_profile(461))
    file = translated(data, tmp_path, "translated.webp")
    save(data, tmp_path / "saved.webp")
    made = take(data)
    made.restore(made.tensor).save(tmp_path / "restored.webp")
    for path in (file, tmp_path / "saved.webp", tmp_path / "restored.webp"):
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("error")  # an unusable profile
            assert not image.info.get("icc_profile")
            assert far(take(path).tensor.numpy(), made.tensor.numpy()) < 2 * 4 / 255


def test_a_format_of_8_bits_says_so_and_bmp_keeps_the_resolution(tmp_path: Path) -> None:
    deep = (np.arange(256, dtype=np.uint16) * 257)[None].repeat(8, 0)
    for name in ("a.jpg", "a.webp", "a.bmp"):
        with pytest.warns(
            images.ImageWarning, match=rf"{name}' has 8 bits instead of 16, which PNG and TIFF would keep"
        ):
            save(deep, tmp_path / name)
    photo = encode(scene(), "PNG", dpi=(150, 75))
    for strip, dpi in ((False, (150, 75)), (True, (96, 96))):
        save(photo, tmp_path / "b.bmp", strip=strip)
        assert Image.open(tmp_path / "b.bmp").info["dpi"] == pytest.approx(dpi, abs=0.1)


def test_an_open_file_is_read_and_left_where_it_was(tmp_path: Path) -> None:
    data = encode(scene(), "PNG")
    (tmp_path / "a.png").write_bytes(b"skip" + data)
    with (tmp_path / "a.png").open("rb") as file:
        file.seek(4)
        for source in (io.BytesIO(data), file, file):
            assert np.array_equal(read_rgb(source), scene())
    with (
        (tmp_path / "a.png").open(encoding="latin1") as text,
        pytest.raises(DataError, match="give a path, an open"),
    ):
        read_rgb(text)


def test_an_srgb_profile_is_kept_and_one_of_tables_becomes_srgb(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    target = translated(encode(scene(), "PNG", icc_profile=srgb), tmp_path, "srgb.png")
    assert carried(target)["icc"] == srgb
    assert np.array_equal(np.asarray(Image.open(target)), scene())
    inks = Image.fromarray(scene()).convert("CMYK")
    data = encode(inks, "TIFF", icc_profile=press())
    target = translated(data, tmp_path, "inks.tif")
    assert profile.means_srgb(carried(target)["icc"])
    assert np.array_equal(np.asarray(Image.open(target)), read_rgb(data))
    target = translated(encode(scene(), "PNG", icc_profile=press()), tmp_path, "wrong.png")
    assert carried(target)["icc"] is None


def test_formats_without_profiles_are_srgb(tmp_path: Path) -> None:
    data = encode(COLOURS, "PNG", icc_profile=PROFILES["display p3"])
    for suffix in ("bmp", "ppm"):
        target = translated(data, tmp_path, "a.png", format=suffix)
        assert far(np.asarray(Image.open(target)), read_rgb(data)) <= 1
    assert far(COLOURS, read_rgb(data)) > 3


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_damaged_profiles_cost_nothing_but_themselves(data: st.DataObject) -> None:
    raw = bytearray(PROFILES[data.draw(st.sampled_from(sorted(PROFILES)))])
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = take(encode(COLOURS, "PNG", icc_profile=bytes(raw)))
        assert picture.tensor.isfinite().all()
        assert picture.restore(picture.tensor).size == (16, 12)


# ---- 16 bits


def tiff16(
    values: np.ndarray,
    *,
    order: str = "<",
    orientation: int = 1,
    deflate: bool = False,
    planes: bool = False,
    more: dict[int, Any] | None = None,
) -> bytes:
    """Build a TIFF of uint16 [H, W, 3 or 4] from its parts, in strips of two rows. Source: TIFF 6.0, section 6."""
    height, width, channels = values.shape
    if planes:
        strips = [values[..., n].astype(f"{order}u2").tobytes() for n in range(channels)]
    else:
        strips = [values[top : top + 2].astype(f"{order}u2").tobytes() for top in range(0, height, 2)]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II" if order == "<" else b"MM")
    layout = {256: width, 257: height, 258: (16,) * channels, 259: 8 if deflate else 1, 262: 2, 274: orientation}
    layout |= {277: channels, 278: height if planes else 2, 284: 2 if planes else 1}
    layout |= {273: tuple(np.cumsum([0, *map(len, strips[:-1])]).tolist()), 279: tuple(map(len, strips))}
    layout |= {338: 2} if channels == 4 else {}
    for tag, value in (layout | (more or {})).items():
        directory[tag] = value
    out = io.BytesIO()
    directory.save(out)
    return out.getvalue() + b"".join(strips)


def png16(values: np.ndarray, *extra: bytes) -> bytes:
    """Build a PNG of uint16 [H, W, C]."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, colour, rows, *extra)


def interlaced(values: np.ndarray) -> bytes:
    """Build an interlaced PNG of uint16 [H, W, 3]. Source: W3C PNG specification, section 8.2 (Adam7)."""
    rows = b""
    for x, y, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        part = values[y::down, x::across]
        rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in part if row.size)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def table() -> bytes:
    """Build an RGB profile that swaps red and blue by a table. Source: ICC.1:2010, 10.10 (lut8Type)."""
    corners = b"".join(bytes((64 + 64 * b, 64 + 64 * g, 64 + 64 * r)) for r in (0, 1) for g in (0, 1) for b in (0, 1))
    identity = bytes(range(256))
    matrix = b"".join(struct.pack(">i", 65536 * (place % 4 == 0)) for place in range(9))
    lut = b"mft1\0\0\0\0" + bytes((3, 3, 2, 0)) + matrix + 3 * identity + corners + 3 * identity
    return icc(b"mntr", b"RGB ", b"XYZ ", {b"A2B0": lut})


def numbers(channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (9, 14, channels)).astype(np.uint16)


def unit(source: Any) -> np.ndarray:
    """Return what the network gets, as uint16 [H, W, 3]."""
    return np.rint((take(source).tensor[0].permute(1, 2, 0).numpy().astype(np.float64) + 1) * 32767.5)


def parts(path: Path) -> np.ndarray:
    """Decode a 16-bit file independently: PNG by hand, if its rows are not filtered, else by OpenCV."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    assert found is not None
    assert found.dtype == np.uint16
    return found[..., [2, 1, 0, 3][: found.shape[2]]] if found.ndim == 3 else found[..., None]


def written_rows(data: bytes) -> np.ndarray:
    """Read the pixels of a 16-bit TIFF, uncompressed or deflated, by hand."""
    with Image.open(io.BytesIO(data)) as image:
        about = image.tag_v2  # type: ignore[attr-defined]
        pieces = [data[at : at + size] for at, size in zip(about[273], about[279], strict=True)]
        if about[259] == 8:
            pieces = [zlib.decompress(piece) for piece in pieces]
        values = np.frombuffer(b"".join(pieces), "<u2").reshape(about[257], about[256], about[277])
        return np.cumsum(values, 1, dtype=np.uint16) if about.get(317) == 2 else values


DEEP: dict[str, tuple[bytes, np.ndarray]] = {
    "png": (png16(numbers()), numbers()),
    "png with alpha": (png16(numbers(4)), numbers(4)),
    "png of grey with alpha": (png16(numbers(2)), numbers(2)),
    "png, interlaced": (interlaced(numbers()), numbers()),
    "png with a gamma and other chunks": (
        png16(numbers(), chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"tEXt", b"a\0b")),
        numbers(),
    ),
    "tiff": (tiff16(numbers()), numbers()),
    "tiff, big-endian": (tiff16(numbers(), order=">"), numbers()),
    "tiff, deflated": (tiff16(numbers(), deflate=True), numbers()),
    "tiff, deflated, big-endian": (tiff16(numbers(), deflate=True, order=">"), numbers()),
    "tiff with alpha": (tiff16(numbers(4)), numbers(4)),
    "tiff with something else than alpha": (tiff16(numbers(4), more={338: 0}), numbers(4)[..., :3]),
}


@pytest.mark.parametrize("name", DEEP)
def test_16_bit_colour_is_read_and_written_in_16_bits(tmp_path: Path, name: str) -> None:
    data, values = DEEP[name]
    colours = values[..., :1].repeat(3, 2) if values.shape[2] == 2 else values[..., :3]
    picture = take(data)
    assert picture.dtype == np.uint16
    if values.shape[2] in (2, 4):
        assert picture.alpha is not None
        assert np.array_equal(np.rint(picture.alpha[0, 0].numpy().astype(np.float64) * 65535), values[..., -1])
    else:
        assert picture.alpha is None
    assert np.array_equal(unit(data), colours)
    wanted = values[..., [0, 0, 0, 1]] if values.shape[2] == 2 else values  # neither format has grey with alpha
    for suffix in ("png", "tif"):
        target = translated(data, tmp_path, f"a.{name.split()[0].strip(',')}", format=suffix)
        found = written_rows(target.read_bytes()) if suffix == "tif" else parts(target)
        assert np.array_equal(found, wanted)
        assert np.array_equal(found, parts(target))


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_colour_is_turned_upright(kind: str, orientation: int) -> None:
    turn = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM}
    turn |= {5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE}
    turn |= {8: Image.Transpose.ROTATE_90}
    layers = [Image.fromarray(numbers()[..., n]) for n in range(3)]
    upright = np.stack(
        [np.asarray(layer.transpose(turn[orientation]) if orientation > 1 else layer) for layer in layers], 2
    )
    tag = Image.Exif()
    tag[0x0112] = orientation
    if kind == "png":
        data = png16(numbers(), chunk(b"eXIf", tag.tobytes().removeprefix(b"Exif\0\0")))
    else:
        data = tiff16(numbers(), orientation=orientation)
    assert np.array_equal(unit(data), upright)


def test_one_transparent_16_bit_colour_becomes_alpha() -> None:
    values = numbers()
    values[0, 1] = values[0, 0] + np.array([0, 0, 1], np.uint16)  # the same in 8 bits
    picture = take(png16(values, chunk(b"tRNS", values[0, 0].astype(">u2").tobytes())))
    assert picture.alpha is not None
    assert picture.alpha[0, 0, 0, :3].tolist() == [0, 1, 1]
    assert picture.dtype == np.uint16


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_metadata_and_profiles_of_16_bit_colour_survive(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(1).integers(110 * 257, 150 * 257, (8, 9, 3)).astype(np.uint16)
    p3 = PROFILES["display p3"]
    if kind == "png":
        more = [chunk(b"iCCP", b"p3\0\0" + zlib.compress(p3)), chunk(b"eXIf", tags(1))]
        more += [chunk(b"pHYs", struct.pack(">IIB", 9449, 9449, 1))]
        data = png16(values, *more, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))
    else:
        data = tiff16(values, more={34675: p3, 700: XMP, 33723: IPTC, 315: "Ann Lee", 282: 240.0, 283: 240.0, 296: 2})
    assert far(unit(data) / 65535, profile.space_of(p3).to_srgb(values.astype(np.float32) / 65535)) < 1e-4  # type: ignore[union-attr]
    for suffix in ("png", "tif"):
        target = translated(data, tmp_path, f"a.{kind}", Four, format=suffix)
        found = carried(target)
        assert (found["size"], found["icc"], found["tags"][315]) == ((36, 32), p3, "Ann Lee")
        assert "Café".encode() in found["xmp"]
        assert found["dpi"] == pytest.approx((240, 240), abs=0.1)
        assert far(parts(target)[::4, ::4], values) <= 3
        if kind == "png":
            assert found["details"][0x927C] == MAKER
    with pytest.warns(images.ImageWarning, match="of which 8 bits are read: its profile consists of tables"):
        take(png16(values, chunk(b"iCCP", b"p\0\0" + zlib.compress(table()))))


def test_16_bit_colour_that_opencv_reads_differently_is_read_in_8_bits() -> None:
    alpha = np.full((9, 14, 1), 30_000, np.uint16)
    multiplied = np.concatenate([numbers() // 3, alpha], 2)
    with pytest.warns(images.ImageWarning, match="16-bit colour, of which 8 bits are read: this layout"):
        assert take(tiff16(multiplied, more={338: 1})).dtype == np.uint8
    with pytest.warns(images.ImageWarning, match="16-bit colour, of which 8 bits are read: PIL"):
        assert take(Image.open(io.BytesIO(png16(numbers())))).dtype == np.uint8


def test_16_bit_planes_without_compression_are_rejected() -> None:
    for read in (take, read_rgb):
        with pytest.raises(DataError, match="16 bits in separate planes are not supported"):
            read(tiff16(numbers(), planes=True))
    assert far(read_rgb(tiff16(numbers(), planes=True, deflate=True)), numbers() >> 8) == 0


def test_opencv_is_never_called_for_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: called.append(len(data)))
    for kind in images.FORMATS:
        take(encode(scene(), kind))
    take(encode(Image.fromarray(scene()[..., 0].astype(np.uint16)), "PNG"))
    with pytest.raises(DataError, match="more than the limit"):
        take(png16(numbers()), limit=100)
    for broken in (png16(numbers())[:-40], tiff16(numbers())[:-40]):
        with pytest.raises(DataError):
            take(broken)
    assert not called
    with pytest.warns(images.ImageWarning):
        take(png16(numbers()))
    assert called


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_16_bit_files_give_a_picture_or_a_data_error(data: st.DataObject) -> None:
    raw = bytearray(DEEP[data.draw(st.sampled_from(sorted(DEEP)))][0])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = "the given bytes: "
        try:
            assert take(bytes(raw), limit=10**6).tensor.isfinite().all()
        except DataError as error:
            message = str(error)
        assert message.startswith("the given bytes: ")
