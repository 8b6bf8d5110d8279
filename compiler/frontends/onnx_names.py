"""What a layer is called: the path of its module, as torch would say it (layer1.0.conv1).

torch's exporters keep that path in the name of the weight; where they fold a batch norm, the old
one loses it, but its nodes are named by their scope.
"""

from __future__ import annotations

import re

_PATH = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)+")
_LONGEST = 200  # characters of a name


def layer_path(weight: str, node: str) -> str | None:
    """The name of the layer with this weight and node, None if neither has one.

    weight : layer1.0.conv1.weight; node : /layer1/layer1.0/conv1/Conv, or any text.
    """
    if _PATH.fullmatch(weight):
        name = weight.rpartition(".")[0]
    elif node.startswith("/"):
        name = _scope(node.split("/")[1:-1])
    else:
        name = node
    return re.sub(r"[^\w.:/-]", "_", name)[:_LONGEST] or None


def _scope(parts: list[str]) -> str:
    """layer1, layer1.0, conv1 -> layer1.0.conv1: a container's child repeats the container."""
    path: list[str] = []
    for part in parts:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()
        path.append(part)
    return ".".join(path)
