"""The package's own files, and the modules that they are."""

from pathlib import Path

import flexhyca

ROOT = Path(flexhyca.__file__).parent
_OUTSIDE = {"tests", "docs", "examples", "benchmarks", "build", "dist", "out"}


def sources() -> list[Path]:
    """All that belongs into the wheel, in order."""
    return [
        path
        for path in sorted(ROOT.rglob("*.py"))
        if not any(
            part in _OUTSIDE or part.startswith(".") or part.endswith(".egg-info")
            for part in path.relative_to(ROOT).parts[:-1]
        )
    ]


def modules(*packages: str) -> list[str]:
    """The modules of these packages, or all, as `flexhyca.sources` names them; "" is the face."""
    found = []
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not packages or parts[0] in packages:
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found
