"""Signed multipliers: partial products after Baugh and Wooley, reduced by rows or by a tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from ...tables import complete
from .adders import add_bits, ripple
from .netlist import ONE, Netlist

Multiplier = Literal["array", "wallace"]
_PART = "multiplier"


def multiply(netlist: Netlist, a: Sequence[int], w: Sequence[int], kind: Multiplier) -> list[int]:
    """The product of two's-complement words, of len(a) + len(w) bits."""
    rows = _partial_products(netlist, a, w)
    bits = len(a) + len(w)
    # -2**(A+W-1) + 2**(A-1) + 2**(W-1), modulo 2**(A+W)
    constant = (1 << (bits - 1)) + (1 << (len(a) - 1)) + (1 << (len(w) - 1))
    ones = [i for i in range(bits) if constant >> i & 1]
    return ripple(netlist, _REDUCE[kind](netlist, rows, ones, bits), _PART)


def _partial_products(
    netlist: Netlist, a: Sequence[int], w: Sequence[int]
) -> list[list[tuple[int, int]]]:
    """Rows of (column, net), one a bit of `w`; those with one sign bit are inverted."""
    return [
        [
            (
                i + j,
                netlist.gate(
                    "NAND2" if (i == len(a) - 1) != (j == len(w) - 1) else "AND2",
                    i + j,
                    (a[i], w[j]),
                    _PART,
                ),
            )
            for i in range(len(a))
        ]
        for j in range(len(w))
    ]


def _wallace(
    netlist: Netlist, rows: list[list[tuple[int, int]]], ones: Sequence[int], bits: int
) -> list[list[int]]:
    """All partial products at once, by a tree."""
    columns: list[list[int]] = [[] for _ in range(bits)]
    for row in rows:
        for column, net in row:
            columns[column].append(net)
    for column in ones:
        columns[column].append(ONE)
    return _tree(netlist, columns)


def _tree(netlist: Netlist, columns: list[list[int]]) -> list[list[int]]:
    """Stage by stage three nets of a column become one there and one above, until two are left."""
    while max(map(len, columns)) > 2:
        after: list[list[int]] = [[] for _ in range(len(columns) + 1)]
        for column, nets in enumerate(columns):
            for first in range(0, len(nets), 3):
                group = nets[first : first + 3]
                if len(group) == 1 or (len(group) == 2 and len(nets) == 2):
                    after[column] += group
                    continue
                total, carry = add_bits(netlist, column, group, _PART)
                after[column].append(total)
                after[column + 1].append(carry)
        columns = [[net for net in nets if net] for nets in after[: len(columns)]]
    return columns


def _array(
    netlist: Netlist, rows: list[list[tuple[int, int]]], ones: Sequence[int], bits: int
) -> list[list[int]]:
    """Row by row: a row of adders adds the next partial products, carries go on to the next row."""
    columns: list[list[int]] = [[] for _ in range(bits)]
    for column in ones:
        columns[column].append(ONE)
    for row in rows:
        after: list[list[int]] = [[] for _ in range(bits + 1)]
        for column, net in row:
            columns[column].append(net)
        for column, nets in enumerate(columns):
            if len(nets) < 3:
                after[column] += nets
                continue
            total, carry = add_bits(netlist, column, nets[:3], _PART)
            after[column] += [total, *nets[3:]]
            after[column + 1].append(carry)
        columns = [[net for net in nets if net] for nets in after[:bits]]
    return _tree(netlist, columns)


#: Partial products and constant ones (their columns) -> columns of two nets at most.
_REDUCE: dict[
    Multiplier,
    Callable[
        [Netlist, list[list[tuple[int, int]]], Sequence[int], int],
        list[list[int]],
    ],
] = {"wallace": _wallace, "array": _array}
MULTIPLIERS = tuple(_REDUCE)
complete(
    "Multiplier in hdl/netlist/multipliers.py",
    get_args(Multiplier),
    _REDUCE,
    "hdl/netlist/multipliers.py: _REDUCE",
)
