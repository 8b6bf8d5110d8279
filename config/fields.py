"""What the schema says of a field, by its dotted path: its limits, its values."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel

from .accelerator import Config


def section(path: str) -> type[BaseModel]:
    """The model of the section at `path` ("" is the whole configuration)."""
    model: type[BaseModel] = Config
    for part in filter(None, path.split(".")):
        annotation = model.model_fields[part].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    return model


def known_keys() -> list[str]:
    """Dotted paths of all leaves."""
    keys = []
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += [f"{name}.{leaf}" for leaf in field.annotation.model_fields]
        else:
            keys.append(name)
    return keys


def numeric_limits(path: str) -> tuple[float, float] | None:
    """(lowest, highest) of a numeric field, None for others."""
    *parents, name = path.split(".")
    bounds = {}
    for constraint in section(".".join(parents)).model_fields[name].metadata:
        for bound in ("ge", "le"):
            if hasattr(constraint, bound):
                bounds[bound] = getattr(constraint, bound)
    return (bounds["ge"], bounds["le"]) if len(bounds) == 2 else None


def choices(path: str) -> tuple[str, ...]:
    """The values of a field that has a list of them, such as `dram.model`; () for others.

    Whoever does something for each of them checks with `tables.complete` that none is missing.
    """
    *parents, name = path.split(".")
    values = get_args(section(".".join(parents)).model_fields[name].annotation)
    return tuple(value for value in values if isinstance(value, str))
