"""`flexhyca inject --site ... --explain` as docs/faults.md shows it."""

import re
from pathlib import Path


def test_the_story_of_the_manual(flexhyca):
    """The command prints what stands below it."""
    text = (Path(__file__).parents[2] / "docs/faults.md").read_text()
    command = re.search(r"flexhyca (inject digits --site \S+ --explain)\n", text).group(1)
    shown = text.partition("tells the story of one flip:\n\n```text\n")[2].partition("```")[0]
    assert flexhyca(*command.split()).out == shown
