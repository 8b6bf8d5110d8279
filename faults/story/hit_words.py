"""What is stored where a fault hits, and what it becomes, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...config.schema import HEALS
from ...isa.protection import COPIES, redundancy_of
from ...isa.registers import BY_UNIT
from ...simulator.inject.fault_plan import copies_at, force
from ...simulator.inject.fault_run import FaultRun
from ...simulator.inject.sites import (
    ALL,
    END,
    EVERY,
    FLIP,
    Site,
)
from ...simulator.text.spans import Span
from .buffer_contents import word_content, word_place
from .contents import (
    Content,
    content,
    is_used,
    place,
)
from .region import stretches

_STRETCHES = 3  #: of cycles that are listed


def hit_tile(run: FaultRun, site: Site) -> Span:
    """The tile of a site; of a bit that is stuck in many, the first that uses it."""
    spans, layers = run.spans, range(len(run.network.layers))
    if site.layer != ALL:
        own = spans.own[run.program.layer_names.index(site.layer)]
        return own[0 if site.tile == EVERY else site.tile]
    first = [spans.own[i][0] for i in layers if spans.own[i]]
    for span in first:
        own_site = as_of(run, span, site)
        if site.unit == "buffer" or (own_site and span.gemms and is_used(run, span, own_site)):
            return span
    return first[0]


def as_of(run: FaultRun, span: Span, site: Site) -> Site | None:
    """What a bit that is stuck in all layers is in a tile; None where the tile has no such PE.

    Of three parts of an array that compute a layer, each counts its own columns.
    """
    if site.layer != ALL or not _of_a_third(run, span, site):
        return site
    run_number, col = divmod(site.col, run.spans.array(span).array.cols)
    _, own = copies_at(run.spans, span, site)
    if run_number >= COPIES or not BY_UNIT[site.unit][site.register].exists(site.row, col):
        return None
    return replace(site, col=col, copy=run_number * own + site.copy)


def _of_a_third(run: FaultRun, span: Span, site: Site) -> bool:
    """Whether three parts of the array compute the layer, and the register is in one of them."""
    name = run.program.layer_names[span.layer]
    space = redundancy_of(run.program.config, name).copies.parts > 1
    register = BY_UNIT[site.unit][site.register]
    return space and site.unit in ("array", "skew") and not register.feeds_rows


def hit_lines(run: FaultRun, span: Span, site: Site, sites: Sequence[Site]) -> Iterator[str]:
    """Lines about a register or word that is hit; values are those of the fault-free run."""
    is_word = site.unit == "buffer"
    name = word_place(site) if is_word else place(site)
    own = as_of(run, span, site)
    if own is None:
        yield f"{name} computes nothing of this layer"
        return
    found = (word_content if is_word else content)(run, span, own)
    if found.value is None:
        yield _unused(name, site, found)
        return
    bit = 0 if site.register == "position" and not is_word else site.bit
    after = force(found.value, bit, site.stuck, found.bits)
    when = "" if is_word else f" in cycle {found.cycle}"
    yield f"{name}{when}: {found.meaning}" + _becomes(site, found, bit, after)
    yield from _copies(run, span, own, sites, found, after)


def meets_zeros(run: FaultRun, span: Span, site: Site) -> bool:
    """Whether a site that changes no sum is an operand: then all that it is multiplied by is 0."""
    if site.unit == "buffer" or site.stuck != FLIP:
        return False
    runs, own = copies_at(run.spans, span, site)
    return runs * own == 1 and content(run, span, site).is_operand


def _unused(name: str, site: Site, found: Content) -> str:
    if not found.cycles:
        return f"{name} holds nothing that this tile uses"
    shown = stretches(found.cycles[:_STRETCHES])
    more = len(found.cycles) - _STRETCHES
    when = f"in cycle {found.cycle}"
    if site.stuck != FLIP:
        when = "while it is stuck"
    if more > 0:
        shown += f" and {more} more stretches, the last one {stretches(found.cycles[-1:])}"
    return f"{name} holds nothing that is used {when}; it does in cycles {shown}"


def _becomes(site: Site, found: Content, bit: int, after: int) -> str:
    assert found.value is not None
    held, sign = found.value >> bit & 1, " =" if found.product else ":"
    if site.register == "position" and site.unit != "buffer":
        text = f": {held} -> {after & 1}" if after != found.value else f": it is {held} already"
    elif after != found.value:
        text = f"{sign} {found.value} -> {after} (bit {bit}: {held} -> {1 - held})"
    else:
        text = f"{sign} {found.value}; bit {bit} is {held} already"
    if site.stuck == FLIP:
        return text
    return f"{text}; it is held at {site.stuck} {_until(site)}"


def _until(site: Site) -> str:
    if site.layer == ALL:
        return "in all tiles of all layers"
    if site.tile == EVERY:
        return "in all tiles of the layer"
    return "to the end of the tile" if site.until == END else f"up to cycle {site.until - 1}"


def _copies(
    run: FaultRun, span: Span, site: Site, sites: Sequence[Site], found: Content, after: int
) -> Iterator[str]:
    """What the other copies of the bit make of it."""
    many, own = copies_at(run.spans, span, site)
    number, copy = divmod(site.copy, own)
    if own > 1:
        wrong = {copy} if after != found.value else set()
        here = [other for other in (as_of(run, span, s) for s in sites) if other]
        wrong |= {s.copy % own for s in here if _same_bit(s, site, own) and _acts(s, found, site)}
        listed = " and ".join(map(str, sorted(wrong)))
        are = f"copy {listed} is wrong" if len(wrong) == 1 else f"copies {listed} are wrong"
        if not wrong:
            yield f"  the bit has {own} copies, and all are right"
        elif not HEALS[run.program.config.protection.voter]:
            yield (
                f"  the bit has {own} copies; {are}; they go on apart up to the voter "
                "behind the last sum"
            )
        else:
            reads = found.value if len(wrong) == 1 else after
            yield f"  the bit has {own} copies; {are}, and the voter reads {reads}"
    if many > 1 and site.layer == ALL and not _of_a_third(run, span, site):
        yield f"  all {many} runs of this layer have it"
    elif many > 1:
        yield f"  it is in run {number} of {many} of this layer, whose sums are voted bit by bit"


def _same_bit(one: Site, other: Site, own: int) -> bool:
    """Whether two sites are in copies of one bit, in one run of the tile."""
    names = ("layer", "tile", "unit", "register", "row", "col", "bit")
    same = all(getattr(one, name) == getattr(other, name) for name in names)
    return same and one.copy // own == other.copy // own


def _acts(site: Site, found: Content, base: Site) -> bool:
    """Whether a fault makes the bit wrong in the cycle that is told."""
    if site.stuck == FLIP:
        return site.cycle == found.cycle
    assert found.value is not None
    acts = site.cycle <= found.cycle and (site.until == END or found.cycle < site.until)
    return acts and found.value >> base.bit & 1 != site.stuck
