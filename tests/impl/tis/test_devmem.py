"""Registers in memory: a file stands for /dev/mem; each access has its width, and errors say where and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtpm_impl.tis.devmem import DevMem
from vtpm_impl.tis.errors import CarrierError
from vtpm_impl.tis.registers import BASE, EXTENT


@pytest.fixture(name="memory")
def a_file(tmp_path: Path) -> Path:
    memory = tmp_path / "mem"
    memory.write_bytes(bytes(0x1000) + bytes(range(256)) * (EXTENT // 256))
    return memory


@pytest.mark.parametrize(
    ("offset", "width", "value"), [(0x18, 8, 0x18), (0x24, 16, 0x2524), (0xF00, 32, 0x03020100), (0x4018, 8, 0x18)]
)
def test_an_access_has_its_width(memory: Path, offset: int, width: int, value: int) -> None:
    port = DevMem(0x1000, device=memory)
    assert port.read(offset, width) == value
    port.write(offset, width, value ^ 0xFF)
    assert port.read(offset, width) == value ^ 0xFF
    port.close()
    before, after = bytes(0x1000) + bytes(range(256)) * (EXTENT // 256), memory.read_bytes()
    assert [at for at in range(len(before)) if before[at] != after[at]] == [0x1000 + offset]


@pytest.mark.parametrize(
    ("base", "device", "error"),
    [
        (0x1800, "mem", r"at 0x1800 in '.*': the address is no multiple of 0x1000"),
        (0x1000, "nothing", "No such file or directory"),
        (0x100000, "mem", "mmap length is greater than file size"),
    ],
)
def test_what_cannot_be_mapped_is_told(memory: Path, base: int, device: str, error: str) -> None:
    with pytest.raises(CarrierError, match=error):
        DevMem(base, device=memory.parent / device)


def test_the_usual_address_is_that_of_a_pc() -> None:
    assert BASE == 0xFED40000
