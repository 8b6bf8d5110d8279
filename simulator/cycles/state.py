"""Program and state of the compiled cycle model, as records that numba can read and write."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .stalls import BUSY, STALLS

#: Everything an engine can spend time on; the columns of `State.spent`.
REASONS = (BUSY, *dict.fromkeys(reason for stalls in STALLS.values() for reason in stalls))


class Machine(NamedTuple):
    """Numbers of the configuration."""

    grant: int
    latency: int
    window: int
    groups: int
    width: int
    port_bytes: int  #: a cycle through the DPPU's own port
    chunk: int  #: instructions fetched together
    held: int  #: chunks that the instruction buffer holds
    text_base: int
    activations: int  #: address from which on bytes are of the activation memory


def record(*names: str) -> np.dtype[np.void]:
    """A record of 64-bit integers."""
    return np.dtype([(name, np.int64) for name in names])


#: An instruction. waits, posts : masks; reads begin and end at first_read, last_read; blocks,
#: gemm_cycles, leaves, under, bus_waits, buses : `work.GemmTime`.
INSTRUCTION = record(
    "op", "layer", "waits", "array_token", "posts", "k", "fixed", "blocks", "gemm_cycles", "leaves",
    "under", "bus_waits", "buses", "taps", "count", "kind", "first_read", "last_read", "source",
    "excess_bytes", "neuron_cycles", "last_window_cycles", "fetch_bytes",
)  # fmt: skip
#: A row of `work.Strided`.
READ = record("address", "row", "rows", "stride")
#: An engine. at : when its event comes. cursor, queue_end : places in `Text.queue`. left :
#: producers whose token is still to be taken, a mask. asleep : the producer that wakes it, or -1.
#: since : when it began to wait (GEMM: cycles of the drain); operands, behind_dppu : at that time,
#: operand cycles of the channel, and whether STORE waited for the DPPU. read, first, offset : place
#: in a transfer. arrived : when the last of the DPPU's operands came, or -1.
ENGINE = record(
    "at", "phase", "cursor", "queue_end", "left", "asleep", "since", "operands", "behind_dppu",
    "read", "first", "offset", "arrived", "ended",
)  # fmt: skip
#: Where the tokens of a pair of engines begin and end in `State.tokens`.
PAIR = record("head", "tail")
#: LOAD, array, DPPU and fetch unit; loaded : when the last data are there; tap_done and the other :
#: when the DPPU leaves its register files.
SHARED = record(
    "port_bytes", "loaded", "tap_done", "tap_done_before", "bus_free",
    "booked", "booked_end", "tapped", "tapped_end",
    "chunk", "offset", "step", "drained", "full",
)  # fmt: skip
#: A chunk of instructions: times they are still to be taken, and the engines that wait, a mask.
CHUNK = record("left", "fetched", "awaited")
#: An interval of `SlackLedger`; and what was tapped of a tile and not yet collected.
BOOKED = record("begin", "end", "used")
TAPPED = record("done", "work")


class Text(NamedTuple):
    """The program. queue : pcs of all engines, one engine after the other."""

    code: Any
    queue: Any
    reads: Any


class State(NamedTuple):
    """What changes during a run."""

    engine: Any  #: the engines, and last the fetch unit
    shared: Any  #: (1,)
    pair: Any  #: (engines, engines) producer, consumer
    tokens: Any  #: cycles from which a token can be taken
    spent: Any  #: (engines, layers, reasons)
    nbytes: Any  #: (layers, kinds)
    kept_bytes: Any  #: the same of the activation memory
    layer_end: Any
    dram: Any  #: `dram.Channel`
    port: Any  #: `activation_port.Port`
    booked: Any
    tapped: Any
    missing: Any  #: engines that have not come to a SYNC yet, by pc
    chunk: Any
