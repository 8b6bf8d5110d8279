"""What a run did and when: slices of each engine's time, and of the DRAM channel's."""

from __future__ import annotations

from ...config import Config
from ...errors import FlexhycaError
from ...isa.instructions import Engine, Kind
from .dram import ON_CHIP, READS, WRITES
from .stalls import BUSY


class Track:
    """Slices in time order: `states[i]` of instruction `pcs[i]`, `cycles[i]` from `starts[i]` on.

    nbytes : bytes that moved in each slice (the channel's only).
    """

    def __init__(self) -> None:
        self.pcs: list[int] = []
        self.states: list[str] = []
        self.starts: list[int] = []
        self.cycles: list[int] = []
        self.nbytes: list[int] = []
        self.end = 0  #: where the last slice ends

    def __len__(self) -> int:
        return len(self.pcs)

    def add(self, pc: int, state: str, start: int, cycles: int, nbytes: int = 0) -> None:
        """Append a slice, or lengthen the last one if this is more of the same."""
        if self.pcs and self.pcs[-1] == pc and self.states[-1] == state and self.end == start:
            self.cycles[-1] += cycles
            self.nbytes[-1] += nbytes
        else:
            self.pcs.append(pc)
            self.states.append(state)
            self.starts.append(start)
            self.cycles.append(cycles)
            self.nbytes.append(nbytes)
        self.end = start + cycles


class Recorder:
    """Given to a `CycleModel`, keeps the time of one run.

    engines : a track for each `Engine`; its slices follow one another from cycle 0 to the last
    without gap or overlap, in the states of `stalls.STALLS` and `busy`. channel : transfers, in the
    states of `Kind` (lower case), never two at a time; writes : those of a channel of their own
    (`dram.duplex`), likewise; activations : those of the activation memory. begin, end : by pc, the
    first cycle of an instruction's own work, and the cycle after its last; waits are not work. Of a
    stationary array's fold the end of its stream, too, underneath the next one
    (`array.overlapped_preload`).

    An engine charges several states of an instruction at once where they have no order of their
    own; a stall then comes before the work.
    """

    def __init__(self) -> None:
        self.engines = [Track() for _ in Engine]
        self.channel, self.writes, self.activations = Track(), Track(), Track()
        self.begin: dict[int, int] = {}
        self.end: dict[int, int] = {}
        self._kinds = [kind.name.lower() for kind in Kind]

    def spend(self, engine: int, pc: int, what: str, cycles: int) -> None:
        """The next `cycles` of the engine's time, as `CycleModel._spend` has them."""
        track = self.engines[engine]
        if what == BUSY:
            self.begin.setdefault(pc, track.end)
            self.end[pc] = track.end + cycles
        elif pc in self.end:
            self.end[pc] = track.end + cycles
        if cycles:
            track.add(pc, what, track.end, cycles)

    def goes_on(self, pc: int, cycles: int) -> None:
        """An instruction's work goes on for `cycles` beside the engine's next one."""
        self.end[pc] += cycles

    def transfer(self, pc: int, kind: int, port: int, start: int, end: int, nbytes: int) -> None:
        """A port moves `nbytes` for instruction `pc` in cycles [start, end)."""
        tracks = {READS: self.channel, WRITES: self.writes, ON_CHIP: self.activations}
        tracks[port].add(pc, self._kinds[kind], start, end - start, nbytes)


def check_traceable(config: Config) -> None:
    """Raise FlexhycaError where there is no time of engines to record."""
    if not config.runs_engines:
        raise FlexhycaError(
            "a trace needs timing 'native': SCALE-Sim's count knows no engines over time"
        )
