"""Pictures of the documentation: small, and shown somewhere."""

from pathlib import Path

import flexhyca

ROOT = Path(flexhyca.__file__).parent


def test_pictures_are_shown_and_small() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < 150_000
        assert f"images/{picture.name}" in text
