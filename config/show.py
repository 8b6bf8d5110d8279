"""A configuration as YAML text, on request with what each field means."""

from __future__ import annotations

import yaml
from pydantic import BaseModel

from .accelerator import Config
from .fields import choices, numeric_limits


def to_yaml(config: Config) -> str:
    """Every field with its value; `load_config` reads the text back to the same configuration."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    return text


def explain_config(config: Config) -> str:
    """`to_yaml` with each field's meaning and limits in a comment above it."""
    lines: list[str] = []
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            lines += ["", f"# {_summary(type(value))}", f"{name}:"]
            for key, field in type(value).model_fields.items():
                path = f"{name}.{key}"
                lines.append(f"  # {field.description}{_allowed(path)}")
                lines.append(f"  {key}: {_scalar(getattr(value, key))}")
        else:
            lines += ["", f"# {info.description}{_allowed(name)}"]
            lines.append(f"{name}: {_scalar(value)}")
    return "\n".join(lines).strip() + "\n"


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def _allowed(path: str) -> str:
    limits = numeric_limits(path)
    if limits is not None:
        return f" [{limits[0]}..{limits[1]}]"
    return f" [{' | '.join(choices(path))}]" if choices(path) else ""


def _scalar(value: object) -> str:
    text: str = yaml.safe_dump(value)
    return text.split("\n")[0]
