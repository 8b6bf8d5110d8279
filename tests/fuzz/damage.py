"""Damage: what transfers, disks and people do to files."""

from __future__ import annotations

from hypothesis import strategies as st

#: Numbers at and beyond the limits of every integer type.
WILD = (
    *(0, 1, 2, 3, 7, 16, 127, 128, 255, 256, 4095, 4096, 65535, 65536, 2**20, 2**24 - 1, 2**24),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64),
    *(-1, -2, -128, -(2**31), -(2**63)),
)
#: Values of any kind, as JSON and YAML have them.
VALUES = st.one_of(
    st.sampled_from(WILD),
    st.sampled_from([None, True, False, "", "x", "\n", "-", "1e400", float("nan"), float("inf")]),
    st.floats(),
    st.text(max_size=8),
    st.recursive(
        st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """`content` cut off, with bytes changed, taken out, or repeated elsewhere."""
    for _ in range(draw(st.integers(1, 4))):
        size = len(content)
        at = draw(st.integers(0, max(0, size - 1)))
        kind = draw(st.sampled_from(["cut", "change", "change", "delete", "splice"]))
        if kind == "cut":
            content = content[:at]
        elif kind == "change":
            content = content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :]
        elif kind == "delete":
            content = content[:at] + content[at + draw(st.integers(1, 40)) :]
        else:
            begin, length = draw(st.integers(0, size)), draw(st.integers(0, 40))
            content = content[:at] + content[begin : begin + length] + content[at:]
    return content


def one_line(error: BaseException) -> None:
    """The message of an error is a line that a terminal can show."""
    message = str(error)
    assert message.isprintable(), message
    assert message
