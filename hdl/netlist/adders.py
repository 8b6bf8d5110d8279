"""Adders from cells, constants folded: a full adder with a known input is a smaller cell."""

from __future__ import annotations

from collections.abc import Sequence

from .netlist import ONE, ZERO, Netlist


def add_bits(netlist: Netlist, column: int, bits: Sequence[int], part: str) -> tuple[int, int]:
    """Sum and carry of up to three nets of a column."""
    free = [net for net in bits if net not in (ZERO, ONE)]
    ones = sum(net == ONE for net in bits)
    if len(free) == 3:
        return _pair(netlist.add("FA", column, free, part))
    if len(free) == 2:
        if not ones:
            return _pair(netlist.add("HA", column, free, part))
        # a + b + 1
        total = netlist.gate("XNOR2", column, free, part)
        return total, netlist.gate("OR2", column, free, part)
    if len(free) == 1:
        (net,) = free
        if ones == 1:  # a + 1
            return netlist.gate("INV", column, (net,), part), net
        return net, (ONE if ones else ZERO)
    return (ONE if ones % 2 else ZERO), (ONE if ones > 1 else ZERO)


def ripple(
    netlist: Netlist,
    columns: Sequence[Sequence[int]],
    part: str,
    first_column: int = 0,
    keep: int | None = None,
) -> list[int]:
    """The sum of columns of at most two nets each, modulo 2**keep; one net a column."""
    keep = len(columns) if keep is None else keep
    carry, result = ZERO, []
    for i, bits in enumerate(columns[:keep]):
        if i == keep - 1:  # its carry is dropped
            result.append(_sum_only(netlist, first_column + i, [*bits, carry], part))
        else:
            total, carry = add_bits(netlist, first_column + i, [*bits, carry], part)
            result.append(total)
    return result


def _sum_only(netlist: Netlist, column: int, bits: Sequence[int], part: str) -> int:
    """The sum of up to three nets without the carry."""
    free = [net for net in bits if net not in (ZERO, ONE)]
    odd = sum(net == ONE for net in bits) % 2
    if not free:
        return ONE if odd else ZERO
    net = free[0]
    for i, other in enumerate(free[1:]):
        last = i == len(free) - 2
        net = netlist.gate("XNOR2" if odd and last else "XOR2", column, (net, other), part)
    if odd and len(free) == 1:
        net = netlist.gate("INV", column, (net,), part)
    return net


def _pair(nets: tuple[int, ...]) -> tuple[int, int]:
    total, carry = nets
    return total, carry
