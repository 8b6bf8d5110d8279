"""The ONNX project's own tests of the operators that we read: agreement, or one clear refusal.

Every case is listed; a new version of onnx that brings others fails until they are listed, too.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flexhyca.compiler.execute import run_graph
from flexhyca.compiler.frontends.frontend_onnx import from_onnx
from flexhyca.compiler.passes import simplify
from flexhyca.errors import ModelError
from flexhyca.tests.compiler.frontends.onnx_models import backend_cases, network_of_case, write


def words(text):
    return text.split()


#: Cases that our graph computes like ONNX.
AGREE = words("""
AvgPool2d AvgPool2d_stride BatchNorm2d_eval BatchNorm2d_momentum_eval Conv2d Conv2d_depthwise
Conv2d_depthwise_padded Conv2d_depthwise_strided Conv2d_depthwise_with_multiplier Conv2d_dilated
Conv2d_groups Conv2d_groups_thnn Conv2d_no_bias Conv2d_padding Conv2d_strided Linear MaxPool2d
MaxPool2d_stride_padding_dilation ReLU ZeroPad2d add
averagepool_2d_ceil_last_window_starts_on_pad averagepool_2d_default
averagepool_2d_pads_count_include_pad averagepool_2d_precomputed_pads_count_include_pad
averagepool_2d_precomputed_strides averagepool_2d_strides basic_conv_with_padding
basic_conv_without_padding batchnorm_epsilon batchnorm_example clip clip_default_inbounds
clip_default_inbounds_expanded clip_default_max clip_default_min clip_example clip_inbounds
clip_outbounds clip_splitbounds concat_2d_axis_1 concat_2d_axis_negative_1
conv_with_autopad_same conv_with_strides_and_asymmetric_padding conv_with_strides_no_padding
conv_with_strides_padding dropout_default dropout_default_old dropout_default_ratio
dropout_random_old flatten_axis1 flatten_default_axis flatten_negative_axis3 gemm_alpha
gemm_beta gemm_default_no_bias gemm_default_scalar_bias gemm_default_single_elem_vector_bias
gemm_default_vector_bias gemm_default_zero_bias gemm_transposeB globalaveragepool
globalaveragepool_precomputed globalmaxpool globalmaxpool_precomputed identity matmul_2d
maxpool_2d_ceil maxpool_2d_ceil_output_size_reduce_by_one maxpool_2d_default
maxpool_2d_dilations maxpool_2d_pads maxpool_2d_precomputed_pads
maxpool_2d_precomputed_same_upper maxpool_2d_precomputed_strides maxpool_2d_same_lower
maxpool_2d_same_upper maxpool_2d_strides operator_clip operator_concat2 operator_conv
operator_flatten operator_mm relu single_relu_model squeeze_negative_axes
unsqueeze_negative_axes
""")

#: Cases that end with a Softmax, of which only the order stays.
SAME_ORDER = words("""
LogSoftmax Softmax log_softmax_lastdim logsoftmax_example_1 softmax_example softmax_lastdim
logsoftmax_large_number softmax_large_number
""")

#: Cases that have no counterpart: what the message says -> the cases.
REFUSED = {
    "wanted (n, c, h, w)": words("""
        AvgPool3d AvgPool3d_stride AvgPool3d_stride1_pad0_gpu_input
        BatchNorm1d_3d_input_eval BatchNorm3d_eval BatchNorm3d_momentum_eval Conv1d
        Conv1d_dilated Conv1d_groups Conv1d_pad1 Conv1d_pad1size1 Conv1d_pad2
        Conv1d_pad2size1 Conv1d_stride Conv3d Conv3d_dilated Conv3d_dilated_strided
        Conv3d_groups Conv3d_no_bias Conv3d_stride Conv3d_stride_padding MaxPool1d
        MaxPool1d_stride MaxPool1d_stride_padding_dilation MaxPool3d MaxPool3d_stride
        MaxPool3d_stride_padding averagepool_1d_default averagepool_3d_default
        averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_False
        averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True
        averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_False
        averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True
        averagepool_3d_dilations_small concat_1d_axis_0 concat_1d_axis_negative_1
        concat_3d_axis_0 concat_3d_axis_1 concat_3d_axis_2 concat_3d_axis_negative_1
        concat_3d_axis_negative_2 concat_3d_axis_negative_3 matmul_1d_1d matmul_1d_3d
        matmul_3d maxpool_1d_default maxpool_3d_default maxpool_3d_dilations
        maxpool_3d_dilations_use_ref_impl maxpool_3d_dilations_use_ref_impl_large
        operator_maxpool operator_view reduce_mean_default_axes_keepdims_example
        reduce_mean_default_axes_keepdims_random reduce_mean_do_not_keepdims_example
        reduce_mean_do_not_keepdims_random reduce_mean_keepdims_example
        reduce_mean_keepdims_random reduce_mean_negative_axes_keepdims_example
        reduce_mean_negative_axes_keepdims_random reshape_allowzero_reordered
        reshape_extended_dims reshape_negative_dim reshape_negative_extended_dims
        reshape_one_dim reshape_reduced_dims reshape_reordered_all_dims
        reshape_reordered_last_dims reshape_zero_and_negative_dim reshape_zero_dim slice
        slice_default_axes slice_default_steps slice_end_out_of_bounds slice_neg
        slice_neg_steps slice_negative_axes slice_start_out_of_bounds AvgPool1d AvgPool1d_stride
        div div_bcast logsoftmax_axis_0 logsoftmax_axis_1 logsoftmax_axis_2 logsoftmax_default_axis
        logsoftmax_negative_axis mul mul_bcast softmax_axis_0 softmax_axis_1 softmax_axis_2
        softmax_default_axis softmax_negative_axis sub sub_bcast unsqueeze_axis_0 unsqueeze_axis_1
        unsqueeze_axis_2 unsqueeze_three_axes unsqueeze_two_axes unsqueeze_unsorted_axes
        div_example mul_example sub_example
    """),
    "that is not a zero padding of a map": words("""
        ConstantPad2d ReflectionPad2d ReplicationPad2d constant_pad constant_pad_axes
        constant_pad_negative_axes operator_pad
    """),
    "is not one per channel": words("""
        add_bcast
    """),
    "inputs (": words("""
        add_int16 add_int8 add_uint16 add_uint32 add_uint64 add_uint8
        clip_default_int8_max clip_default_int8_min edge_pad operator_add_broadcast
        operator_add_size1_broadcast operator_add_size1_right_broadcast
        operator_add_size1_singleton_broadcast reflect_pad wrap_pad div_int16 div_int32_trunc
        div_int8 div_uint16 div_uint32 div_uint64 div_uint8 mul_int16 mul_int8 mul_uint16 mul_uint32
        mul_uint64 mul_uint8 sub_int16 sub_int8 sub_uint16 sub_uint32 sub_uint64 sub_uint8
    """),
    "with a divisor that differs at the edge": words("""
        averagepool_2d_ceil averagepool_2d_pads averagepool_2d_precomputed_pads
        averagepool_2d_precomputed_same_upper averagepool_2d_same_lower
        averagepool_2d_same_upper
    """),
    "AveragePool with dilations": words("""
        averagepool_2d_dilations
    """),
    "outputs (": words("""
        batchnorm_epsilon_training_mode batchnorm_example_training_mode
        dropout_default_mask dropout_default_mask_ratio
        maxpool_with_argmax_2d_precomputed_pads
        maxpool_with_argmax_2d_precomputed_strides training_dropout_default_mask
        training_dropout_mask training_dropout_zero_ratio_mask
    """),
    "wanted float32": words("""
        clip_default_int8_inbounds clip_default_int8_inbounds_expanded identity_opt
        identity_sequence maxpool_2d_uint8 operator_addconstant operator_non_float_params
    """),
    "with minimum 2 above maximum 1": words("""
        clip_min_greater_than_max
    """),
    "Concat along axis": words("""
        concat_2d_axis_0 concat_2d_axis_negative_2
    """),
    "Flatten at axis": words("""
        flatten_axis0 flatten_axis2 flatten_axis3 flatten_negative_axis1
        flatten_negative_axis2 flatten_negative_axis4
    """),
    "with a transposed input": words("""
        gemm_all_attributes gemm_transposeA
    """),
    "with a bias of shape": words("""
        gemm_default_matrix_bias
    """),
    "MatMul with a weight of shape": words("""
        matmul_4d matmul_4d_1d matmul_bcast
    """),
    "with a computed bias": words("""
        operator_addmm
    """),
    "Squeeze along axes [0]": words("""
        operator_index squeeze
    """),
    "ReduceMean over axes": words("""
        operator_reduced_mean operator_reduced_mean_keepdim
    """),
    "oftmax along axis 3 of (2, 3, 4, 5)": words("""
        log_softmax_dim3 softmax_functional_dim3
    """),
    "in training mode": words("""
        training_dropout training_dropout_default training_dropout_zero_ratio
    """),
}


def test_every_case_is_listed():
    listed = [*AGREE, *SAME_ORDER, *(name for names in REFUSED.values() for name in names)]
    assert len(listed) == len(set(listed))
    assert {f"test_{name}" for name in listed} == set(backend_cases())


@pytest.mark.parametrize("name", AGREE)
def test_agreement(name, tmp_path):
    model, inputs, outputs, (rtol, atol) = backend_cases()[f"test_{name}"]
    network, x, wanted = network_of_case(model, inputs, outputs)
    graph = from_onnx(write(tmp_path, network), name)
    for read in (graph, simplify(graph)):
        got = run_graph(read, torch.from_numpy(x.copy()))[0].numpy()
        got = got.reshape(wanted[0].shape)  # at the end, axes of one element may be left out
        np.testing.assert_allclose(got, wanted[0], rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", SAME_ORDER)
def test_order(name, tmp_path):
    model, inputs, outputs, _ = backend_cases()[f"test_{name}"]
    network, x, wanted = network_of_case(model, inputs, outputs)
    got = run_graph(from_onnx(write(tmp_path, network), name), torch.from_numpy(x.copy()))[0]
    order = np.argsort(got.numpy(), axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(wanted[0], order, 1), axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("name", "reason"), [(name, reason) for reason, names in REFUSED.items() for name in names]
)
def test_refusal(name, reason, tmp_path):
    network, _, _ = network_of_case(*backend_cases()[f"test_{name}"][:3])
    with pytest.raises(ModelError) as caught:
        from_onnx(write(tmp_path, network), name)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
