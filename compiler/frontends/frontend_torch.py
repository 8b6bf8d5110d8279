"""torch.nn.Module -> float graph, through torch.export.

`torch.export.export` gives a flat list of aten calls; this module reads that list with the handlers
of `torch_ops`.  The graph is then run against the module on noise, so a misread operator cannot
pass in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node as FxNode

from ...errors import ModelError
from ..execute import run_graph
from ..graph import Graph
from .builder import Call, UnsupportedError, read_calls
from .torch_ops import TORCH_HANDLERS, TorchBuilder

#: Operators whose result shares memory with their operand.
_VIEWS = ("view", "reshape", "flatten", "slice", "squeeze", "contiguous", "detach", "alias")


def _operator(fx: FxNode) -> tuple[str, bool]:
    """Key of `TORCH_HANDLERS`, whether it works in place: aten.relu_.default -> relu.default."""
    base, _, overload = str(fx.target).removeprefix("aten.").partition(".")
    in_place = base.endswith("_") and not base.endswith("__")
    return f"{base.rstrip('_')}.{overload}", in_place


def _is_view(fx: Any) -> bool:
    return isinstance(fx, FxNode) and _operator(fx)[0].partition(".")[0] in _VIEWS


def _reader(builder: TorchBuilder, fx: FxNode, viewed: set[str]) -> Callable[[], None] | None:
    """What adds the node of `fx`; viewed : values that another one shares memory with."""
    key, in_place = _operator(fx)
    if key not in TORCH_HANDLERS:
        return None

    def read() -> None:
        changed: Any = fx.args[0]
        if in_place and (_is_view(changed) or changed.name in viewed):
            raise UnsupportedError("in place on a view")
        builder.env[fx.name] = TORCH_HANDLERS[key](builder, fx, *fx.args, **fx.kwargs)
        if in_place:
            builder.env[changed.name] = builder.env[fx.name]  # later reads see the changed value

    return read


def from_torch(module: nn.Module, example: Tensor, name: str, *, share: bool = False) -> Graph:
    """The float graph of `module`, which must be in evaluation mode.

    example : float (n, c, h, w); its size is the input size of the graph.
    share : the graph's weights are the module's memory; for a module that nobody changes later.
    Raises ModelError when torch cannot export the module, an operator has no counterpart (all of
    them in one message), or the graph does not compute what the module does.
    """
    if module.training:
        raise ModelError(f"{name}: the module is in training mode; call .eval() first")
    try:
        exported = torch.export.export(module, (example,))
    except Exception as error:  # torch raises a dozen unrelated types here
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{name}: torch.export cannot trace the module: {reason[0]}") from error
    signature, state = exported.graph_signature, exported.state_dict
    tensors = {**{k: v for k, v in exported.constants.items() if isinstance(v, Tensor)}, **state}
    paths = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    params = {k: (path, tensors[path]) for k, path in paths.items() if path in tensors}
    builder = TorchBuilder(params, share)
    functions: list[FxNode] = []
    output: Any = None
    for fx in exported.graph.nodes:
        if fx.op == "placeholder" and fx.name in signature.user_inputs:
            builder.env[fx.name] = builder.emit("input", [], shape=tuple(example.shape[1:]))
        elif fx.op == "call_function":
            functions.append(fx)
        elif fx.op == "output":
            results = [v for v in fx.args[0] if isinstance(v, FxNode)]
            if len(results) != 1 or len(fx.args[0]) != 1:
                raise ModelError(f"{name}: the module returns {len(fx.args[0])} values, wanted 1")
            output = results[0]
    viewed = {source.name for fx in functions if _is_view(fx) for source in fx.all_input_nodes}
    read_calls(
        name,
        (
            Call(
                str(fx.target),
                fx.name,
                tuple(source.name for source in fx.all_input_nodes),
                (fx.name,),
                _reader(builder, fx, viewed),
            )
            for fx in functions
        ),
        TORCH_HANDLERS,
    )
    graph = builder.graph(name, builder.env[output.name])
    _compare(graph, module, example)
    return graph


def _compare(graph: Graph, module: nn.Module, example: Tensor) -> None:
    noise = torch.rand(example.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        wanted, (got, _) = module(noise.clone()), run_graph(graph, noise)
    off = float((wanted - got).abs().max()) / (float(wanted.abs().max()) + 1e-6)
    if not off < 1e-3:
        raise ModelError(
            f"{graph.name}: the graph read from torch.export differs from the module by {off:.2g} "
            "of its largest output; please report the module"
        )
