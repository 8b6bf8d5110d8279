"""docs/schemes.md has the table of schemes."""

from pathlib import Path

import flexhyca
from flexhyca.config.schemes import SCHEMES

PAGE = (Path(flexhyca.__file__).parent / "docs" / "schemes.md").read_text(encoding="utf-8")


def test_schemes_are_current() -> None:
    head = "| scheme | paper | what it does |\n|---|---|---|\n"
    table = "".join(f"| `{s.name}` | {s.paper} | {s.meaning} |\n" for s in SCHEMES.values())
    assert f"{head}{table}\n" in PAGE
