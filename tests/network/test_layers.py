"""The layer's descriptor."""

from flexhyca.isa.descriptors import LAYER_COLUMNS
from flexhyca.isa.instructions import LAYER_DESCRIPTOR_BYTES
from flexhyca.network.layers import LAYER_FIELDS


def test_the_descriptor_begins_with_the_layers_fields_and_fits():
    assert LAYER_COLUMNS[: len(LAYER_FIELDS)] == LAYER_FIELDS
    assert 4 * len(LAYER_COLUMNS) <= LAYER_DESCRIPTOR_BYTES
