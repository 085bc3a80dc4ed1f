"""Reading files from strangers: limits on size, packed size, line length and nesting, and sentences for what is wrong.

`.gz` and `.xz` are unpacked on the way, never further than the limit.
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

CHUNK = 1 << 18


class BadInput(ValueError):
    """A file, or a part of it, is not what it should be: the message is a sentence that shows the value."""


@dataclass(frozen=True)
class Limits:
    """How much of a file is read: bytes on disk, bytes unpacked, bytes of a line, lines, levels of nesting."""

    stored: int = 64 << 20
    unpacked: int = 512 << 20
    line: int = 1 << 20
    lines: int = 5_000_000
    depth: int = 32
    memory: int = 64 << 20  # that an xz file may ask for


LIMITS = Limits()


def chunks(path: Path, limits: Limits = LIMITS) -> Iterator[bytes]:
    """The unpacked content of a file. Raises BadInput for what is no regular file, is too large, or does not unpack."""
    if not path.is_file():
        raise BadInput(f"{path} is not a file")
    size = path.stat().st_size
    if size > limits.stored:
        raise BadInput(f"{path} has {size} bytes; at most {limits.stored} are read")
    unpack = {".gz": _gunzip, ".xz": _unxz}.get(path.suffix, _plain)
    total = 0
    try:
        with path.open("rb") as file:
            for chunk in unpack(file, limits):
                total += len(chunk)
                if total > limits.unpacked:
                    raise BadInput(f"{path} unpacks to more than {limits.unpacked} bytes")
                yield chunk
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise BadInput(f"{path} does not unpack: {error}") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


def read_text(path: Path, limits: Limits = LIMITS) -> str:
    """The whole file as UTF-8 text."""
    try:
        return b"".join(chunks(path, limits)).decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text: byte {error.object[error.start]:#04x} at {error.start}") from error


def read_lines(path: Path, limits: Limits = LIMITS, *, errors: str = "strict") -> Iterator[tuple[int, str]]:
    """The lines of a text file, numbered from 1, without their ends; `errors` as for bytes.decode."""
    number = 0
    rest = b""
    for chunk in chunks(path, limits):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            yield number, _decoded(path, number, line, limits, errors)
        if len(rest) > limits.line:
            _too_long(path, number + 1, limits)
    if rest:
        yield number + 1, _decoded(path, number + 1, rest, limits, errors)


def read_json(path: Path, limits: Limits = LIMITS) -> Any:
    """The JSON document in a file."""
    return parse_json(read_text(path, limits), str(path), limits)


def read_ndjson(path: Path, limits: Limits = LIMITS) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects in a file with a JSON object a line, with the number of the line; blank lines are passed over."""
    for number, text in read_lines(path, limits):
        if not text or text.isspace():
            continue
        document = parse_json(text, f"{path}:{number}", limits)
        if not isinstance(document, dict):
            raise BadInput(f"{path}:{number}: {shown(text)} is not a JSON object")
        yield number, document


def parse_json(text: str, where: str, limits: Limits = LIMITS) -> Any:
    """The JSON document in a text, nested no deeper than allowed. Raises BadInput, naming `where`."""
    try:
        document = _DECODER.decode(text)
    except RecursionError:
        raise BadInput(f"{where}: nested deeper than {limits.depth} levels") from None
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
    except ValueError as error:
        raise BadInput(f"{where}: {shown(text)} is not JSON: {error}") from None
    # Fewer brackets than levels: no need to look.
    if text.count("{") + text.count("[") > limits.depth and _depth(document) > limits.depth:
        raise BadInput(f"{where}: nested deeper than {limits.depth} levels")
    return document


def shown(value: object, width: int = 80) -> str:
    """A value as a message shows it: not too long, nothing that a terminal would obey."""
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= width else text[: width - 3] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]


def _no_constant(name: str) -> NoReturn:
    raise BadInput(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _depth(document: Any) -> int:
    depth = 0
    level = [document] if isinstance(document, dict | list) else []
    while level:
        depth += 1
        inside = (item.values() if isinstance(item, dict) else item for item in level)
        level = [below for items in inside for below in items if isinstance(below, dict | list)]
    return depth


def _decoded(path: Path, number: int, line: bytes, limits: Limits, errors: str) -> str:
    if len(line) > limits.line:
        _too_long(path, number, limits)
    if number > limits.lines:
        raise BadInput(f"{path} has more than {limits.lines} lines")
    try:
        return line.removesuffix(b"\r").decode(errors=errors)
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}:{number}: not UTF-8 text: byte {line[error.start]:#04x}") from error


def _too_long(path: Path, number: int, limits: Limits) -> NoReturn:
    raise BadInput(f"{path}:{number}: longer than {limits.line} bytes")


def _plain(file: BinaryIO, limits: Limits) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _gunzip(file: BinaryIO, limits: Limits) -> Iterator[bytes]:
    packed = file.read(CHUNK)
    while packed:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not packed and not (packed := file.read(CHUNK)):
                raise EOFError("it ends too early")
            yield member.decompress(packed, CHUNK)
            packed = member.unconsumed_tail
        packed = member.unused_data or file.read(CHUNK)


def _unxz(file: BinaryIO, limits: Limits) -> Iterator[bytes]:
    packed = file.read(CHUNK)
    while packed:
        stream = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=limits.memory)
        while not stream.eof:
            if not packed and stream.needs_input and not (packed := file.read(CHUNK)):
                raise EOFError("it ends too early")
            yield stream.decompress(packed, CHUNK)
            packed = b""
        packed = stream.unused_data or file.read(CHUNK)
