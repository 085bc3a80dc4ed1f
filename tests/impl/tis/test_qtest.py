"""What QEMU's qtest socket may say and what it may not: each is a value, an interrupt, or a typed error."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vtpm_impl.tis.errors import CarrierError
from vtpm_impl.tis.qtest import QTest


@contextmanager
def saying(*answers: bytes) -> Iterator[QTest]:
    """A port whose QEMU has answered everything in advance."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"OK\n" + b"".join(answers))
        port = QTest(ours, patience=0.1)
        yield port
        port.close()


def test_a_value_is_read_and_interrupts_in_between_are_kept() -> None:
    with saying(b"IRQ raise 5\nIRQ lower 5\nOK 0x", b"0000000000000081\r\n", b"IRQ raise 0\n") as port:
        assert port.read(0, 8) == 0x81
        assert port.wait([4, 5], 0.0) == 5
        assert port.wait([5], 0.0) is None
        assert port.wait(range(16), 5.0) == 0


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"FAIL Unknown command\n", "QEMU answers 'FAIL Unknown command' to 'readb 0xfed40000'"),
        (b"OK\n", "QEMU answers '' to 'readb 0xfed40000'; a number of 8 bits is meant"),
        (b"OK 0x100\n", "QEMU answers '0x100' to 'readb 0xfed40000'; a number of 8 bits is meant"),
        (b"OK -1\n", "a number of 8 bits is meant"),
        (b"OK zz\n", "a number of 8 bits is meant"),
        (b"\xff\xfe\n", "QEMU answers '"),
        (b"IRQ raise five\n", "QEMU says 'IRQ raise five', which nobody asked for"),
        (b"x" * 1200, "QEMU says a line of more than 1000 bytes"),
        (b"", "QEMU did not answer 'readb 0xfed40000' in 0.1 s"),
    ],
)
def test_anything_else_is_an_error(said: bytes, error: str) -> None:
    with saying(said) as port, pytest.raises(CarrierError) as raised:
        port.read(0, 8)
    assert error in str(raised.value)


def test_after_a_late_answer_the_connection_is_of_no_more_use() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"OK\n")
        port = QTest(ours, patience=0.05)
        with pytest.raises(CarrierError, match="did not answer"):
            port.read(0, 8)
        with pytest.raises(CarrierError, match="did not answer"):
            port.read(0x18, 8)


def test_a_qemu_that_never_comes_is_told(tmp_path: Path) -> None:
    with pytest.raises(CarrierError, match=r"QEMU's socket '.*qtest': timed out"):
        QTest.at(tmp_path / "qtest", patience=0.05)
    assert not (tmp_path / "qtest").exists()


def test_a_socket_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    at = tmp_path / "qtest"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(at))

    def qemu() -> None:
        with socket.socket(socket.AF_UNIX) as stream:
            for _ in range(1000):
                try:
                    stream.connect(str(at))
                    break
                except OSError:
                    threading.Event().wait(0.005)
            stream.sendall(b"OK\nOK 0x81\n")
            threading.Event().wait(0.2)

    thread = threading.Thread(target=qemu)
    thread.start()
    port = QTest.at(at, patience=5.0)
    assert port.read(0, 8) == 0x81
    port.close()
    thread.join()
