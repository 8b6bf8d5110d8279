"""Arrays of any type, shape and numbers end in one line, or in what they mean."""

from flexhyca.tests.fuzz.wild_arrays import attack


def _check(count: int, first: int) -> None:
    seen = attack(count, first)
    for kind in ("pixels", "labels", "inputs", "logits", "sums"):
        assert seen[f"{kind}: refused"] > 0
        assert seen[f"{kind}: right"] > 0


def test_wild_arrays() -> None:
    _check(1500, 0)
