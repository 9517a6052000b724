"""Forms (multipart/form-data), read into memory as they arrive: nothing of an upload ever touches the disk.

Only the names of fields that a route knows are accepted. The names of files are ignored, so they cannot do harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from .limits import Account, Limits, Refusal

MOST = 20  # parts of a form


def unknown(name: str) -> str:
    """Return "The field NAME is not known", or without the name, which is not repeated if it may be markup."""
    return f"The field {name} is not known" if name.isidentifier() and len(name) <= 40 else "A field is not known"


@dataclass
class Form:
    """The fields of a form: texts and files by name."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Part:
    """A part that is being read."""

    name: str = ""
    is_file: bool = False
    content: bytearray = field(default_factory=bytearray)


class Reader:
    """Collects the parts of a form.

    Args:
        boundary: between the parts.
        texts, files: the names of the fields that are possible.
        limits: of the server.
        account: to which the bytes are charged.
    """

    def __init__(
        self, boundary: bytes, texts: tuple[str, ...], files: tuple[str, ...], limits: Limits, account: Account
    ) -> None:
        self.known, self.uploads = (*texts, *files), files
        self.limits, self.account = limits, account
        self.form, self.part, self.count, self.ended = Form(), Part(), 0, False
        self.key, self.value = bytearray(), bytearray()
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self.key.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self.value.extend(data[start:end]),
                "on_header_end": self._header,
                "on_headers_finished": self._check,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Read some more bytes. Raises: Refusal."""
        self.account.take(len(chunk))
        try:
            self.parser.write(chunk)
        except FormParserError as error:
            raise Refusal(400, "The form is malformed: send multipart/form-data, as browsers and curl do.") from error

    def _begin(self) -> None:
        self.count += 1
        if self.count > MOST:
            raise Refusal(422, f"The form has more than {MOST} fields.")
        self.part = Part()

    def _header(self) -> None:
        if bytes(self.key).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self.value))
            self.part.name = options.get(b"name", b"").decode("utf-8", "replace")
            self.part.is_file = b"filename" in options
        self.key.clear()
        self.value.clear()

    def _check(self) -> None:
        name, possible = self.part.name, ", ".join(self.known)
        if name not in self.known:
            raise Refusal(422, f"{unknown(name)}; the fields are {possible}.")
        if name in self.form.texts or name in self.form.files:
            raise Refusal(422, f"The field {name} is given twice; send one request for each picture.")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.part.content += data[start:end]
        if self.part.name not in self.uploads and len(self.part.content) > self.limits.text:
            raise Refusal(413, f"The field {self.part.name} has more than {self.limits.text:,} bytes.")

    def _end(self) -> None:
        part = self.part
        if part.name in self.uploads:
            self.form.files[part.name] = bytes(part.content)
        else:
            try:
                self.form.texts[part.name] = part.content.decode()
            except UnicodeDecodeError as error:
                raise Refusal(422, f"The field {part.name} is not UTF-8.") from error
        self.part = Part()

    def _finish(self) -> None:
        self.ended = True


async def read_form(
    request: Request, texts: tuple[str, ...], files: tuple[str, ...], limits: Limits, account: Account
) -> Form:
    """Read the form of a request.

    Raises:
        Refusal: 415 for another type, 400 for a malformed form, 413 for too many bytes, 422 for unknown fields.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise Refusal(415, "Send the fields as multipart/form-data.")
    if not options.get(b"boundary"):
        raise Refusal(400, "The form has no boundary: let your client set the content type.")
    try:
        reader = Reader(options[b"boundary"], texts, files, limits, account)
    except FormParserError as error:
        raise Refusal(400, "The boundary of the form is too long.") from error
    async for chunk in request.stream():
        if chunk:
            reader.feed(chunk)
    if not reader.ended:
        raise Refusal(400, "The form is incomplete: its end is missing.")
    return reader.form
