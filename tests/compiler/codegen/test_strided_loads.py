"""Blocks hold what windows need and nothing between them: strides, steps, pools, and values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.mapping.plan import LayerRequest, plan_layer
from flexhyca.compiler.tiling.loads import ABlock, ifmap_loads
from flexhyca.compiler.tiling.tiles import Geometry
from flexhyca.config import Arithmetic, load_config
from flexhyca.errors import CompileError
from flexhyca.isa.instructions import BY_NAME, Engine, Kind
from flexhyca.network import reference
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.simulator.inject.buffer_faults import Reads
from flexhyca.simulator.machine.memory import Memory
from flexhyca.simulator.run import simulate
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.support import compiled, machines, random_inputs, random_masks, small_config

#: Apache VTA: 16x16, 32 KiB of inputs, of which a half holds two rows of ResNet's first map.
VTA = load_config("base-32x32", ["array.rows=16", "array.cols=16", "buffers.ifmap_bytes=32768"])


def one_layer(op, source, out, arithmetic=None, **fields):
    """A network of one layer without weights; of zeros where it has any."""
    layer = Layer("layer", LayerOp[op], 0, 1, **fields)
    x, y = Tensor("x", *source, 1.0), Tensor("y", *out, 1.0)
    weights, biases = {}, {}
    if layer.op == LayerOp.CONV:
        shape = (y.c, layer.kernel_h, layer.kernel_w, x.c // layer.groups)
        weights, biases = {0: np.zeros(shape, np.int8)}, {0: np.zeros(y.c, np.int32)}
    return Network("one", (x, y), (layer,), weights, biases, arithmetic or Arithmetic(), 0, 1)


def pool(op, h, w, c, kernel, stride, pad=0):
    out = tuple((size + 2 * pad - kernel) // stride + 1 for size in (h, w))
    fields = {"kernel_h": kernel, "kernel_w": kernel, "stride_h": stride, "stride_w": stride}
    return one_layer(op, (h, w, c), (*out, c), pad_top=pad, pad_left=pad, **fields)


def pointwise(h, cin, cout, stride):
    size = (h - 1) // stride + 1
    fields = {"stride_h": stride, "stride_w": stride}
    return one_layer("CONV", (h, h, cin), (size, size, cout), **fields)


def loaded(program):
    """Bytes of inputs, and the LOADs that bring them."""
    c = program.columns
    loads = (c["op"] == BY_NAME["LOAD"].opcode) & (c["kind"] == Kind.IFMAP)
    return int((c["row_bytes"].astype(np.int64) * c["count"])[loads].sum()), int(loads.sum())


def test_a_pool_reads_little_more_than_its_map():
    # A tile at a time, with the channels cut, this was 16.8 MB (20.9 times the map).
    network = pool("MAXPOOL", 112, 112, 64, kernel=3, stride=2, pad=1)
    nbytes, _ = loaded(compile_network(network, VTA))
    assert 112 * 112 * 64 <= nbytes <= 1.13 * 112 * 112 * 64


def test_a_pool_without_overlap_reads_its_map_once():
    # The first one of VGG-16: 224 x 224 x 64, of which VTA's half holds a row.
    nbytes, _ = loaded(compile_network(pool("MAXPOOL", 224, 224, 64, 2, 2), VTA))
    assert nbytes == 224 * 224 * 64


def test_a_pool_of_a_whole_map_is_cut_into_channels():
    nbytes, _ = loaded(compile_network(pool("AVGPOOL", 7, 7, 2048, 7, 7), VTA))
    assert nbytes == 7 * 7 * 2048


@pytest.mark.parametrize("stride", [2, 3])
def test_a_strided_pointwise_layer_loads_no_row_or_column_that_it_skips(stride):
    # The shortcut of ResNet-50's last stage, on the shipped machine; whole rows were 2.1 MB.
    network = pointwise(14, 1024, 256, stride)
    size = network.tensors[1].h
    nbytes, loads = loaded(compile_network(network, load_config("base-32x32")))
    assert nbytes == size * size * 1024
    assert loads == size  # a LOAD a row: its columns are as far apart as one LOAD can say


def test_columns_are_left_out_where_that_saves_more_than_the_instructions_take():
    # Of 6 columns of 4 bytes half are skipped: 48 bytes in 4 rows, for three more LOADs of 16.
    fields = {"kernel_h": 1, "kernel_w": 1, "stride_h": 2, "stride_w": 2}
    for w, step in ((6, 1), (8, 2)):
        layer = Layer("pad", LayerOp.COPY, 0, 1, **fields)
        g = Geometry(layer, Tensor("x", 8, w, 4, 1.0), Tensor("y", 4, w // 2, 4, 1.0), 1)
        assert g.block(0, 4 * (w // 2)).col_step == step


def test_a_pool_skips_the_rows_between_its_windows():
    # Two rows of every five are read; they lie together, so each block serves one row of outputs.
    network = pool("MAXPOOL", 62, 62, 32, kernel=2, stride=5)
    nbytes, _ = loaded(compile_network(network, VTA))
    assert nbytes <= 13 * 2 * 62 * 32


def test_images_of_odd_height_share_no_step():
    # The rows of the second image that are needed are not two apart from those of the first.
    layer = Layer("conv", LayerOp.CONV, 0, 1, stride_h=2, stride_w=2)
    source, out = Tensor("x", 5, 5, 32, 1.0), Tensor("y", 3, 3, 8, 1.0)
    g = Geometry(layer, source, out, batch=2)
    assert g.rows(0, 9, 0, 1) == (0, 3, 2)
    assert g.rows(9, 18, 0, 1) == (5, 3, 2)
    assert g.rows(0, 18, 0, 1) == (0, 10, 1)


def test_a_window_that_does_not_fit_is_said_in_one_line():
    with pytest.raises(CompileError) as error:
        plan_layer(LayerRequest.of(pool("MAXPOOL", 40, 40, 1, 40, 40), 0, small_config(), 1))
    assert str(error.value) == (
        "layer layer: 40 x 40 input elements of one window do not fit 1024 bytes, half of the "
        "ifmap buffer; enlarge buffers.ifmap_bytes"
    )


_PLACES = st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 3))


@given(rows=_PLACES, cols=_PLACES, channels=st.tuples(st.integers(0, 2), st.integers(1, 4)))
def test_loads_bring_the_elements_of_a_block_in_order(rows, cols, channels):
    block = ABlock(*rows, *cols, *channels)
    h, w, c = rows[0] + rows[1] * rows[2], cols[0] + cols[1] * cols[2], sum(channels)
    tensor = np.arange(h * w * c)
    found = [
        tensor[load.offset + i * load.stride :][: load.row_bytes]
        for load in ifmap_loads(block, Tensor("x", h, w, c, 1.0))
        for i in range(load.rows)
    ]
    wanted = tensor.reshape(h, w, c)[
        rows[0] :: rows[2], cols[0] :: cols[2], channels[0] : sum(channels)
    ][: rows[1], : cols[1]]
    np.testing.assert_array_equal(np.concatenate(found), wanted.reshape(-1))


@st.composite
def strided(draw):
    """One layer with any strides, kernels, pads, dilations and groups on a small machine."""
    config = draw(machines())
    op = draw(st.sampled_from(["CONV", "CONV", "MAXPOOL", "AVGPOOL", "COPY"]))
    h, w, c = (draw(st.integers(1, most)) for most in (14, 14, 12))
    fields, out = {}, []
    for axis, size, pad in (("h", h, "pad_top"), ("w", w, "pad_left")):
        kernel = draw(st.sampled_from([1, 1, 2, 3])) if op != "COPY" else 1
        stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        reach = (kernel - 1) * dilation + 1
        before = draw(st.integers(0, reach - 1))
        if reach > size + 2 * before:
            kernel = dilation = reach = 1
            before = 0
        fields |= {f"kernel_{axis}": kernel, f"stride_{axis}": stride, pad: before}
        fields[f"dilation_{axis}"] = dilation
        out.append((size + 2 * before - reach) // stride + 1)
    out_c = c
    if op == "CONV":
        groups = draw(st.sampled_from([g for g in (1, 2, c) if c % g == 0]))
        fields |= {"groups": groups, "shift": 7}
        out_c = groups * draw(st.integers(1, 9 if groups == 1 else 2))
    elif op == "COPY":
        out_c, fields["c_offset"] = draw(st.integers(1, 12)), draw(st.integers(-2, 3))
    network = one_layer(op, (h, w, c), (*out, out_c), config.arithmetic, **fields)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    for i, weight in network.weights.items():
        weight[:] = rng.integers(-128, 128, weight.shape)
        network.biases[i][:] = rng.integers(-1000, 1000, out_c)
    share = 0.3 if config.dppu.size else 0.0
    return config, network, random_masks(network, share, 1), draw(st.integers(1, 3))


def _values(case):
    """The machine computes what the reference says, and faults name the elements that it reads."""
    config, network, masks, batch = case
    inputs = random_inputs(network, batch, 0)
    program = compiled(network, config, masks, batch)
    expected = reference.run_network(network, inputs)[network.output]
    timed = simulate(program, inputs, values="machine")
    np.testing.assert_array_equal(timed.outputs, expected)
    assert timed.cycles == simulate(program, values="none").cycles

    memory, reads = Memory(program, inputs), Reads(Spans(program))
    elements = inputs.reshape(-1)
    engines = {"GEMM": Engine.ARRAY, "VEC": Engine.STORE}
    codes = {BY_NAME[name].opcode: engine for name, engine in engines.items()}
    spans = {pc: s for s in reads.spans.all for pc in (*s.gemms, s.vec)}
    rng = np.random.default_rng(0)
    for pc, op in enumerate(program.columns["op"].tolist()):
        if op in codes and (network.layers[0].op != LayerOp.CONV or op == BY_NAME["GEMM"].opcode):
            w = reads._window(codes[op], pc)
            held = w["rows"] * w["cols"] * w["cc"]
            for byte in (w["a_base"] + rng.integers(held, size=3)).tolist():
                at = reads._element(codes[op], pc, "a_base", byte, spans[pc])
                assert elements[at] == memory.buffers[0][byte]
        memory.begin(pc)
        memory.end(pc)


@settings(max_examples=80, deadline=None)
@given(strided())
def test_values_are_those_of_the_reference(case):
    _values(case)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(strided())
def test_values_are_those_of_the_reference_often(case):
    _values(case)
