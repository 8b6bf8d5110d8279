"""Mappings of a layer: what there is to choose from, and what each costs.

The cost of a mapping is the time of its fills, each as long as its tiles take or the loads of the
next one, whichever is longer, and at least that of the vector unit and the stores.  All mappings of
a layer are compared at once, as arrays of (pixel side, channel side, loop order).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...isa.instructions import INSTRUCTION_BYTES, WINDOW_DESCRIPTOR_BYTES
from ...simulator.array.roles import ROLES
from ...simulator.array.timing import fold_cycles, fold_follows, idle_channels, restore_steps
from ...simulator.text.work import VEC_LATENCY
from ..tiling.loads import PIECE_CHANNELS, PIECES
from .mapping import LayerOnMachine, Mapping, Room
from .pixel_blocks import PixelTiles, even_parts, even_runs, evenly
from .transfers import Beside, cycles_per_byte

_Ints = NDArray[np.int64]
_Reals = NDArray[np.float64]

#: How much shorter than what fits the parts of a reduction are tried: the longest are not always
#: the fastest, least of all where a layer nearly fits, and its first products wait for all of it.
_CUTS, _NEARLY_FITS_CUTS = (1, 2), (1, 2, 4)
#: Bytes of a run as long as any grant.
_LONG = 1 << 20
#: Instructions of a tile beside its GEMMs: VEC and STORE.
_OF_TILE = 2


class _PixelSide(NamedTuple):
    """How pixels are cut, a row each. tiles : of the layer. blocks : runs of them.

    most : input bytes of the largest block, of one channel where it has not `whole` rows. loaded :
    of all blocks together, over the whole reduction. height : input rows of the largest block.
    narrow : whether blocks have some columns only.
    """

    rows: _Ints
    cut_rows: _Ints
    whole: _Ints
    nky: _Ints
    pixel_tiles: _Ints
    tiles: _Ints
    blocks: _Ints
    most: _Ints
    loaded: _Ints
    height: _Ints
    narrow: _Ints


class _ChannelSide(NamedTuple):
    """How channels are cut, a row each. tiles : of a group."""

    cols: _Ints
    channel_tiles: _Ints
    tiles: _Ints


def _rows(*columns: Any) -> _Ints:
    """A table of numbers and arrays as its columns."""
    return np.stack(np.broadcast_arrays(*columns), axis=1).astype(np.int64)


class AllMappings:
    """All mappings of a layer on a machine."""

    def __init__(self, on_machine: LayerOnMachine) -> None:
        geometry, config = on_machine.geometry, on_machine.machine
        layer, self.wanted = geometry.layer, on_machine.wanted
        self.geometry, self.layer, self.config = geometry, layer, config
        self.copies, self.may_park = on_machine.redundancy.copies, on_machine.may_park
        self.on_chip = on_machine.on_chip
        self.room = Room.of(config)
        self.per_group = geometry.source.c // layer.groups
        self.width = geometry.out.c // layer.groups
        self.most_cols = min(on_machine.columns, self.width)
        table = np.concatenate(list(self._pixel_rows()))
        self.px = _PixelSide(*table.T[:, :, None, None])
        cols = np.array(list(self._channel_rows()), np.int64)
        self.ch = _ChannelSide(*cols.T[:, None, :, None])
        # The last axis: loop orders, of as many parts of the reduction.
        cuts: tuple[int, ...] = _NEARLY_FITS_CUTS if self._nearly_fits() else _CUTS
        cuts = cuts if self.wanted.step_c is None else (1,)
        self.outside = np.tile([True, False], len(cuts))[None, None]
        self.cuts = np.repeat(cuts, 2)[None, None]
        self._reduction()

    def _nearly_fits(self) -> bool:
        source, depth = self.geometry.source, self.layer.kernel_h * self.layer.kernel_w
        weights = depth * self.per_group * self.geometry.out.c
        inputs = self.geometry.batch * source.elements
        room = self.room
        if room.shared and weights + inputs > 4 * room.inputs:
            return False
        return weights <= 4 * room.weights and inputs <= 4 * room.inputs

    # ---- what there is to choose from ----------------------------------------------------------

    def _pixel_rows(self) -> Iterator[_Ints]:
        """Rows of `_PixelSide`, several at a time."""
        source, kernel_h = self.geometry.source, self.layer.kernel_h
        for size, cut in self._tile_sizes():
            tiles = PixelTiles(self.geometry, size, cut)
            count = len(tiles.m)
            together = self._asked(self.wanted.pixel_tiles, tiles.runs(), count)
            blocks = tiles.blocks(together)
            row_bytes = blocks.row_size * source.c
            highest, all_rows = blocks.rows()
            fits = highest * row_bytes <= self.room.inputs
            for nky in self._asked(self.wanted.step_ky, even_parts(kernel_h), kernel_h):
                loaded, most, height, width = blocks.windows(nky)
                ways = nky, together, count, blocks.counts
                parts = most, loaded * source.c, height, width < source.w
                yield _rows(size, cut, False, *ways, *parts)
                whole = highest * row_bytes, all_rows * row_bytes, highest, 0
                yield _rows(size, cut, True, *ways, *whole)[fits]

    def _tile_sizes(self) -> Iterator[tuple[int, bool]]:
        """Pixels of a tile, and whether none has pixels of two output rows."""
        if self.wanted.rows is not None:
            cuts = (False, True) if self.wanted.cut_rows is None else (self.wanted.cut_rows,)
            yield from ((min(self.wanted.rows, self.config.tile_rows), cut) for cut in cuts)
            return
        pixels, wide = self.geometry.pixels, self.geometry.out.w
        most = min(self.config.tile_rows, pixels)
        yield from ((n, False) for n in self._sizes(most, self.most_cols, pixels))
        if pixels > wide:
            even = {evenly(wide, n) for n in self._sizes(most, self.most_cols, wide)}
            yield from ((n, True) for n in sorted(even, reverse=True))

    def _sizes(self, most: int, across: int, count: int) -> list[int]:
        """What tiles may have of a side of `count`: `most`, a half, and so on; where that is more
        words than a tile has with `across` of the other side, as many as it has, a half, and so on;
        and what is as even for as many tiles. Powers of two, too: which size fits a layer does not
        hang on the array."""
        starts = {most, min(most, max(1, self.config.tile_words // across))}
        starts.add(1 << most.bit_length() - 1)
        sizes = {n >> i for n in starts for i in range(n.bit_length())}
        return sorted(sizes | {evenly(count, n) for n in sizes}, reverse=True)

    def _channel_rows(self) -> Iterator[tuple[int, int, int]]:
        layer = self.layer
        pixels = min(self.config.tile_rows, self.geometry.pixels)
        found = set(self._sizes(self.most_cols, pixels, self.width))
        rows = {-(-layer.kernel_h // parts) for parts in range(1, layer.kernel_h + 1)}
        depths = [n * layer.kernel_w * self.per_group + 4 for n in rows]
        room = [share // n for share in self.room.weight_shares for n in depths]
        found |= {min(self.most_cols, channels) for channels in room}
        found.discard(0)
        for cols in self._asked(self.wanted.cols, sorted(found, reverse=True), self.most_cols):
            tiles = -(-self.width // cols)
            count = tiles * layer.groups
            full = {evenly(tiles, channels // cols) for channels in room if channels >= cols}
            choices = sorted({*even_runs(count), *full})
            for together in self._asked(self.wanted.channel_tiles, choices, count):
                yield cols, together, tiles

    @staticmethod
    def _asked(wanted: int | None, choices: Sequence[int], most: int) -> Sequence[int]:
        """What there is to choose from, or what is wanted, as far as there is as much."""
        return choices if wanted is None else [min(wanted, most)]

    def _reduction(self) -> None:
        """The largest part of the reduction that fits, cut evenly; and what follows from it."""
        px, ch, layer = self.px, self.ch, self.layer
        unit = px.nky * layer.kernel_w
        channels = np.minimum(self._most_channels(unit), self.wanted.step_c or self.per_group)
        channels = -(-channels // self.cuts)
        fits = channels > 0
        most = np.maximum(1, channels)
        channels = -(-self.per_group // -(-self.per_group // most))  # as `evenly`
        if not self.config.array.keeps_sums:  # whole folds, but for those of the last part
            step = self.config.array.rows // np.gcd(self.config.array.rows, unit)
            up, down = -(-channels // step) * step, most // step * step
            channels = np.where((channels < self.per_group) & (up <= most), up, channels)
            fewer = self._folds_of(np.maximum(1, down), unit) < self._folds_of(channels, unit)
            channels = np.where((down > 0) & fewer, down, channels)
        self.channels = channels
        self.parts = -(-layer.kernel_h // px.nky) * -(-self.per_group // channels)
        one_group = ch.channel_tiles <= ch.tiles
        across = (self.parts == 1) & (px.whole > 0) & (ch.channel_tiles % ch.tiles == 0)
        together = px.pixel_tiles * ch.channel_tiles
        self.parked = (self.parts > 1) & (together > 1)
        # As many words as the largest tile has: what a slot takes.
        words = self.words = np.minimum(px.rows, self.geometry.pixels) * ch.cols
        self.slots = self.config.output_slots(words)
        room_to_park = (together <= self.slots) & self.may_park
        self.fits = fits & (words <= self.config.tile_words)
        self.fits = self.fits & (one_group | across) & (~self.parked | room_to_park)
        for wanted, values in (
            (self.wanted.cut_rows, px.cut_rows),
            (self.wanted.whole, px.whole),
            (self.wanted.parked, self.parked),
            (self.wanted.weights_outside, self.outside),
        ):
            if wanted is not None:
                self.fits = self.fits & (values == wanted)

    def _most_channels(self, unit: Any) -> Any:
        """Channels of the reduction that fit, none where not one does. unit : weights of each."""
        px, ch, room = self.px, self.ch, self.room
        columns, whole = ch.cols * ch.channel_tiles, px.whole > 0
        biases = 4 * columns
        if room.shared:  # what inputs take is not the weights', and the other way round
            fixed = np.where(whole, px.most, 0) + biases
            each = columns * unit + np.where(whole, 0, px.most)
            return np.minimum(np.maximum(0, room.inputs - fixed) // each, self.per_group)
        weights = np.maximum(0, room.weights // columns - 4) // unit
        inputs = np.where(whole, self.per_group, room.inputs // np.maximum(1, px.most))
        return np.minimum(weights, inputs)

    def mapping(self, at: Any) -> Mapping:
        """The mapping of a place in the arrays."""

        def of(values: NDArray[Any]) -> int:
            return int(np.broadcast_to(values, self.shape)[at])

        px, ch = self.px, self.ch
        return Mapping(
            of(px.rows),
            of(ch.cols),
            bool(of(px.cut_rows)),
            bool(of(px.whole)),
            of(px.pixel_tiles),
            of(ch.channel_tiles),
            of(px.nky),
            of(self.channels),
            bool(of(self.parked)),
            bool(of(self.outside)),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the arrays."""
        return len(self.px.rows), self.ch.cols.shape[1], self.outside.shape[2]

    # ---- what it costs ------------------------------------------------------------------------

    def costs(self) -> tuple[_Reals, _Reals, _Reals]:
        """Estimated cycles and bytes of DRAM of each, infinite where it does not fit; and how many
        instructions."""
        px, ch, layer, groups = self.px, self.ch, self.layer, self.layer.groups
        dram, whole, parts = self.config.dram, px.whole > 0, self.parts
        runs = np.where(
            ch.channel_tiles <= ch.tiles,
            groups * -(-ch.tiles // ch.channel_tiles),
            -(-groups * ch.tiles // ch.channel_tiles),
        )
        blocks, fills = px.blocks, px.blocks * runs * parts
        tiles = px.tiles * ch.tiles * groups
        depth = layer.kernel_h * layer.kernel_w * self.per_group
        outputs = self.geometry.pixels * self.geometry.out.c
        residual = outputs if layer.residual >= 0 else 0
        loads = self.copies.loads

        # Bytes of one fill, and how many of the fills of a loop bring new ones.
        a = loads * px.loaded / blocks / np.where(whole, 1, groups * parts)
        b = loads * (depth + 4) * groups * self.width / (runs * parts)
        single = parts == 1
        # A block of some channels serves one group, and of a cut reduction one part.
        a_groups = np.where(whole, 1, groups)
        a_fills = np.where(
            single | whole,
            np.where(
                self.outside & (blocks > 1),
                blocks * runs,
                blocks * a_groups,
            ),
            fills,
        )
        b_fills = np.where(single, np.where(self.outside | (runs == 1), runs, blocks * runs), fills)
        kept, per_byte = self.on_chip, partial(cycles_per_byte, self.config)
        traffic = (0 if kept.input else a * a_fills) + b * b_fills
        traffic = traffic + (0 if kept.output else outputs) + (0 if kept.residual else residual)
        array = self._array(tiles, depth) / fills
        some_channels = (self.channels * layer.groups < self.geometry.source.c) & ~whole
        strided = self.geometry.col_step > 1  # each input row takes a LOAD, and each pixel a run
        lines = np.where(
            ((px.narrow > 0) & some_channels) | strided,
            px.height,
            np.minimum(np.minimum(px.height, PIECES), 1 + a / dram.grant_bytes),
        )
        of_weights = np.minimum(1 + ch.cols * ch.channel_tiles // PIECE_CHANNELS, PIECES)
        count = tiles * (_OF_TILE + self._gemms()) + a_fills * lines + b_fills * of_weights + fills
        instructions = INSTRUCTION_BYTES * count + WINDOW_DESCRIPTOR_BYTES * fills
        # From here on in cycles of the channel, or of the activation memory's port.
        columns = 1 if strided else px.most // px.height
        run = np.where((px.narrow > 0) | strided, columns * self.geometry.source.c, _LONG)
        a = a * per_byte(np.where(some_channels, self.channels, run), kept.input)
        b, late = b * per_byte(_LONG), dram.latency_cycles
        instructions = instructions * per_byte(_LONG)
        of_results = per_byte(self._result_run(), kept.output)
        of_residual = residual * per_byte(self._result_run(), kept.residual)
        moved = instructions, of_residual, outputs * of_results
        beside = Beside.of(self.config, kept, moved, fills)

        def period(inputs: Any, weights: Any, late: int = late) -> Any:
            """Of a fill: a half of the buffers is loaded while the other one is at work."""
            busy = beside.busy(inputs, weights)
            return np.maximum(np.maximum(array, busy), (array + busy + late) / 2)

        # Fills of one kind are alike: with both operands new, or one of them, or none.
        both = np.minimum(np.minimum(a_fills, b_fills), fills)
        only_a, only_b = a_fills - both, b_fills - both
        rest = np.maximum(0, fills - both - only_a - only_b)
        cycles = (
            (both - 1) * period(a, b)  # the first one's come before all
            + only_a * period(a, 0, 0 if kept.input else late)
            + only_b * period(0, b)
            + (rest + 1) * np.maximum(array, beside.busy(0, 0))
        )
        # Before the first tile its weights and input rows come, behind the last one its results go.
        # Tiles whose sums were parked end together, and the next ones want their slots.
        together = px.pixel_tiles * ch.channel_tiles
        own = np.where(self.parked, np.minimum(together, tiles), 1)
        tile = array / np.minimum(together, tiles)
        # A STORE waits for the grant that its memory is at, of loads behind the first fill's.
        of_a, of_b = a * (kept.input == kept.output), b * (not kept.output)
        loaded = of_a * a_fills + of_b * b_fills - of_a - of_b
        grant = dram.grant_bytes * per_byte(_LONG, kept.output)
        grant = np.minimum(grant, (of_a + of_b) / (lines + of_weights)) / 2
        grant = grant * np.minimum(1, loaded / cycles) * (kept.output or not dram.duplex)
        store = self.words / self.config.vec.lanes + self.words * of_results + VEC_LATENCY + grant
        # Instructions come meanwhile, as many as their buffer holds.
        held = self.config.buffers.instruction_bytes * per_byte(_LONG)
        ahead = np.minimum(instructions, held)
        start = late + b + a / PIECES + np.minimum(ahead, a + b)
        lead = start + np.where(self.parked, parts - 1, 0) * array + tile
        waits = np.where(
            self.parked,
            (2 * own - self.slots) * store - 2 * (own - 1) * tile,
            0,
        )
        cycles = cycles + (blocks * runs - 1) * np.maximum(0, waits)
        cycles = cycles + start + np.maximum(0, a - array)
        cycles = cycles + np.maximum(store, own * store - (own - 1) * tile)
        all_stores = outputs / self.config.vec.lanes + outputs * of_results
        all_stores = all_stores + (VEC_LATENCY + grant) * tiles
        cycles = np.maximum(cycles, lead + all_stores)
        cycles = late + np.maximum(cycles, beside.busy(late + a * a_fills, b * b_fills, fills))
        shape = self.shape
        fits = np.broadcast_to(self.fits, shape)
        return (
            np.where(fits, np.broadcast_to(cycles, shape), np.inf),
            np.where(fits, np.broadcast_to(traffic, shape), np.inf),
            np.broadcast_to(count, shape),
        )

    def _result_run(self) -> Any:
        """Bytes of results that lie together: a pixel's, or all where a tile has all channels."""
        return np.where(self.ch.cols == self.geometry.out.c, _LONG, self.ch.cols)

    def _gemms(self) -> Any:
        """GEMMs of a tile."""
        return self.parts if self.config.array.keeps_sums else self._folds()

    def _folds(self) -> Any:
        """Folds of a tile on a stationary array."""
        unit = self.px.nky * self.layer.kernel_w
        return -(-self.layer.kernel_h // self.px.nky) * self._folds_of(self.channels, unit)

    def _folds_of(self, channels: Any, unit: Any) -> Any:
        """Of some kernel rows, of `unit` operands a channel, so many channels at a time."""
        whole, left = np.divmod(self.per_group, channels)
        rows = self.config.array.rows
        return whole * -(-channels * unit // rows) + -(-left * unit // rows)

    def _idle(self) -> Any:
        """Cycles of a tile for blocks of channels that are not full."""
        block, window = self.config.array.channel_block, self.layer.kernel_h * self.layer.kernel_w
        whole, left = np.divmod(self.per_group, self.channels)
        lacking = whole * idle_channels(self.channels, block) + idle_channels(left, block)
        return window * lacking

    def _array(self, tiles: Any, depth: int) -> Any:
        """Cycles of all tiles on the array."""
        array, px, ch, parts = self.config.array, self.px, self.ch, self.parts
        pixels, channels = self.geometry.pixels, self.layer.groups * self.width
        # Sums over all tiles of their pixels, and of their channels.
        rows, cols = pixels * ch.tiles * self.layer.groups, channels * px.tiles
        if not array.keeps_sums:
            folds = self._folds()
            alone = folds * fold_cycles(rows, 0, cols - 2 * tiles + 2) + 2 * depth * tiles
            if not array.overlapped_preload:
                return alone
            return np.minimum(alone, self._overlapped(tiles, depth))
        depth = depth + self._idle()
        repeated = self.copies.runs > 1
        ends = np.where(self.parked | repeated, parts, 1)
        tail = 2 * rows + cols - 2 * tiles  # as `os_tile_cycles(0, m, n)`
        if array.double_buffered_accumulators and not repeated:
            buses = np.where(self.parked, 2, 1) * np.minimum(px.rows, pixels)
            one = np.where(ends == parts, parts * np.maximum(depth / parts, buses), depth)
            return tiles * one + tail / tiles
        return self.copies.runs * (tiles * depth + ends * tail + (ends - 1) * restore_steps(rows))

    def _overlapped(self, tiles: Any, depth: int) -> Any:
        """The same with overlapped preload, of folds of the mean number of operands.

        Streams are of full tiles and a last one, or alike. A fold of fewer operands than the one
        before it waits for as many steps as it has fewer (`fold_follows`).
        """
        array, px, ch, folds = self.config.array, self.px, self.ch, self._folds()
        sides = (self.geometry.pixels, px.tiles, px.rows), (self.width, ch.tiles, ch.cols)
        (total, count, full), (across, columns, _) = ROLES[array.dataflow].by_role(*sides)
        full = np.minimum(full, total)
        last = total - (count - 1) * full
        full, last = (np.where(last > 0, size, total / count) for size in (full, last))
        used, held = depth / folds, across / columns
        each = (count - 1) * fold_follows(full, used, held, used)
        each = (each + fold_follows(last, used, held, used)) / count
        most = np.minimum(array.rows, self.channels * px.nky * self.layer.kernel_w)
        return tiles * (folds * each + np.maximum(0, folds * most - depth - 1))
