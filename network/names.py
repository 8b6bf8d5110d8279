"""Layers by name or pattern, as users write them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ..errors import FlexhycaError


def match_layers(patterns: Sequence[str], names: Sequence[str]) -> set[int]:
    """Indices of the layers that the patterns (a name, or one with * ? [..]) name.

    Raises FlexhycaError for a pattern that names none, with the names near it.
    """
    found: set[int] = set()
    for pattern in patterns:
        hits = {i for i, name in enumerate(names) if matches(pattern, name)}
        if not hits:
            near = get_close_matches(pattern, names, n=3, cutoff=0.4) or names[:3]
            raise FlexhycaError(
                f"no layer is called {pattern!r}; near it: {', '.join(near)} "
                f"({len(names)} layers; * stands for any text)"
            )
        found |= hits
    return found


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern is this name, or one with * ? [..] that fits it."""
    return name == pattern or fnmatchcase(name, pattern)
