"""Data files that belong to the package: as they were shipped, or one line says what to do.

A configuration that is cut off at the end of a line is still a configuration, of another machine;
one weight that changed is another network. So each file has its checksum here. The area table,
which is large and made by a command, carries its own (`hdl.area.table`).
"""

from __future__ import annotations

import zlib
from pathlib import Path

from ..errors import FlexhycaError
from ..files import reading

_ROOT = Path(__file__).parent.parent

#: File -> CRC-32 of its bytes; `tests/packaging/test_shipped.py` says what to write here.
CHECKSUMS = {
    "compiler/networks/digits.safetensors": 0x1ADB7A7D,
    "config/accelerators/base-32x32.yaml": 0x734BDA39,
    "config/accelerators/flexhyca-32x32-rate2.yaml": 0xB1943791,
    "config/accelerators/flexhyca-32x32-saturate.yaml": 0xB0FB4E6F,
    "config/accelerators/flexhyca-32x32.yaml": 0x305584E0,
    "config/accelerators/hyca-32x32.yaml": 0xF7C81CBC,
    "config/accelerators/gemmini-16x16.yaml": 0xD7E5FE09,
    "config/accelerators/tpu-v1-like.yaml": 0x90DAECF9,
    "config/accelerators/vta-1x16x16.yaml": 0xC3D1A22E,
    "config/searches/full.yaml": 0xE6FB3960,
    "config/searches/paper.yaml": 0x84DFE4D7,
    "config/searches/table1.yaml": 0x3A5212C9,
}


def shipped_names(folder: str, suffix: str = ".yaml") -> list[str]:
    """Names of what is shipped in a folder, without the suffix."""
    within = (Path(name) for name in CHECKSUMS if name.startswith(f"{folder}/"))
    return sorted(path.stem for path in within if path.suffix == suffix)


def shipped_file(name: str) -> Path:
    """Where a file of `CHECKSUMS` is, after a look at its bytes. Raises FlexhycaError."""
    path = _ROOT / name
    shipped_bytes(name)
    return path


def shipped_text(name: str) -> str:
    """What stands in a text of `CHECKSUMS`. Raises FlexhycaError."""
    return shipped_bytes(name).decode("utf-8")


def shipped_bytes(name: str) -> bytes:
    """What stands in a file of `CHECKSUMS`. Raises FlexhycaError."""
    path = _ROOT / name
    try:
        content = reading(path).read_bytes()
    except OSError as error:
        raise unusable(path, f"cannot be read: {error.strerror}") from None
    if zlib.crc32(content) != CHECKSUMS[name]:
        raise unusable(path, "is not as it was shipped", "of your own, use a copy")
    return content


def unusable(path: Path, why: str, besides: str = "") -> FlexhycaError:
    """The error for a file of the package that cannot be used."""
    also = f"; {besides}" if besides else ""
    return FlexhycaError(f"{path}: belongs to flexhyca and {why}", f"install flexhyca again{also}")
