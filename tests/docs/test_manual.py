"""The page of the instruction set is what the table says."""

from pathlib import Path

import flexhyca
from flexhyca.isa.instructions import manual


def test_isa_page_is_current() -> None:
    page = Path(flexhyca.__file__).parent / "docs" / "isa.md"
    assert page.read_text(encoding="utf-8") == manual(), (
        "run: python -c 'from flexhyca.isa.instructions import manual; print(manual(), end=\"\")' "
        "> docs/isa.md"
    )
