"""Random stories of three domains at one xenstore: the control domain, 0, and the guests 1 and 2."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

from vtpm_impl.xen.xenstore.wire import MessageType as M

GUESTS: Final = (1, 2)
DOMAINS: Final = (0, *GUESTS)


class Ask(NamedTuple):
    """A domain sends a request."""

    domid: int
    kind: int
    payload: bytes
    transaction: int = 0

    def __str__(self) -> str:
        try:
            name = M(self.kind).name
        except ValueError:
            name = str(self.kind)
        inside = f" in transaction {self.transaction}" if self.transaction else ""
        return f"domain {self.domid}: {name} {self.payload!r}{inside}"


class Reborn(NamedTuple):
    """The control domain releases a guest and introduces it anew."""

    domid: int


class Dies(NamedTuple):
    """A guest is destroyed, and another one with its domid is introduced."""

    domid: int


class ShutsDown(NamedTuple):
    """A guest shuts down."""

    domid: int


class Reconnects(NamedTuple):
    """A program of the control domain leaves and comes back."""


Step = Ask | Reborn | Dies | ShutsDown | Reconnects

LEAVES: Final = ("a", "b", "cc", "device")
ROOTS: Final = ("/t", "/t", "/t", "/local/domain/1", "/local/domain/2", "")
SPECIAL: Final = ("@introduceDomain", "@releaseDomain")
NO_REQUESTS: Final = (M.WATCH_EVENT, M.ERROR, 20, 23, 24, 99, 0xFFFF)
VALUES: Final = (b"", b"1", b"22", b"a\0b", b"\xff\x00", b"x" * 60, b"y" * 170)
TOKENS: Final = ("t", "u", "\xff")
KINDS: Final = {
    M.WRITE: 20, M.READ: 9, M.MKDIR: 6, M.RM: 8, M.DIRECTORY: 5, M.DIRECTORY_PART: 3, M.GET_PERMS: 4, M.SET_PERMS: 9,
    M.WATCH: 9, M.UNWATCH: 3, M.TRANSACTION_START: 7, M.TRANSACTION_END: 9, M.RESET_WATCHES: 1, M.GET_DOMAIN_PATH: 1,
    M.IS_DOMAIN_INTRODUCED: 1, M.INTRODUCE: 1, M.RELEASE: 1, M.RESUME: 1,
}  # fmt: skip


class Storyteller:
    """Makes up stories, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._started: dict[int, int] = {}

    def story(self, steps: int) -> list[Step]:
        """Give a story of about that many steps, the making of a place for it included."""
        self._started = dict.fromkeys(DOMAINS, 0)
        story: list[Step] = [*self._place()]
        while len(story) < steps:
            story += self._turn()
        return story

    # ---- the parts of a story ---------------------------------------------------------------------------------------

    def _place(self) -> list[Step]:
        shared = self._random.choice(("b0", "b0", "r0\0w1", "n0\0b1\0r2", "n1\0r2"))
        return [
            *self._made("/t", shared),
            *(step for guest in GUESTS for step in self._made(f"/local/domain/{guest}", f"{self._letter()}{guest}")),
            *([self._watch(guest, token="s") for guest in DOMAINS if self._chance(0.5)]),
        ]

    def _turn(self) -> list[Step]:
        roll = self._random.random()
        if roll < 0.010:
            return [Reborn(self._random.choice(GUESTS))]
        if roll < 0.020:
            return [Dies(self._random.choice(GUESTS))]
        if roll < 0.030:
            return [ShutsDown(self._random.choice(GUESTS))]
        if roll < 0.035:
            return [Reconnects()]
        if roll < 0.055:
            return [self._nonsense()]
        if roll < 0.135:
            return self._transaction()
        return [self._request()]

    def _transaction(self) -> list[Step]:
        """A whole transaction, with others at work meanwhile."""
        domid = self._random.choice(DOMAINS)
        self._started[domid] += 1
        number = self._started[domid]
        inside = [
            self._node_request(domid, number) if self._chance(0.75) else self._request()
            for _ in range(self._random.randrange(1, 7))
        ]
        end = b"T\0" if self._chance(0.9) else b"F\0"
        return [Ask(domid, M.TRANSACTION_START, b"\0"), *inside, Ask(domid, M.TRANSACTION_END, end, number)]

    def _request(self) -> Ask:
        domid = self._random.choice(DOMAINS)
        return self._node_request(domid, self._number(domid))

    def _node_request(self, domid: int, number: int) -> Ask:
        kind = self._random.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        if kind == M.TRANSACTION_START and number == 0:
            self._started[domid] += 1
        payload = self._payload(domid, kind)
        if kind == M.SET_PERMS and payload.startswith(b"@"):
            domid = 0  # anybody else's, or of another name, would be one of the known deviations
        return Ask(domid, kind, payload, number)

    def _payload(self, domid: int, kind: M) -> bytes:
        path = self._path()
        match kind:
            case M.WRITE:
                return path + b"\0" + self._random.choice(VALUES)
            case M.DIRECTORY_PART:
                return path + b"\0" + self._random.choice((b"0", b"0", b"2", b"3", b"99", b"-1", b"x")) + b"\0"
            case M.SET_PERMS:
                if path.startswith(b"@") or self._chance(0.1):
                    path = self._random.choice(SPECIAL).encode()
                return path + b"\0" + self._permissions(domid).encode() + b"\0"
            case M.WATCH | M.UNWATCH:
                return self._watch(domid).payload
            case M.TRANSACTION_START | M.RESET_WATCHES:
                return b"\0"
            case M.TRANSACTION_END:
                return self._random.choice((b"T\0", b"T\0", b"T\0", b"F\0", b"X\0", b"T"))
            case M.GET_DOMAIN_PATH | M.IS_DOMAIN_INTRODUCED | M.RESUME | M.RELEASE:
                # a guest is released by a step of its own, since its connection goes with it
                here = () if kind == M.RELEASE else ("1", "2")
                some: tuple[str, ...] = (*here, "0", "5", "32752", "-1", "x", "")
                return self._random.choice(some).encode() + b"\0"
            case M.INTRODUCE:
                some = ("1\x001\x005\0", "7\x001\x005\0", "1\x001\x000\0", "1\x001\0", "2\x001\x005", "0\x001\x005\0")
                return self._random.choice(some).encode()
            case _:
                return path + b"\0"

    def _nonsense(self) -> Ask:
        domid = self._random.choice(DOMAINS)
        kind = self._random.choice((*NO_REQUESTS, M.WRITE, M.WATCH, M.SET_PERMS, M.INTRODUCE))
        return Ask(domid, kind, self._random.choice((b"", b"/t", b"/t\0", b"/t\0n0", b"/t\0x\0", b"\0\0\0")))

    # ---- the words --------------------------------------------------------------------------------------------------

    def _chance(self, likely: float) -> bool:
        return self._random.random() < likely

    def _number(self, domid: int) -> int:
        """A transaction to speak of: mostly none, else one of the last, which may be over, or one that never was."""
        if self._chance(0.7):
            return 0
        return self._random.choice((self._started[domid], self._started[domid], max(0, self._started[domid] - 1), 77))

    def _path(self) -> bytes:
        roll = self._random.random()
        if roll < 0.03:
            odd = ("/", "//", "/t/", "/t//a", "", "a b", "/t/\xe4", "/t/a.b", "@x", "/tool", "/t/" + "l" * 70, "l" * 70,
                   "/local/domain/1/" + "l" * 50, "/local/domain/00001/" + "m" * 50, "/t/a@b_-Z9")  # fmt: skip
            return self._random.choice(odd).encode("latin-1")
        root = self._random.choice(ROOTS)
        depth = self._random.choice((0, 1, 1, 1, 2, 2, 3))
        parts = [root, *(self._random.choice(LEAVES) for _ in range(depth))]
        return ("/".join(parts) if root else "/".join(parts[1:]) or "a").encode()

    def _letter(self) -> str:
        return self._random.choice("nnrwb")

    def _permissions(self, domid: int) -> str:
        if self._chance(0.04):
            return self._random.choice(("x1", "r", "", "n0x1", "n01", "n-1", "b 1", "n1x", "n7\0r0", "n1\0r7\0r0"))
        owner = domid if self._chance(0.8) else self._random.choice(DOMAINS)
        count = self._random.choice((0, 0, 1, 1, 2, 3))
        others = [f"{self._letter()}{self._random.choice((0, 1, 1, 2, 2, 7))}" for _ in range(count)]
        return "\0".join([f"{self._letter()}{owner}", *others])

    def _watch(self, domid: int, token: str | None = None) -> Ask:
        named = self._random.choice(SPECIAL).encode() if self._chance(0.2) else self._path()
        token = token or self._random.choice(TOKENS)
        return Ask(domid, M.WATCH, named + b"\0" + token.encode("latin-1") + b"\0")

    @staticmethod
    def _made(path: str, permissions: str) -> list[Ask]:
        return [Ask(0, M.MKDIR, f"{path}\0".encode()), Ask(0, M.SET_PERMS, f"{path}\0{permissions}\0".encode())]


def clean() -> list[Ask]:
    """Give what the control domain asks for, the guests being released, to leave nothing behind of a story."""
    wiped = [Ask(0, M.RM, path + b"\0") for path in (b"/t", b"/local", b"/tool")]
    opened = [Ask(0, M.SET_PERMS, f"{name}\0n0\0".encode()) for name in ("/", *SPECIAL)]
    return [*wiped, *opened, Ask(0, M.WRITE, b"/\0"), Ask(0, M.WRITE, b"/tool/xenstored\0")]
