"""Our driver and QEMU's TPM as systems under test: through lines of JSON they are what they are without."""

from __future__ import annotations

import random
from itertools import product

import pytest
from tests.impl.tis.packets import PACKETS
from tests.impl.tis.subject import Subject
from tests.peers import tpm_machine

from vtpm_impl.tis.qemu import Machine
from vtpm_impl.tis.registers import PAGE
from vtpm_impl.tpm.family import Family

OFFSETS = (0x00, 0x08, 0x0C, 0x10, 0x14, 0x18, 0x19, 0x24, 0x25, 0x80, 0xF00, 0xF04)


def test_a_device_as_a_subject_is_the_device() -> None:
    tpm_machine.required()
    chooser = random.Random(1)
    with Machine(Family.TPM_1_2) as machine, Subject("tis-device") as subject:
        assert subject.hello["resets"] is True
        subject.say()
        assert subject.hear() == {"do": "wait"}
        for _ in range(3):
            machine.reset()
            subject.say(event="reset")
            assert subject.hear() == {"do": "wait"}
            for locality, _ in product(range(5), range(40)):
                offset, width = locality * PAGE + chooser.choice(OFFSETS), chooser.choice((8, 16, 32))
                subject.say(event="read", offset=offset, width=width)
                assert subject.hear() == {"do": "wait", "value": machine.read(offset, width)}
                value = chooser.choice((0x02, 0x08, 0x10, 0x20, 0x40, 0xC1))
                if offset & (PAGE - 1) not in (0x18, 0x19):  # a command that is begun may end when it likes
                    machine.write(offset, width, value)
                    subject.say(event="write", offset=offset, width=width, value=value)
                    assert subject.hear() == {"do": "wait"}
        subject.say(event="end")
        assert subject.end() == 0


@pytest.mark.parametrize(
    ("answer", "code"),
    [({"event": "dance"}, 1), ({"event": "read", "offset": 0x5000, "width": 8}, 1), ({"event": "end"}, 0)],
)
def test_what_the_harness_may_not_want_ends_the_device(answer: dict[str, object], code: int) -> None:
    tpm_machine.required()
    with Subject("tis-device") as subject:
        subject.say()
        assert subject.hear() == {"do": "wait"}
        subject.say(**answer)
        assert subject.end() == code


@pytest.mark.parametrize("answer", [{"value": 256, "now": 1}, {"value": "1", "now": 1}, {"now": 1}, {"value": 1}])
def test_what_the_harness_may_not_answer_ends_the_driver(answer: dict[str, object]) -> None:
    with Subject("tis-driver") as subject:
        assert subject.hello == {"do": "hello", "protocol": "vtpm-tis/1", "end": "tis-driver", "name": "xen-vtpm"}
        subject.say()
        assert subject.hear() == {"do": "wait"}
        subject.say(event="command", locality=0, data=PACKETS[Family.TPM_1_2].pcr_read.hex(), now=0)
        while (asked := subject.hear())["do"] != "read" or asked["width"] != 8:
            subject.say(value=1, now=0)
        subject.say(**answer)
        assert subject.end() == 1
