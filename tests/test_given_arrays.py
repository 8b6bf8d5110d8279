"""Arrays that users give: taken rightly, or one line (`given_arrays` has the tables)."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import flexhyca as fh
from flexhyca import api
from flexhyca.errors import FlexhycaError, InternalError
from flexhyca.tests.fuzz.damage import one_line
from flexhyca.tests.given_arrays import (
    LABELS,
    OTHERS,
    PIXELS,
    RIGHT,
    ROWS,
    SIZED,
    WRONG,
    bench,
    right,
)

DOCS = Path(__file__).parents[1]
IDS = [f"{row.function}-{row.argument}" for row in ROWS]


def test_the_table_has_every_public_name() -> None:
    """Those of the package and of `api`; and what the pages import beside them takes an array."""
    taken = {row.function for row in ROWS}
    assert taken - {"requantise"} | OTHERS.keys() == {*fh.__all__, *api.__all__}
    assert not taken & OTHERS.keys()
    pages = [DOCS / "README.md", *(DOCS / "docs").glob("*.md"), *(DOCS / "examples").glob("*.py")]
    imported = re.compile(r"^[> ]*from (flexhyca[\w.]*) import (.*)$", re.MULTILINE)
    shown = {pair for page in pages for pair in imported.findall(page.read_text())}
    assert shown == {
        ("flexhyca", "api"),
        ("flexhyca.api", "build"),
        ("flexhyca.config.schemes", "with_scheme"),  # a configuration
        ("flexhyca.faults.campaign.experiment", "Experiment, Ratio, Share"),  # numbers
        ("flexhyca.faults.campaign.run", "run_campaign"),  # an experiment
        ("flexhyca.faults.campaign.statistics", "required_sample, share"),  # numbers
        ("flexhyca.network.fixedpoint", "requantise"),
        ("flexhyca.report.trace", "write_trace"),  # a recorder
        ("flexhyca.simulator.cycles.trace", "Recorder"),
    }


def same(a, b) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_right_arrays_give_the_same_in_every_form(row) -> None:
    given = right(row.kind)
    wanted = row.call(given)
    for name, form in RIGHT[row.kind].items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if row.argument.endswith("of the file") and not isinstance(form(given), np.ndarray):
                continue
            assert same(row.call(form(given)), wanted), name


def _error(call, given) -> Exception | None:
    try:
        call(given)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_wrong_arrays_end_in_one_line(row) -> None:
    given = right(row.kind)
    forms = WRONG[row.kind] | (SIZED.get(row.kind, {}) if row.sized else {})
    for name, form in forms.items():
        wrong = form(given)
        if row.argument.endswith("of the file"):
            if name == "no channels":
                continue  # which a file may leave out
            try:
                wrong = np.asanyarray(wrong)
                if np.ma.is_masked(wrong):
                    continue  # a file has no masks
            except (TypeError, ValueError, RuntimeError):
                continue
        found = _error(row.call, wrong)
        assert isinstance(found, FlexhycaError), (name, found)
        assert not isinstance(found, InternalError), (name, found)
        one_line(found)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: api.quantise_images(bench().model, bench().network, PIXELS / 255 * 2),
            "data given: images are float64 0.0..2.0, wanted 0..1; or give uint8, 0..255",
        ),
        (
            lambda: api.quantise_images(bench().model, bench().network, bench().inputs),
            "data given: images are int8 (12, 8, 8, 1), wanted uint8 (n, h, w, c); are they "
            "quantised already?",
        ),
        (
            lambda: api.quantise_images(
                bench().model, bench().network, PIXELS.transpose(0, 3, 1, 2)
            ),
            "data given: images are (1, 8, 8) (h, w, c), model digits wants (8, 8, 1); move the "
            "channels to the end first, images.transpose(0, 2, 3, 1)",
        ),
        (
            lambda: api.accuracy_of(bench().logits[:6], LABELS),
            "labels of shape (12,) for 6 images",
        ),
        (
            lambda: api.accuracy_of(bench().logits, LABELS + 1),
            "labels are int64 1..10, wanted 0..9; leave out what has no class",
        ),
        (
            lambda: api.float_accuracy(bench().model, PIXELS),
            "float_accuracy: data = an array uint8 (12, 8, 8, 1); give a Dataset",
        ),
        (
            lambda: api.quantise(bench().model, bench().config, PIXELS),
            "quantise: data = an array uint8 (12, 8, 8, 1); give a Dataset or None",
        ),
        (
            lambda: api.compile(
                bench().network, bench().config, {2: np.zeros((4, 4, 32), np.bool_)}
            ),
            "digits: important neurons of layer 2, which has no weights; those that have are "
            "0, 1, 3, 4, 6",
        ),
    ],
)
def test_the_line_says_what_is_wanted(call, text) -> None:
    with pytest.raises(FlexhycaError) as caught:
        call()
    assert str(caught.value) == text


def test_floats_are_shares_of_255() -> None:
    """To the nearest pixel: accuracy is that of the pixels, which was 0.08 instead of 1.0 once."""
    model, network = bench().model, bench().network
    data = api.load_data(model)
    shares = fh.Dataset("shares", (data.images / 255).astype(np.float32), data.labels)
    assert np.array_equal(shares.images, data.images)
    wanted = api.quantise_images(model, network, data.images)
    assert np.array_equal(api.quantise_images(model, network, data.images / 255), wanted)
    assert api.int8_accuracy(model, network, shares) == api.int8_accuracy(model, network, data)
