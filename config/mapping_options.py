"""What the compiler aims at where it cuts layers into tiles."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .section import Section


class MappingOptions(Section):
    """How the compiler cuts layers into tiles."""

    objective: Literal["cycles", "traffic"] = Field(
        default="cycles",
        description="what a layer's mapping has least of; the other one decides between equals",
    )
