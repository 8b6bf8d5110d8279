"""The tutorial shows the example as it is, and what it prints."""

import re
import subprocess
import sys
from pathlib import Path

import flexhyca

ROOT = Path(flexhyca.__file__).parent
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_code_is_that_of_the_example() -> None:
    example = (ROOT / "examples" / "own_network.py").read_text(encoding="utf-8")
    parts = [part for block in blocks("python") for part in block.split("\n\n\n")]
    assert len(parts) == 5
    for part in parts:
        assert part.strip() in example
    assert blocks("yaml") == [(ROOT / "examples" / "edge.yaml").read_text(encoding="utf-8")]


def test_the_output_is_that_of_the_example(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "examples" / "own_network.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "".join(blocks("text"))
    before = re.search(r"more bandwidth: ([\d,]+) cycles", run.stdout)
    assert before is not None
    assert f"as above, takes {before.group(1)} cycles" in PAGE
