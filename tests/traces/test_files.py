"""Files from strangers: every limit holds, packed or not, and each message shows what was wrong."""

from __future__ import annotations

import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vtpm_traces.files import BadInput, Limits, parse_json, read_json, read_lines, read_ndjson, read_text, shown

PACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".xz": lzma.compress}

SMALL = Limits(stored=2_000, unpacked=10_000, line=100, lines=50, depth=5)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), *PACK.items()])
def test_text_is_unpacked_on_the_way(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    text = "line one\nline two\r\n\nlast"
    path = written(tmp_path / f"a.txt{suffix}", pack(text.encode()))
    assert read_text(path) == text
    assert list(read_lines(path)) == [(1, "line one"), (2, "line two"), (3, ""), (4, "last")]


def test_several_packed_parts_are_one_text(tmp_path: Path) -> None:
    assert read_text(written(tmp_path / "a.gz", gzip.compress(b"one") + gzip.compress(b"two"))) == "onetwo"
    assert read_text(written(tmp_path / "a.xz", lzma.compress(b"one") + lzma.compress(b"two"))) == "onetwo"


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path, suffix: str) -> None:
    pack = PACK[suffix]
    path = written(tmp_path / f"bomb{suffix}", pack(b"\0" * (64 << 20)))
    with pytest.raises(BadInput, match="unpacks to more than 10000 bytes"):
        read_text(path, Limits(unpacked=10_000))


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has 2001 bytes; at most 2000 are read"):
        read_text(written(tmp_path / "a", b"x" * 2001), SMALL)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_damaged_packed_file_is_told(tmp_path: Path, suffix: str) -> None:
    pack = PACK[suffix]
    packed = pack(os.urandom(5000))
    for damaged in (packed[:-20], packed[:200], b"not packed at all", packed[:300] + b"\0" * 60 + packed[360:]):
        with pytest.raises(BadInput, match="does not unpack"):
            read_text(written(tmp_path / f"a{suffix}", damaged))


def test_long_lines_and_many_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=":2: longer than 100 bytes"):
        list(read_lines(written(tmp_path / "a", b"x\n" + b"y" * 101 + b"\n"), SMALL))
    with pytest.raises(BadInput, match=":1: longer than 100 bytes"):
        list(read_lines(written(tmp_path / "a", b"y" * 1900), SMALL))
    with pytest.raises(BadInput, match="more than 50 lines"):
        list(read_lines(written(tmp_path / "a", b"x\n" * 51), SMALL))
    assert len(list(read_lines(written(tmp_path / "a", b"x\n" * 50), SMALL))) == 50


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(BadInput, match="is not a file"):
            read_text(path)


def test_text_that_is_not_utf8_is_told_by_byte(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="byte 0xff at 3"):
        read_text(written(tmp_path / "a", b"abc\xff"))
    with pytest.raises(BadInput, match=":2: not UTF-8 text: byte 0xfe"):
        list(read_lines(written(tmp_path / "a", b"abc\n\xfe")))
    assert list(read_lines(tmp_path / "a", errors="backslashreplace")) == [(1, "abc"), (2, "\\xfe")]


def test_json_is_read_no_deeper_than_allowed() -> None:
    deep = "[" * 5 + "]" * 5
    assert parse_json(deep, "here", SMALL) == [[[[[]]]]]
    for text in ("[" * 6 + "]" * 6, "[" * 100_000 + "]" * 100_000, '{"a":' * 6 + "1" + "}" * 6):
        with pytest.raises(BadInput, match="here: nested deeper than 5 levels"):
            parse_json(text, "here", SMALL)
    assert parse_json(json.dumps([[]] * 40), "here", SMALL) == [[]] * 40  # many brackets, none deep


@pytest.mark.parametrize("text", ["", "{", "[1,]", "NaN", '{"a": Infinity}', "1 2", "'a'", "1" * 5000])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"^here: "):
        parse_json(text, "here")


def test_ndjson_has_an_object_a_line(tmp_path: Path) -> None:
    path = written(tmp_path / "a", b'{"a": 1}\n\n  \n{"b": 2}\n')
    assert list(read_ndjson(path)) == [(1, {"a": 1}), (4, {"b": 2})]
    with pytest.raises(BadInput, match=r":1: \[1\] is not a JSON object"):
        list(read_ndjson(written(tmp_path / "a", b"[1]\n")))
    assert read_json(written(tmp_path / "b", b"[1]")) == [1]


def test_messages_show_nothing_that_a_terminal_obeys() -> None:
    assert shown("\x1b[31mred") == "\\x1b[31mred"
    assert len(shown("x" * 1000)) == 80
