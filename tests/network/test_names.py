"""Layers by name or pattern."""

import pytest

from flexhyca.errors import FlexhycaError
from flexhyca.network.names import match_layers


def test_layers_are_named_by_patterns():
    names = ["conv1", "layer1.0.conv1", "layer1.0.conv2", "a[0]", "fc"]
    assert match_layers(["conv1"], names) == {0}
    assert match_layers(["layer1.*", "fc"], names) == {1, 2, 4}
    assert match_layers(["a[0]"], names) == {3}
    with pytest.raises(FlexhycaError) as error:
        match_layers(["conv1", "layer1.conv1"], names)
    assert str(error.value) == (
        "no layer is called 'layer1.conv1'; near it: layer1.0.conv1, layer1.0.conv2, conv1 "
        "(5 layers; * stands for any text)"
    )
