"""Every attack: a short one in every run, a long one behind `slow`."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexhyca.tests.fuzz.attacks import Attack, every
from flexhyca.tests.fuzz.command_line import commands, options

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


def test_every_file_that_a_command_reads_is_damaged() -> None:
    """`commands.READERS` has each option that names a file to read, and each such argument."""
    read = [line.split() for lines in commands.READERS.values() for line in lines]
    options_read = {words[words.index("FILE") - 1] for words in read if "FILE" in words}
    missing = []
    for command in options.commands():
        for parameter in command.parameters:
            if parameter.kind is not Path or parameter.name in options.OUTPUTS:
                continue
            here = any(tuple(words[: len(command.words)]) == command.words for words in read)
            if parameter.option not in options_read if parameter.option else not here:
                missing.append((command.words, parameter.name))
    assert missing == [(("study", "verify"), "file")]  # reads as `study show` does, and infers
