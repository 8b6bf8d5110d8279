"""Images: digits, npz files, and the way from u8 to the network's int8 input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from flexhyca.compiler.data import (
    Dataset,
    digits_dataset,
    input_scale,
    load_dataset,
    normalise,
    quantise_input,
)
from flexhyca.compiler.graph import Graph, Node
from flexhyca.compiler.model import Model
from flexhyca.errors import FlexhycaWarning, ModelError


def model(c=2, h=4, w=3, classes=3):
    nodes = (
        Node("x", "input", (), (c, h, w)),
        Node("p", "avg_pool", ("x",), (c, 1, 1), kernel=(h, w), divisor=h * w),
        Node("f", "flatten", ("p",), (c,)),
    )
    mean, std = (0.25, 0.5)[:c], (0.25, 0.5)[:c]
    assert classes
    return Model("net", Graph("net", nodes, "f"), mean, std)


def images(n=5, h=4, w=3, c=2):
    return np.random.default_rng(0).integers(0, 256, (n, h, w, c)).astype(np.uint8)


def test_digits_are_split_once_and_for_all():
    train, test = digits_dataset("train"), digits_dataset("test")
    assert train.images.shape == (1437, 8, 8, 1)
    assert test.images.shape == (360, 8, 8, 1)
    assert test.labels[:10].tolist() == [0, 5, 0, 5, 0, 5, 0, 5, 8, 3]
    assert np.bincount(test.labels).min() >= 25  # every class is held out
    assert int(test.images.sum(dtype=np.int64)) == 1_794_871


def test_digits_pixels_are_the_counts_to_half_a_step():
    from sklearn.datasets import load_digits

    counts = load_digits().images[::5]
    assert np.abs(digits_dataset("test").images[..., 0] / 255 - counts / 16).max() <= 0.5 / 255


@pytest.mark.parametrize("grey", [False, True])
def test_npz_round_trip(tmp_path, grey):
    pixels = images(c=1)
    np.savez(tmp_path / "d.npz", images=pixels[..., 0] if grey else pixels, labels=np.arange(5))
    data = load_dataset(tmp_path / "d.npz")
    assert np.array_equal(data.images, pixels)
    assert data.labels.tolist() == [0, 1, 2, 3, 4]
    assert data.labels.dtype == np.int64
    assert data[1:3].labels.tolist() == [1, 2]


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_a_spread_reaches_over_the_whole_set(count):
    data = Dataset("sorted", images(), np.arange(5)).spread(count)
    assert data.labels.tolist() == {1: [0], 3: [0, 1, 3], 5: [0, 1, 2, 3, 4]}[min(count, 5)]
    assert np.array_equal(data.images, images()[data.labels])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": images()}, "no array 'images'; it holds pixels"),
        ({"images": images() + np.float32(1)}, "images are float32 1.0.."),
        ({"images": images() + np.int16(200)}, ", wanted 0..255; scale them first"),
        ({"images": images()[0, 0, 0]}, "images are uint8 (2,), wanted uint8 (n, h, w, c)"),
        (
            {"images": images()[:0]},
            "images are none: uint8 (0, 4, 3, 2), wanted uint8 (n, h, w, c)",
        ),
        ({"images": images(), "labels": np.arange(4)}, "labels of shape (4,) for 5 images"),
        ({"images": images(), "labels": np.ones(5)}, "labels are float64, wanted integers"),
        ({"images": np.array([{}], dtype=object)}, "not a plain npz file: "),
    ],
)
def test_bad_npz_files_say_what_is_wrong(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(ModelError) as caught:
        load_dataset(tmp_path / "d.npz")
    assert message in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        load_dataset(tmp_path / "absent.npz")
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04nonsense")
    with pytest.raises(ModelError, match="not a plain npz file"):
        load_dataset(tmp_path / "d.npz")


def test_images_must_fit_the_model():
    Dataset("d", images(), np.array([0, 1, 1, 0, 1])).check(model())
    with pytest.raises(ModelError) as caught:
        Dataset("d", images(h=5), None).check(model())
    assert str(caught.value) == (
        "data d: images are (5, 3, 2) (h, w, c), model net wants (4, 3, 2); "
        "resize or crop them first"
    )
    with pytest.raises(ModelError, match=r"data d: labels 0\.\.4, model net has classes 0\.\.1"):
        Dataset("d", images(), np.arange(5)).check(model())


def test_normalise_and_quantise():
    pixels = images()
    x = normalise(pixels, (0.25, 0.5), (0.25, 0.5))
    assert x.dtype == np.float32
    assert x.shape == (5, 2, 4, 3)
    assert x[1, 0, 2, 1] == pytest.approx((pixels[1, 2, 1, 0] / 255 - 0.25) / 0.25, abs=1e-6)
    scale = input_scale(model(), 8)
    assert scale == pytest.approx(3 / 127)  # channel 0 reaches (1 - 0.25) / 0.25
    steps = quantise_input(pixels, model(), scale)
    assert steps.dtype == np.int8
    assert np.abs(steps * scale - x.transpose(0, 2, 3, 1)).max() <= scale / 2 + 1e-6
    assert np.abs(quantise_input(pixels, model(), scale / 100, bits=4)).max() == 8


def test_models_check_their_normalisation():
    with pytest.raises(ModelError, match=r"mean has 1 values for 2 input channel\(s\)"):
        Model("net", model().graph, (0.5,), (0.5, 0.5))
    with pytest.raises(ModelError, match="must be positive"):
        Model("net", model().graph, (0.5, 0.5), (0.5, 0.0))


def test_a_part_is_spread_or_the_first() -> None:
    data = Dataset("sorted", np.zeros((100, 2, 2, 1), np.uint8), np.repeat(np.arange(10), 10))
    assert data.chosen(None) is data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for wanted in (50, "50"):
            labels = data.chosen(wanted).labels
            assert labels is not None
            assert np.bincount(labels).tolist() == [5] * 10
        assert len(data.chosen("first:5")) == 5  # too few for all classes anyway
        assert len(data.chosen(1000)) == 100
    with pytest.warns(FlexhycaWarning) as caught:
        assert len(data.chosen("first:50")) == 50
    assert str(caught[0].message) == (
        "data sorted: images first:50 have none of 5 of the 10 classes (5, 6, 7, 8, 9)"
    )


@pytest.mark.parametrize("text", ["0", "", "first:", "first:0", "-3", "1.5", "last:3", "9" * 5000])
def test_no_part(text: str) -> None:
    data = Dataset("d", np.zeros((4, 2, 2, 1), np.uint8), None)
    with pytest.raises(ModelError, match="give N, or first:N"):
        data.chosen(text)
