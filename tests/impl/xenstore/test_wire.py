"""The wire protocol: any bytes in any pieces become messages or a typed error, and names and limits are Xen's."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpm_impl.xen.xenstore import paths, permissions
from vtpm_impl.xen.xenstore.wire import (
    ERRORS,
    HEADER,
    PAYLOAD_MAX,
    REQUESTS,
    Decoder,
    Message,
    MessageType,
    ProtocolError,
    encode,
    leading_number,
    only_string,
    strings,
)

U32 = st.integers(0, 0xFFFFFFFF)
MESSAGES = st.builds(Message, U32, U32, U32, st.binary(max_size=PAYLOAD_MAX))


def test_a_read_has_the_bytes_that_xs_wire_h_says() -> None:
    # enum xsd_sockmsg_type: XS_READ is 2; struct xsd_sockmsg: type, req_id, tx_id, len
    message = Message(MessageType.READ, 7, 1, b"/a\0")
    assert encode(message) == struct.pack("=4I", 2, 7, 1, 3) + b"/a\0"


def test_every_type_is_a_request_or_comes_from_the_store() -> None:
    assert set(MessageType) - set(REQUESTS) == {MessageType.WATCH_EVENT, MessageType.ERROR}
    assert 20 not in {int(kind) for kind in MessageType}  # RESTRICT, which is no more
    assert ERRORS["EAGAIN"] == 11


@given(st.lists(MESSAGES, max_size=6), st.data())
def test_messages_survive_being_cut_into_pieces(messages: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(encode, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = Decoder()
    arrived = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        arrived += decoder.feed(stream[start:end])
    assert arrived == messages
    assert decoder.idle


@given(st.binary(max_size=200), st.integers(1, 50))
def test_what_strangers_send_is_messages_or_a_protocol_error(junk: bytes, piece: int) -> None:
    decoder = Decoder()
    taken = 0
    with contextlib.suppress(ProtocolError):
        for at in range(0, len(junk), piece):
            taken += sum(HEADER.size + len(message.payload) for message in decoder.feed(junk[at : at + piece]))
    assert taken <= len(junk)


def test_too_long_a_payload_is_refused_both_ways_with_its_length() -> None:
    with pytest.raises(ProtocolError, match="a WRITE of 4097 bytes"):
        encode(Message(MessageType.WRITE, 1, 0, bytes(4097)))
    with pytest.raises(ProtocolError, match="a type 99 announces 4097 bytes"):
        Decoder().feed(struct.pack("=4I", 99, 1, 0, 4097))
    assert len(Decoder().feed(encode(Message(MessageType.WRITE, 1, 0, bytes(4096))))) == 1


def test_strings_are_what_a_nul_ends() -> None:
    assert strings(b"a\0\0b") == [b"a", b""]
    assert strings(b"") == []
    assert only_string(b"a\0") == b"a"
    assert [only_string(payload) for payload in (b"", b"a", b"a\0b", b"a\0\0")] == [None] * 4
    assert only_string(b"\0") == b""


@pytest.mark.parametrize(
    ("text", "number"),
    [(b"5", 5), (b" 12x", 12), (b"-1", 0xFFFFFFFF), (b"x", 0), (b"", 0), (b"4294967297", 1), (b"9" * 30, 0xFFFFFFFF),
     (b"9" * 5000, 0), (b"0x10", 0), (b"+3", 3)],
)  # fmt: skip
def test_numbers_are_read_as_c_reads_them(text: bytes, number: int) -> None:
    assert leading_number(text) == number


@pytest.mark.parametrize("path", ["/", "/a", "/a-b/_@Z9", "/" + "p" * 2047, "/local/domain/5/" + "p" * 2048])
def test_a_valid_path(path: str) -> None:
    assert paths.is_valid(path)


@pytest.mark.parametrize(
    "path", ["", "a", "//", "/a/", "/a//b", "/a b", "/a.b", "/\xe4", "/a\n", "/" + "p" * 2048, "@x",
             "/local/domain/5/" + "p" * 2049, "/local/domain/123456/" + "p" * 2040],
)  # fmt: skip
def test_no_valid_path(path: str) -> None:
    assert not paths.is_valid(path)


@pytest.mark.parametrize(
    ("text", "domid"),
    [("n0", 0), ("r0x10", 16), ("b010", 8), ("w-1", 0xFFFFFFFF), ("r 7", 7), ("n" + "9" * 40, 0xFFFFFFFF)],
)
def test_a_permission(text: str, domid: int) -> None:
    entry = permissions.parse(text)
    assert entry is not None
    assert entry.domid == domid
    written = permissions.text(entry)
    assert permissions.parse(written) == entry


@pytest.mark.parametrize("text", ["", "n", "x1", "r1 ", "r1x", "r0x", "r08", "R1", "r--1", "1"])
def test_no_permission(text: str) -> None:
    assert permissions.parse(text) is None
