"""The growing text of a program, and the tokens that order its engines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...isa.instructions import BY_NAME, Engine

NO_PC = -(2**31)  #: the pc of no instruction: nothing to wait for


class TextBuilder:
    """The growing text: rows of fields by opcode, and the tokens between engines.

    now : number of the tile that is being emitted, kept with each instruction for listings.
    """

    def __init__(self) -> None:
        self.now = 0
        self.engine: list[int] = []
        self.name: list[str] = []
        self.wait: list[int] = []
        self.post: list[int] = []
        self.layer: list[int] = []
        self.tile: list[int] = []
        self.rows: dict[str, list[tuple[int, ...]]] = {name: [] for name in BY_NAME}
        self.credits = np.zeros((len(Engine), len(Engine)), np.int64)
        # newest instruction of each engine whose token each engine has taken: [consumer][producer]
        self.covered = [[NO_PC] * len(Engine) for _ in Engine]
        self.source: dict[tuple[int, Engine], int] = {}  # (consumer pc, producer) -> producer pc

    def emit(self, name: str, engine: Engine, layer: int, *values: int) -> int:
        """Append an instruction; `values` in table order without the header. Returns its pc."""
        pc = len(self.engine)
        self.engine.append(engine)
        self.name.append(name)
        self.wait.append(0)
        self.post.append(0)
        self.layer.append(layer)
        self.tile.append(self.now)
        self.rows[name].append((pc, *values))
        return pc

    def need(self, pc: int, producer: Engine, producer_pc: int) -> None:
        """Instruction `pc` must not start before `producer_pc` of engine `producer` has ended.

        A negative `producer_pc` is an event before the program: it becomes an initial credit.
        """
        consumer = self.engine[pc]
        if consumer == producer or producer_pc <= self.covered[consumer][producer]:
            return
        self.covered[consumer][producer] = producer_pc
        earlier = self.source.get((pc, producer))
        if earlier is not None:  # this instruction waits already; the later event covers both
            self._give(consumer, producer, earlier, take_back=True)
        self.source[pc, producer] = producer_pc
        self.wait[pc] |= 1 << producer
        self._give(consumer, producer, producer_pc)

    def _give(self, consumer: int, producer: int, pc: int, take_back: bool = False) -> None:
        if pc < 0:
            self.credits[producer, consumer] += -1 if take_back else 1
        else:
            self.post[pc] ^= 1 << consumer

    def release(self) -> None:
        """Give back every initial credit, so that semaphores end as they began.

        The tokens are posted by the producer's last instructions, all of them after its last post
        that somebody waits for; where there are too few, a SYNC of the producer alone posts.
        """
        for producer in Engine:
            for consumer in Engine:
                bit = 1 << consumer
                left = int(self.credits[producer, consumer])
                pc = len(self.engine) - 1
                while left and pc >= 0:
                    if self.engine[pc] == producer:
                        if self.post[pc] & bit:
                            break
                        if self.name[pc] not in ("SETCFG", "VEC"):
                            self.post[pc] |= bit
                            left -= 1
                    pc -= 1
                for _ in range(left):
                    pc = self.emit("SYNC", producer, self.layer[-1], 1 << producer)
                    self.post[pc] |= bit

    def columns(self) -> dict[str, NDArray[np.int64]]:
        """One column per field, for `encode_text`."""
        count = len(self.engine)
        out = {
            "op": np.zeros(count, np.int64),
            "wait": np.array(self.wait, np.int64),
            "post": np.array(self.post, np.int64),
        }
        for name, rows in self.rows.items():
            if not rows:
                continue
            table = np.array(rows, np.int64)
            out["op"][table[:, 0]] = BY_NAME[name].opcode
            for i, f in enumerate(BY_NAME[name].fields, start=1):
                out.setdefault(f.name, np.zeros(count, np.int64))[table[:, 0]] = table[:, i]
        return out
