"""The operand taps of the DPPU, compiled (numba): when its register files are filled and left."""

from __future__ import annotations

from ...kernels import kernel


@kernel
def tap_windows(
    start: int, k: int, window: int, neurons: int, groups: int, width: int, done1: int, done2: int
) -> tuple[int, int, int, int, int]:
    """Stream `k` operands past the DPPU's two register files.

    A file is filled with `window` operands while the DPPU works on the other one; filling waits
    until the DPPU has left the file.  done1, done2 : when it leaves the file filled last, and the
    one before.  Returns (stream end, new done1, new done2, start of the work, cycles of work).
    """
    rounds = -(-neurons // groups)
    end = start
    begin = -1
    work = 0
    left = k
    while left > 0:
        size = min(window, left)
        left -= size
        end = max(end, done2) + size
        process = rounds * -(-size // width)
        at = max(end, done1)
        if begin < 0:
            begin = at
        work += process
        done2, done1 = done1, at + process
    return end, done1, done2, begin, work
