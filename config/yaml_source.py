"""YAML text -> plain values, strictly: safe tags, no duplicate keys, errors with line numbers."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from ..errors import ConfigError


class _Loader(yaml.SafeLoader):
    """The safe loader, which also refuses duplicate keys, aliases and tags; 1e-4 is a number."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Aliases can make a small file endless; two levels of settings do not need them.
        if self.check_event(yaml.AliasEvent):
            event: yaml.AliasEvent = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                problem=f"alias *{event.anchor} is not supported; write the value out",
                problem_mark=event.start_mark,  # type: ignore[arg-type]  # stubs know C marks apart
            )
        event = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if tag is not None:  # PyYAML's own constructors crash on some values
            raise yaml.composer.ComposerError(
                problem=f"tag {tag} is not supported; write the plain value",
                problem_mark=event.start_mark,  # type: ignore[arg-type]  # as above
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # refused as unhashable below
            key = key_node.value
            line = key_node.start_mark.line + 1
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key!r} stands twice (first in line {seen[key]}); delete one",
                    problem_mark=key_node.start_mark,
                )
            seen[key] = line
            key_node.tag = "tag:yaml.org,2002:str"  # a key is the text that is written there
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 1e-4 (no dot) as text; everybody means a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse(text: str, source: str) -> object:
    """Read one YAML document; `source` names it in the error."""
    try:
        # `yaml.safe_load` with our subclass of SafeLoader: plain values only, no tags at all.
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(_one_line(error, text, source)) from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply; a configuration has two levels") from None
    except (ValueError, OverflowError) as error:  # e.g. the date 2026-99-99
        raise ConfigError(f"{source}: {error}") from None


def _one_line(error: yaml.YAMLError, text: str, source: str) -> str:
    mark = getattr(error, "problem_mark", None)
    several = "\n" in text.strip()
    where = f"{source}:{mark.line + 1}" if mark is not None and several else source
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable"
    return f"{where}: not valid YAML: {' '.join(str(problem).split())}"
