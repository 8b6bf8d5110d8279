"""Random quantised networks and small machines for property tests, and ways to end processes."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.config import Arithmetic, Config, choices, load_config
from flexhyca.config.mappings import WantedMapping
from flexhyca.config.schema import KEEPS_SUMS, LAYER_COPIES
from flexhyca.errors import CompileError
from flexhyca.isa.assembly import assemble, disassemble
from flexhyca.isa.program import Program
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor

#: Dataflows whose PEs keep no sums, and ways to compute a layer several times.
STATIONARY = tuple(flow for flow in choices("array.dataflow") if not KEEPS_SUMS[flow])
#: The field of `array` with which the next operands come while these are at work.
OVERLAP = {
    flow: "double_buffered_accumulators" if keeps else "overlapped_preload"
    for flow, keeps in KEEPS_SUMS.items()
}
REDUNDANT = tuple(kind for kind in choices("protection.redundancy") if kind != "none")
#: The machines of `one_conv_on`.
MACHINES = (*choices("array.dataflow"), *REDUNDANT, *choices("dppu.data_reuse"))


def small_config(*overrides: str, base: str = "flexhyca-32x32") -> Config:
    """A 4x4 machine with buffers of a few kilobytes, so that tiling has to work."""
    split = ["buffers.ifmap_bytes=2048", "buffers.weight_bytes=2048"]
    return load_config(
        base,
        [
            "array.rows=4",
            "array.cols=4",
            "dppu.size=8" if base != "base-32x32" else "dppu.size=0",
            "dppu.window=8",
            *(split if not any("scratchpad_bytes" in override for override in overrides) else ()),
            "buffers.output_bytes=512",
            "buffers.position_bytes=64",
            "dram.grant_bytes=256",
            "dram.latency_cycles=10",
            *overrides,
        ],
    )


#: One memory for inputs and weights.
SCRATCHPADS = st.sampled_from([512, 768, 2048, 16384]).map(
    lambda size: [f"buffers.scratchpad_bytes={size}"]
)


@st.composite
def operand_memories(draw: st.DrawFn) -> list[str]:
    """Two memories of operands, or one for both."""
    if draw(st.sampled_from([False, False, True])):
        return draw(SCRATCHPADS)
    return [
        f"buffers.ifmap_bytes={draw(st.sampled_from([256, 512, 2048, 16384]))}",
        f"buffers.weight_bytes={draw(st.sampled_from([128, 512, 4096]))}",
    ]


#: A memory that tensors stay in between layers: for all of them, for some, or none.
ACTIVATIONS = st.tuples(st.sampled_from([64, 256, 1024, 16384]), st.sampled_from([1, 7, 64])).map(
    lambda sizes: [
        f"buffers.activation_bytes={sizes[0]}",
        f"buffers.activation_bytes_per_cycle={sizes[1]}",
    ]
)
NO_ACTIVATIONS: st.SearchStrategy[list[str]] = st.just([])


@st.composite
def machines(
    draw: st.DrawFn,
    memories: st.SearchStrategy[list[str]] | None = None,
    activations: st.SearchStrategy[list[str]] = NO_ACTIVATIONS | ACTIVATIONS,
) -> Config:
    """Small machines of any shape, with and without a DPPU. memories : of operands."""
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    width = draw(st.sampled_from([1, 2, 4]))
    reuse = draw(st.sampled_from([*choices("dppu.data_reuse"), "none", "none"]))
    size = 0 if reuse == "none" else width * draw(st.integers(1, 3))
    overflow = draw(st.sampled_from(choices("arithmetic.overflow")))
    dataflow = draw(st.sampled_from(choices("array.dataflow"))) if reuse == "none" else "os"
    block = draw(st.sampled_from([1, 1, 2, 5])) if dataflow == "os" else 1
    overlaps = draw(st.booleans())
    return small_config(
        f"array.channel_block={block}",
        *draw(operand_memories() if memories is None else memories),
        *draw(activations),
        f"array.rows={rows}",
        f"array.cols={cols}",
        f"array.dataflow={dataflow}",
        f"array.{OVERLAP[dataflow]}={str(overlaps).lower()}",
        f"dppu.size={size}",
        f"dppu.width={width}",
        f"dppu.sram_bytes_per_cycle={draw(st.sampled_from([1, 32]))}",
        f"dram.model={draw(st.sampled_from(choices('dram.model')))}",
        f"dram.banks={draw(st.sampled_from([1, 4]))}",
        "dram.row_bytes=64",
        f"dppu.window={draw(st.sampled_from([1, 4, 7, 32]))}",
        f"dppu.data_reuse={'hybrid' if reuse == 'none' else reuse}",
        f"protection.s_th={0.0 if reuse == 'none' else 0.1}",
        f"arithmetic.overflow={overflow}",
        f"arithmetic.rounding={draw(st.sampled_from(['half_up', 'floor']))}",
        f"arithmetic.acc_bits={draw(st.sampled_from([18, 24, 32]))}",
        f"buffers.output_bytes={draw(st.sampled_from([512, 2048]))}",
        f"buffers.instruction_bytes={draw(st.sampled_from([64, 256, 16384]))}",
        f"dram.bytes_per_cycle={draw(st.sampled_from([1, 8, 64, 6.8, 0.7]))}",
        f"dram.request_cycles={draw(st.sampled_from([0, 0, 3, 4.9]))}",
        f"dram.burst_bytes={draw(st.sampled_from([1, 1, 16, 64]))}",
        f"dram.outstanding={draw(st.sampled_from([0, 0, 1, 4]))}",
        f"dram.duplex={str(draw(st.booleans())).lower()}",
        f"dram.latency_cycles={draw(st.sampled_from([0, 3, 50]))}",
        f"vec.lanes={draw(st.sampled_from([1, 8]))}",
        "protection.q_scale=0",
    )


def _span(size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
    return (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1


@st.composite
def networks(draw: st.DrawFn, arithmetic: Arithmetic, max_layers: int = 4) -> Network:
    """A chain of random layers, some with residuals; every shape is legal, values full-scale."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    h, w, c = (draw(st.integers(1, n)) for n in (9, 9, 10))
    tensors = [Tensor("input", h, w, c, 1.0)]
    layers: list[Layer] = []
    weights, biases = {}, {}
    spare = arithmetic.acc_bits - arithmetic.act_bits
    for i in range(draw(st.integers(1, max_layers))):
        source = tensors[-1]
        kinds = ["conv", "conv", "conv", "linear", "copy"]
        kinds += ["maxpool", "avgpool"] + ["add"] * (i > 0)
        kind = draw(st.sampled_from(kinds))
        kh, kw = draw(st.integers(1, min(4, source.h))), draw(st.integers(1, min(4, source.w)))
        sh, sw = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        pt, pl = draw(st.integers(0, kh - 1)), draw(st.integers(0, kw - 1))
        dh = dw = 1
        values: dict[str, int] = {}
        out_c = source.c
        if kind == "conv":
            groups = draw(st.sampled_from([g for g in (1, 2, source.c) if source.c % g == 0]))
            out_c = groups * draw(st.integers(1, 9 if groups == 1 else 2))
            if source.h + 2 * pt > 2 * (kh - 1) and source.w + 2 * pl > 2 * (kw - 1):
                dh = dw = draw(st.integers(1, 2))
            values = {"groups": groups, "shift": draw(st.integers(0, spare))}
        elif kind == "linear":
            kh, kw, sh, sw, pt, pl = source.h, source.w, 1, 1, 0, 0
            out_c, values = draw(st.integers(1, 12)), {"shift": draw(st.integers(0, spare))}
        elif kind == "copy":
            kh = kw = 1
            pt, pl = draw(st.integers(-1, 1)), draw(st.integers(-1, 1))
            pt, pl = max(pt, 1 - source.h), max(pl, 1 - source.w)
            out_c = draw(st.integers(1, 12))
            values = {"c_offset": draw(st.integers(-2, 3))}
        elif kind == "avgpool":
            values = {"shift": draw(st.integers(0, 5))}
        elif kind == "add":
            kh = kw = sh = sw = 1
            pt = pl = 0
            values = {"residual": draw(st.sampled_from(_same_shape(tensors, source)))}
        oh = _span(source.h, kh, sh, pt, dh) if kind != "copy" else draw(st.integers(1, 6))
        ow = _span(source.w, kw, sw, pl, dw) if kind != "copy" else draw(st.integers(1, 6))
        out = Tensor(f"t{i}", oh, ow, out_c, 1.0)
        op = LayerOp.CONV if kind == "linear" else LayerOp[kind.upper()]
        if kind == "conv" and (same := _same_shape(tensors, out)) and draw(st.booleans()):
            values["residual"] = draw(st.sampled_from(same))
        if "residual" in values:
            values |= {k: draw(st.integers(0, 3)) for k in ("lshift_a", "lshift_b", "add_shift")}
        low = draw(st.sampled_from([-128, 0]))
        tensors.append(out)
        layers.append(
            Layer(
                f"{kind}{i}",
                op,
                len(tensors) - 2,
                len(tensors) - 1,
                kernel_h=kh,
                kernel_w=kw,
                stride_h=sh,
                stride_w=sw,
                pad_top=pt,
                pad_left=pl,
                dilation_h=dh,
                dilation_w=dw,
                act_lo=low,
                **values,
            )
        )
        if op == LayerOp.CONV:
            shape = (out_c, kh, kw, source.c // values.get("groups", 1))
            weights[i] = rng.integers(-128, 128, shape).astype(np.int8)
            bias = rng.integers(-(2**17), 2**17, out_c)
            biases[i] = bias.astype(np.int32)
    return Network(
        "random", tuple(tensors), tuple(layers), weights, biases, arithmetic, 0, len(tensors) - 1
    )


def _same_shape(tensors: list[Tensor], like: Tensor) -> list[int]:
    shape = (like.h, like.w, like.c)
    return [i for i, t in enumerate(tensors) if (t.h, t.w, t.c) == shape]


def words(act_bits: int, weight_bits: int, acc_bits: int) -> Arithmetic:
    return Arithmetic(act_bits=act_bits, weight_bits=weight_bits, acc_bits=acc_bits)


#: Mappings of `one_conv` on a 4x4 machine: full tiles over the whole reduction.
FULL_TILES = {"*": WantedMapping(rows=4, cols=4, cut_rows=False, step_ky=3, step_c=16)}


def compiled(
    network: Network,
    config: Config,
    masks: dict | None,
    batch: int = 1,
    wanted: dict[str, WantedMapping] | None = None,
) -> Program:
    """Compile a drawn case; one that cannot fit is not a case."""
    try:
        return compile_network(network, config, masks, batch, wanted or {})
    except CompileError:
        # Only a pool's rows may be too large for such a small buffer; a convolution never is.
        assume(all(la.op == LayerOp.CONV for la in network.layers))
        raise


def random_inputs(network: Network, batch: int, seed: int) -> np.ndarray:
    """Full-scale int8 images for `network`."""
    t = network.tensors[network.input]
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (batch, t.h, t.w, t.c)).astype(np.int8)


def random_masks(network: Network, share: float, seed: int) -> dict[int, np.ndarray]:
    """A random share of the neurons of every layer, as `compile_network` takes it."""
    rng = np.random.default_rng(seed)
    shapes = {i: network.tensors[network.layers[i].output] for i in network.weights}
    return {i: rng.random((t.h, t.w, t.c)) < share for i, t in shapes.items()}


def fenced(program: Program) -> Program:
    """`program` with a barrier of all engines before its end."""
    text = disassemble(program).replace("\nHALT", "\nSYNC engines=LOAD|ARRAY|DPPU|STORE\nHALT")
    for region, more in (("text", 16), ("descriptors", 0)):  # the last one makes room
        base, size = program.memory_map[region]
        moved = base if more else base + 64
        text = text.replace(
            f'"{region}": [{base}, {size}]', f'"{region}": [{moved}, {size + more}]'
        )
    return assemble(text)


def same_conv(kernel, **fields):
    """A convolution of tensor 0 to tensor 1, of the same size."""
    pad = kernel // 2
    own = {"kernel_h": kernel, "kernel_w": kernel, "pad_top": pad, "pad_left": pad}
    return Layer("conv", LayerOp.CONV, 0, 1, **own, **fields)


def one_conv(h=8, c=16, n=8, kernel=3, batch=1):
    """One convolution whose operands fit the buffers of `small_config` with room."""
    layer = same_conv(kernel, shift=7)
    rng = np.random.default_rng(0)
    return Network(
        "one",
        (Tensor("x", h, h, c, 1.0), Tensor("y", h, h, n, 1.0)),
        (layer,),
        {0: rng.integers(-9, 9, (n, kernel, kernel, c)).astype(np.int8)},
        {0: np.zeros(n, np.int32)},
        Arithmetic(),
        0,
        1,
    )


def crowded(count):
    """`count` important neurons in every tile of a 4x4 machine."""
    mask = np.zeros((8 * 8, 8), bool)
    for m0 in range(0, 64, 4):
        for n0 in range(0, 8, 4):
            for i in range(count):
                mask[m0 + i // 4, n0 + i % 4] = True
    return {0: mask.reshape(8, 8, 8)}


def with_redundancy(config: Config, kind: str, layers: list[str]) -> Config:
    """`config` with these layers computed three times, and room for them in the output buffer."""
    values = config.model_dump()
    values["protection"] |= {"redundancy": kind, "redundant_layers": layers}
    values["buffers"]["output_bytes"] = max(config.buffers.output_bytes, 1024)
    return Config.model_validate(values)


@st.composite
def redundant(draw: st.DrawFn, config: Config, network: Network) -> Config:
    """`config` with some layers computed three times, where the machine and the network can."""
    names = [network.layers[i].name for i in sorted(network.weights)]
    if not names or config.dppu.size or not config.array.keeps_sums:
        return config
    kinds = [kind for kind in REDUNDANT if config.array.cols >= LAYER_COPIES[kind].parts]
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    return with_redundancy(config, draw(st.sampled_from(kinds)), chosen)


@st.composite
def programs(draw: st.DrawFn, machine: st.SearchStrategy[Config] | None = None) -> Program:
    """Random networks on random machines, in every mode, with and without a barrier."""
    config = draw(machines() if machine is None else machine)
    network = draw(networks(config.arithmetic))
    if draw(st.booleans()):
        config = draw(redundant(config, network))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])) if config.dppu.size else 0.0
    program = compiled(network, config, random_masks(network, share, 1), draw(st.integers(1, 3)))
    return fenced(program) if draw(st.booleans()) else program


def heed_ctrl_c() -> None:
    """In a new process: Ctrl-C works, although shells let jobs in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def one_conv_on(kind, size):
    """A convolution of size x size pixels on a machine of a kind, and an image.

    kind : one of `MACHINES`: a dataflow, a way of redundancy, or the DPPU's reuse. The convolution
    is padded, and cut into several tiles and parts of its reduction.
    """
    overrides = ["array.cols=6"]
    if kind in choices("array.dataflow"):
        overrides += [f"array.dataflow={kind}"]
    if kind in choices("dppu.data_reuse"):
        overrides += [f"dppu.data_reuse={kind}"]
    else:
        overrides += ["dppu.size=0", "protection.s_th=0"]
    config = small_config(*overrides)
    if kind in REDUNDANT:
        config = with_redundancy(config, kind, ["conv"])
    network = one_conv(h=size, c=5, n=5)
    shape = size, size, 5
    masks = {0: np.arange(np.prod(shape)).reshape(shape) % 3 == 0} if config.dppu.size else None
    return compiled(network, config, masks), random_inputs(network, 1, 0)[0]


def kill_a_worker(cluster: Any) -> int:
    """SIGKILL to the first worker of a `LocalCluster`; its process."""
    pid = int(next(iter(cluster.workers.values())).process.process.pid)
    os.kill(pid, signal.SIGKILL)
    return pid
