"""The server and its client: identity by path, slow and broken clients, and nothing left behind."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import select
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtpm_impl.xen.xenstore.client import Client, Conflict, Disconnected, Event, XenstoreError
from vtpm_impl.xen.xenstore.quotas import Quotas
from vtpm_impl.xen.xenstore.server import BUSY, CLIENTS, HOPELESS, Server, ServerError, socket_path
from vtpm_impl.xen.xenstore.wire import Message, MessageType, ProtocolError, encode


@pytest.fixture
def folder() -> Iterator[Path]:
    # not tmp_path: a socket's path has to be short
    with tempfile.TemporaryDirectory(prefix="xs") as made:
        yield Path(made)


@contextlib.contextmanager
def serving(folder: Path, quotas: Quotas | None = None) -> Iterator[Server]:
    server = Server(folder, quotas)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def control(folder: Path) -> Iterator[Client]:
    with serving(folder), Client.connect(socket_path(folder, 0)) as client:
        yield client


def guest(folder: Path, control: Client, domid: int) -> Client:
    """Create and introduce a domain, with a folder of its own in the store, and connect as it."""
    socket_path(folder, domid).parent.mkdir(exist_ok=True)
    if not control.is_introduced(domid):
        control.mkdir(f"/local/domain/{domid}")
        control.set_perms(f"/local/domain/{domid}", [f"n{domid}"])
        control.introduce(domid)
    return Client.connect(socket_path(folder, domid))


def test_what_is_written_is_read(control: Client) -> None:
    control.write("/a/b", b"\x00\xff value")
    assert control.read("/a/b") == b"\x00\xff value"
    assert control.read("/a") == b""
    assert control.directory("/a") == ["b"]
    assert control.read_or_none("/a/c") is None
    control.rm("/a")
    with pytest.raises(XenstoreError) as refused:
        control.read("/a/b")
    assert (refused.value.errno, refused.value.path, refused.value.error) == (errno.ENOENT, "/a/b", "ENOENT")


def test_a_domain_is_who_its_path_says(folder: Path, control: Client) -> None:
    with guest(folder, control, 1) as one, guest(folder, control, 2) as two:
        one.write("secret", b"1")
        assert control.read("/local/domain/1/secret") == b"1"
        assert control.get_perms("/local/domain/1/secret") == ["n1"]
        for ask in (lambda: two.read("/local/domain/1/secret"), lambda: two.introduce(3), lambda: two.release(1)):
            with pytest.raises(XenstoreError, match="EACCES"):
                ask()


def test_only_this_user_can_open_the_sockets(folder: Path, control: Client) -> None:
    with guest(folder, control, 1):
        for domid in (0, 1):
            assert socket_path(folder, domid).stat().st_mode & 0o777 == 0o600
    assert (folder / "domains").stat().st_mode & 0o777 == 0o700


def test_a_domain_that_is_not_there_is_not_introduced(folder: Path, control: Client) -> None:
    with pytest.raises(XenstoreError, match="EINVAL"):
        control.introduce(5)
    with pytest.raises(Disconnected, match="domains/5/xenstore"):
        Client.connect(socket_path(folder, 5))


def test_a_release_ends_connections_and_takes_nodes_and_socket_away(folder: Path, control: Client) -> None:
    one = guest(folder, control, 1)
    one.write("a", b"1")
    control.watch("@releaseDomain", "gone")
    assert control.event(5) == Event("@releaseDomain", "gone")
    control.release(1)
    assert control.event(5) == Event("@releaseDomain", "gone")
    assert not socket_path(folder, 1).exists()
    assert control.read_or_none("/local/domain/1") is None
    with pytest.raises(Disconnected):
        one.read("a")
    one.close()


def test_a_domain_that_is_released_and_introduced_in_one_breath_finds_its_socket(folder: Path, control: Client) -> None:
    with guest(folder, control, 1):
        folder_of_1 = socket_path(folder, 1).parent
        socket_path(folder, 1).unlink()
        folder_of_1.rmdir()
        folder_of_1.mkdir()  # as a process does that becomes the domain after another one
        with raw(folder) as stream:
            release = Message(MessageType.RELEASE, 1, 0, b"1\0")
            introduce = Message(MessageType.INTRODUCE, 2, 0, b"1\x001\x001\0")
            stream.sendall(encode(release) + encode(introduce))
            stream.recv(100)
            assert control.is_introduced(1)
        with guest(folder, control, 1) as again, pytest.raises(XenstoreError, match="EACCES"):
            again.read("a")


def test_a_domain_whose_folder_goes_is_released_before_long(folder: Path, control: Client) -> None:
    one = guest(folder, control, 1)
    control.watch("@releaseDomain", "gone")
    assert control.event(5) is not None
    socket_path(folder, 1).unlink()
    socket_path(folder, 1).parent.rmdir()
    assert control.event(10) == Event("@releaseDomain", "gone")
    assert not control.is_introduced(1)
    one.close()


def test_watches_wake_a_selector_and_say_where(folder: Path, control: Client) -> None:
    with guest(folder, control, 1) as one:
        one.watch("device", "t")
        assert select.select([one], [], [], 5)[0] == [one]
        assert one.event() == Event("device", "t")
        assert one.event() is None
        assert select.select([one], [], [], 0)[0] == []
        control.write("/local/domain/1/device/vtpm/0/state", b"1")
        control.set_perms("/local/domain/1/device/vtpm/0/state", ["n1"])
        assert select.select([one], [], [], 5)[0] == [one]
        assert one.event(5) == Event("device/vtpm/0/state", "t")
        one.unwatch("device", "t")
        with pytest.raises(XenstoreError, match="UNWATCH 'device': ENOENT"):
            one.unwatch("device", "t")


def test_an_event_that_came_with_an_answer_still_wakes_a_selector(folder: Path, control: Client) -> None:
    control.watch("/a", "t")
    assert control.event(5) == Event("/a", "t")
    control.write("/a", b"")  # its own event precedes the answer
    assert select.select([control], [], [], 0)[0] == [control]
    assert control.event() == Event("/a", "t")
    assert select.select([control], [], [], 0)[0] == []


def test_a_thread_that_waits_hears_of_what_another_thread_received(control: Client) -> None:
    control.watch("/a", "t")
    assert control.event(5) is not None
    heard: list[Event | None] = []
    waiting = threading.Thread(target=lambda: heard.append(control.event(20)))
    waiting.start()
    time.sleep(0.05)
    control.write("/a", b"")
    waiting.join(10)
    assert heard == [Event("/a", "t")]


def test_threads_share_a_connection(control: Client) -> None:
    wrong: list[bytes] = []

    def work(number: int) -> None:
        for turn in range(200):
            control.write(f"/t/{number}", f"{number}.{turn}".encode())
            said = control.read(f"/t/{number}")
            if said != f"{number}.{turn}".encode():
                wrong.append(said)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def fail_in_a_transaction(client: Client) -> None:
    for transaction in client.transaction():
        with transaction:
            transaction.write("/a", b"2")
            raise RuntimeError("mine")


def test_a_transaction_is_all_or_nothing(folder: Path, control: Client) -> None:
    with Client.connect(socket_path(folder, 0)) as other:
        for transaction in control.transaction():
            with transaction:
                transaction.write("/a", b"1")
                assert other.read_or_none("/a") is None
        assert other.read("/a") == b"1"
        with pytest.raises(RuntimeError, match="mine"):
            fail_in_a_transaction(control)
        assert other.read("/a") == b"1"


def test_a_transaction_in_conflict_is_tried_again(folder: Path, control: Client) -> None:
    control.write("/counter", b"0")

    def count() -> None:
        with Client.connect(socket_path(folder, 0)) as client:
            for _ in range(50):
                for transaction in client.transaction(attempts=10_000):
                    with transaction:
                        transaction.write("/counter", b"%d" % (int(transaction.read("/counter")) + 1))

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert control.read("/counter") == b"150"


def test_a_transaction_that_never_gets_through_is_told(folder: Path, control: Client) -> None:
    tries = 0

    def disturbed() -> None:
        nonlocal tries
        for transaction in control.transaction(attempts=3):
            with transaction:
                tries += 1
                transaction.read_or_none("/a")
                other.write("/a", b"")

    with Client.connect(socket_path(folder, 0)) as other, pytest.raises(Conflict, match="3 times"):
        disturbed()
    assert tries == 3


def test_an_aborted_transaction_is_not_tried_again(control: Client) -> None:
    tries = 0
    for transaction in control.transaction():
        with transaction:
            tries += 1
            transaction.write("/a", b"")
            transaction.abort()
    assert tries == 1
    assert control.read_or_none("/a") is None


def test_a_long_directory_is_read_in_parts(control: Client) -> None:
    names = [f"{number:03d}-{'n' * 60}" for number in range(300)]
    for name in names:
        control.mkdir(f"/long/{name}")
    assert control.directory("/long") == names


def test_a_disconnect_ends_transactions_and_watches(folder: Path) -> None:
    quotas = Quotas(watches=0, transactions=0)
    with serving(folder, quotas), Client.connect(socket_path(folder, 0)) as control:
        for _ in range(5):
            with guest(folder, control, 1) as one:
                one.watch("a", "t")
                with pytest.raises(XenstoreError, match="E2BIG"):
                    one.watch("b", "t")
                next(one.transaction())
                with pytest.raises(XenstoreError, match="ENOSPC"):
                    next(one.transaction())


def test_several_connections_of_a_guest_share_its_quotas(folder: Path) -> None:
    with (
        serving(folder, Quotas(watches=3)),
        Client.connect(socket_path(folder, 0)) as control,
        guest(folder, control, 1) as one,
        guest(folder, control, 1) as two,
    ):
        for number, client in enumerate((one, two, one, two)):
            client.watch("a", str(number))
        for client in (one, two):
            with pytest.raises(XenstoreError, match="E2BIG"):
                client.watch("a", "more")


def test_a_guest_has_so_many_connections_and_no_more(folder: Path, control: Client) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(guest(folder, control, 1)).mkdir("a")
        with guest(folder, control, 1) as further, pytest.raises(Disconnected):
            further.mkdir("b")
        with guest(folder, control, 2) as another:
            another.mkdir("c")  # which is nothing to others


def raw(folder: Path, domid: int = 0) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(10)
    stream.connect(str(socket_path(folder, domid)))
    return stream


def test_a_request_that_comes_byte_by_byte_is_answered(folder: Path, control: Client) -> None:
    control.write("/a", b"x")
    with raw(folder) as stream:
        for byte in encode(Message(MessageType.READ, 9, 0, b"/a\0")):
            stream.sendall(bytes([byte]))
        assert stream.recv(100) == encode(Message(MessageType.READ, 9, 0, b"x"))


@pytest.mark.parametrize("junk", [struct.pack("=4I", 2, 1, 0, 4097), b"\xff" * 64])
def test_who_does_not_speak_the_protocol_loses_the_connection(folder: Path, control: Client, junk: bytes) -> None:
    with raw(folder) as stream:
        stream.sendall(junk)
        assert stream.recv(100) == b""
    assert control.directory("/") == ["tool"]


def test_who_leaves_in_the_middle_of_a_request_is_forgotten(folder: Path, control: Client) -> None:
    for cut in (1, 15, 16, 18):
        with raw(folder) as stream:
            stream.sendall(encode(Message(MessageType.WRITE, 1, 0, b"/half\0value"))[:cut])
    assert control.read_or_none("/half") is None


def test_who_does_not_read_answers_is_not_read_from_and_others_are_served(folder: Path, control: Client) -> None:
    control.write("/big", b"v" * 4000)
    flood = encode(Message(MessageType.READ, 1, 0, b"/big\0")) * 100
    with raw(folder) as greedy:
        greedy.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 1 << 24:
                sent += greedy.send(flood)
        # its requests stay in the sockets of the host: nobody has made answers of them
        assert sent < (BUSY + (1 << 21)) * 16
        started = time.monotonic()
        for _ in range(100):
            control.read("/tool")
        assert time.monotonic() - started < 5
        greedy.settimeout(10)
        assert greedy.recv(16)[:4] == struct.pack("=I", MessageType.READ)


def test_who_does_not_take_events_is_told_by_the_end_of_the_connection(folder: Path, control: Client) -> None:
    with guest(folder, control, 1) as one:
        control.set_perms("/local/domain/1", ["b1"])
        for number in range(8):
            one.watch("a", str(number) * 1900)
        for number in range(HOPELESS // 8000):
            control.write(f"/local/domain/1/a/{number}", b"")
        with pytest.raises(Disconnected):
            one.mkdir("b")


def test_the_same_event_does_not_wait_twice(folder: Path, control: Client) -> None:
    with guest(folder, control, 1) as one:
        one.watch("a", "t" * 3000)
        assert one.event(5) is not None
        for _ in range(20_000):
            control.write("/local/domain/1/a", b"")
        seen = 0
        while one.event(0.2) is not None:
            seen += 1
        assert 1 <= seen < 10_000
        one.write("b", b"")  # it is still connected


def test_a_flood_of_requests_leaves_room_for_others(folder: Path, control: Client) -> None:
    flood = encode(Message(MessageType.GET_DOMAIN_PATH, 1, 0, b"0\0")) * 50
    done = threading.Event()

    def pour() -> None:
        with raw(folder) as stream:
            while not done.is_set():
                stream.sendall(flood)
                taken = 0
                while taken < 50 * 32:
                    taken += len(stream.recv(65536))

    pouring = threading.Thread(target=pour)
    pouring.start()
    try:
        started = time.monotonic()
        for _ in range(200):
            control.read("/tool")
        assert time.monotonic() - started < 10
    finally:
        done.set()
        pouring.join()


def test_a_thousand_domains_come_and_go(folder: Path, control: Client) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(guest(folder, control, domid)) for domid in range(1, 1001)]
        for client in clients:
            client.watch("state", "t")
            client.write("state", b"1")
        assert len(control.directory("/local/domain")) == 1000
        control.write("/local/domain/500/state", b"2")
        assert clients[499].event(5) == Event("state", "t")
    for domid in range(1, 1001):
        control.release(domid)
    assert control.read_or_none("/local/domain/7") is None
    assert [path for path in folder.glob("domains/*/xenstore") if path.parent.name != "0"] == []


def test_no_answer_in_time_is_a_typed_error_and_ends_the_connection(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "silent"))
        listener.listen()
        with Client.connect(folder / "silent", timeout=0.1) as client:
            for said in ("does not answer in time", "is closed"):
                with pytest.raises(Disconnected, match=said):
                    client.read("/a")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Message(MessageType.READ, 1, 0, b""), "a TRANSACTION_START was answered by a READ"),
        (Message(MessageType.TRANSACTION_START, 1, 0, b"x\0"), "a transaction has a number, not b'x"),
        (Message(MessageType.TRANSACTION_START, 1, 0, b"9" * 4000 + b"\0"), "a transaction has a number"),
        (Message(MessageType.WATCH_EVENT, 0, 0, b"/a\0"), "an event is a path and a token, not b'/a"),
    ],
)
def test_a_store_that_does_not_speak_the_protocol_is_told_of(folder: Path, answer: Message, said: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "odd"))
        listener.listen()
        with Client.connect(folder / "odd") as client:
            other, _ = listener.accept()
            with other:
                other.sendall(encode(answer))
                with pytest.raises(ProtocolError, match=said):
                    next(client.transaction())


def test_an_answer_that_comes_late_is_not_taken_for_another(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "late"))
        listener.listen()
        with Client.connect(folder / "late") as client:
            other, _ = listener.accept()
            with other:
                other.sendall(encode(Message(MessageType.READ, 77, 0, b"not this")))
                other.sendall(encode(Message(MessageType.READ, 1, 0, b"this")))
                assert client.read("/a") == b"this"


def test_what_cannot_be_sent_is_refused_with_its_path(control: Client) -> None:
    for value, error in ((bytes(4095), "E2BIG"),):
        with pytest.raises(XenstoreError, match=error):
            control.write("/a", value)
    for path in ("/a\0b", "/\u2603", "/a b", ""):
        with pytest.raises(XenstoreError, match="EINVAL"):
            control.read(path)
    assert control.directory("/") == ["tool"]


def test_a_second_server_is_refused(folder: Path) -> None:
    with serving(folder), pytest.raises(ServerError, match="another server has the run directory"):
        Server(folder)


def test_a_run_directory_with_too_long_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="bytes too long"):
        Server(tmp_path / ("d" * 100))


def test_nothing_is_left_behind_by_a_server_that_ends(folder: Path) -> None:
    with serving(folder), Client.connect(socket_path(folder, 0)) as control, guest(folder, control, 1):
        pass
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == ["domains", "domains/1"]


def _serve(folder: Path) -> None:
    Server(folder).serve()


def test_a_killed_server_hangs_nobody_and_the_next_one_starts_afresh(folder: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(folder,))
    process.start()
    deadline = time.monotonic() + 20
    while not socket_path(folder, 0).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with Client.connect(socket_path(folder, 0)) as control, guest(folder, control, 1) as one:
        one.write("a", b"1")
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        for client in (control, one):
            with pytest.raises(Disconnected):
                client.read("/a")
    assert socket_path(folder, 1).exists()
    with serving(folder), Client.connect(socket_path(folder, 0)) as control:
        assert not socket_path(folder, 1).exists()
        assert control.directory("/") == ["tool"]
        with guest(folder, control, 1) as one:
            one.write("a", b"1")
