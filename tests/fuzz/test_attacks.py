"""Every attack: a short one in every run, a long one behind `slow`."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexhyca.tests.fuzz.attacks import Attack, every

ATTACKS = list(every())


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.short], ids=str)
def test_short(attack: Attack, tmp_path: Path) -> None:
    assert attack.attempt(tmp_path, attack.short) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's, of odd tensors
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_long(attack: Attack, tmp_path: Path) -> None:
    assert attack.attempt(tmp_path, attack.long) >= attack.long // 2


def test_they_are_many() -> None:
    kinds = [attack.kind for attack in ATTACKS]
    assert len(set(kinds)) == len(kinds)
    assert sum(attack.long for attack in ATTACKS) > 10_000
