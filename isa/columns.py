"""Which columns of a sum a protected processing element can protect, and which go together.

The paper's section III-D: redundant units serve the columns that a layer's truncation selects, and
the small columns at the left are merged into one, so that fewer inputs have to be routed.  Area and
faults read the same groups: what a merged unit protects beyond the selected columns survives too.
"""

from __future__ import annotations


def partial_products(act_bits: int, weight_bits: int, column: int) -> int:
    """Partial products of a column of a multiplier."""
    short, long = sorted((act_bits, weight_bits))
    return max(0, min(column + 1, short, short + long - 1 - column))


def groups(
    act_bits: int, weight_bits: int, protected: int, first: int, last: int
) -> tuple[tuple[int, ...], ...]:
    """Columns first..last of a product as groups that one redundant unit serves, low to high.

    protected : columns that a layer selects, and so the number of units, whose size is that of the
    largest columns. Columns from the left on are merged while they fit the smallest unit.
    """
    sizes = [partial_products(act_bits, weight_bits, c) for c in range(first, last + 1)]
    room = sorted(sizes)[-min(protected, len(sizes))] if sizes else 0
    merged, total = 0, 0
    while merged < len(sizes) and total + sizes[-1 - merged] <= room:
        merged += 1
        total += sizes[-merged]
    single = [(column,) for column in range(first, last + 1 - merged)]
    return (*single, tuple(range(last + 1 - merged, last + 1))) if merged else tuple(single)


def selected(shift: int, act_bits: int, protected: int) -> range:
    """The columns that requantisation at bit `shift` makes the top `protected` bits."""
    return range(shift + act_bits - protected, shift + act_bits)


def routed_product(protected: int, groups: int) -> bool:
    """Whether units are routed to the columns of a multiplier, or all of them are tripled.

    For one protected column that pays from three groups on.  For more it never does: carries go
    from unit to unit, so that every unit has to reach almost every column (docs/hardware.md).
    """
    return protected == 1 and groups > 2


def routed_sum(protected: int, columns: int) -> bool:
    """Whether units are routed to `columns` columns of the accumulator, or all are tripled."""
    return 0 < protected <= 4 and columns >= 2 * protected and columns > 1


def configurable_product(
    act_bits: int, weight_bits: int, protected: int, q_scale: int, shift: int
) -> range:
    """Columns of the product that have copies for a layer truncated at bit `shift`.

    What the selected groups hold, or all that may be selected where nothing is routed.
    """
    first, last = q_scale + act_bits - protected, act_bits + weight_bits - 1
    if first > last:
        return range(0)
    served = groups(act_bits, weight_bits, protected, first, last)
    if not routed_product(protected, len(served)):
        return range(first, last + 1)
    chosen = selected(shift, act_bits, protected)
    held = [c for group in served if set(group) & set(chosen) for c in group]
    return range(held[0], held[-1] + 1) if held else range(0)


def configurable_sum(
    act_bits: int, acc_bits: int, protected: int, q_scale: int, shift: int
) -> range:
    """Columns of the accumulator that have copies for a layer truncated at bit `shift`."""
    first = q_scale + act_bits - protected
    if not routed_sum(protected, acc_bits - first):
        return range(first, acc_bits)
    return selected(shift, act_bits, protected)
