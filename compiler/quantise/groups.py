"""Groups of values whose scales differ by fixed factors, but for powers of two."""

from __future__ import annotations

_SAME = 1e-6  # of phases


class Groups:
    """Union-find over values; `offset` is a value's phase relative to its root's.

    contradiction : by how much the phases of two values that were tied last differ although they
    were tied already; 0 where they agree.
    """

    def __init__(self) -> None:
        self._parent: dict[str, tuple[str, float]] = {}
        self.contradiction = 0.0

    def find(self, name: str) -> tuple[str, float]:
        """(root of `name`, phase of `name` minus phase of the root)."""
        offset = 0.0
        while name in self._parent:
            name, step = self._parent[name]
            offset += step
        return name, offset

    def tie(self, a: str, b: str, difference: float = 0.0) -> None:
        """phase(b) = phase(a) + difference, modulo 1."""
        root_a, offset_a = self.find(a)
        root_b, offset_b = self.find(b)
        off = offset_a + difference - offset_b
        if root_a != root_b:
            self._parent[root_b] = (root_a, off)
        elif abs(off - round(off)) > _SAME:
            self.contradiction = off % 1
