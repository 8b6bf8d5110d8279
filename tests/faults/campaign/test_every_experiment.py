"""What the experiment of every fault model has to keep: those of the table, whatever they are.

A fault model that is added to `faults.models` needs an entry in `_MAKE`, and is tested here.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from flexhyca.config.schemes import with_scheme
from flexhyca.errors import FlexhycaError
from flexhyca.faults.ber.experiment import BerFaults
from flexhyca.faults.ber.options import BerOptions, Case
from flexhyca.faults.campaign import run as engine
from flexhyca.faults.campaign.experiment import Experiment, checked_rows, description
from flexhyca.faults.campaign.export import write_csv
from flexhyca.faults.campaign.run import boundaries, run_campaign
from flexhyca.faults.campaign.store import Campaign
from flexhyca.faults.campaign.stored import CampaignGoal
from flexhyca.faults.machine.experiment import MachineFaults
from flexhyca.faults.models import FAULT_MODELS, MACHINE_MODELS
from flexhyca.isa.program_file import load, save
from flexhyca.network.functional import Functional
from flexhyca.tables import complete
from flexhyca.tests.support import compiled, one_conv, random_inputs, random_masks, small_config

TRIALS = 12 * (next(boundaries()) // 12 + 2)  # in whole blocks: one look, and some more


def _machine(folder: Path, seed: int, model: str) -> Experiment:
    network = one_conv(h=4, n=4)
    config = small_config("protection.nb_th=1", "protection.s_th=0.2")
    program, images, labels = folder / "p.fhx", folder / "i.npy", folder / "l.npy"
    save(compiled(network, config, random_masks(network, 0.2, 1)), program)
    np.save(images, random_inputs(network, 3, 0))
    np.save(labels, np.arange(3))
    many = 3 if model == "stuck" else 1  # images that meet a bit that is stuck for ever
    return MachineFaults(
        program, images, seed, 2, model=model, labels=labels, images_per_fault=many
    )


def _ber(folder: Path, seed: int) -> Experiment:
    network, schemes = one_conv(h=6, c=5, n=6), ("base", "tmr_crt1")
    files = [folder / f"{name}.fhx" for name in schemes]
    for name, file in zip(schemes, files, strict=True):
        save(compiled(network, with_scheme(small_config(), name), None), file)
    inputs = random_inputs(network, 9, 0)
    np.save(folder / "i.npy", inputs)
    labels = np.argmax(Functional(network).run(inputs).reshape(9, -1), axis=1)
    np.save(folder / "l.npy", labels)
    cases = [Case(name, rate, i) for rate in (1e-3, 1e-2) for i, name in enumerate(schemes)]
    options = BerOptions(images_per_pattern=3, logits=True)
    return BerFaults(files, cases, [folder / "i.npy"] * 2, folder / "l.npy", seed, options)


#: An experiment of each model: (folder for its files, seed).
_MAKE: dict[str, Callable[[Path, int], Experiment]] = {
    **{model: partial(_machine, model=model) for model in MACHINE_MODELS},
    "ber": _ber,
}
complete(
    "FAULT_MODELS in faults/models.py",
    FAULT_MODELS,
    _MAKE,
    f"tests/.../{Path(__file__).name}: _MAKE",
)
every_model = pytest.mark.parametrize("model", FAULT_MODELS)


def rows_of(path: Path) -> bytes:
    target = path.with_suffix(".csv")
    with Campaign(path) as campaign:
        write_csv(campaign, target)
    return target.read_bytes()


@pytest.fixture
def experiment(model: str, tmp_path: Path) -> Experiment:
    return _MAKE[model](tmp_path, 5)


@every_model
def test_a_row_has_the_declared_columns_and_types(experiment: Experiment) -> None:
    types = {"int": int, "float": float, "str": str}
    rows = experiment.run(range(30))
    for index, row in enumerate(rows):
        assert row.pop("index") == index
        assert list(row) == list(experiment.columns)
        for name, value in row.items():
            assert value is None or type(value) is types[experiment.columns[name]], name
    for name in experiment.columns:
        assert any(row[name] is not None for row in rows), f"{name} is never filled"


@every_model
def test_a_trial_is_its_number_and_the_spec(experiment: Experiment) -> None:
    rows = experiment.run(range(12))
    again = type(experiment).from_spec(experiment.spec())
    assert again.spec() == experiment.spec()
    assert again.run([7, 2]) == [rows[7], rows[2]]
    assert experiment.run(range(12)) == rows


@every_model
def test_a_campaign_goes_on_where_scales_and_names_differ(model: str, tmp_path: Path) -> None:
    """Another processor may round them otherwise; integers alone decide what a trial gives."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    first, second = (_MAKE[model](folder, 5) for folder in (here, there))
    for path in there.glob("*.fhx"):
        program = load(path)
        off = tuple(scale * (1 + 7e-8) for scale in program.scales)
        config = program.config.model_copy(update={"name": "another"})
        save(replace(program, scales=off, name="moved", config=config), path)
    labels = there / "l.npy"
    np.save(labels, np.load(labels).astype(np.int32))
    block = first.together
    run_campaign(first, tmp_path / "a.db", 4 * block)
    more = run_campaign(second, tmp_path / "a.db", 8 * block)
    assert more == run_campaign(first, tmp_path / "b.db", 8 * block)._replace(computed=4 * block)
    assert rows_of(tmp_path / "a.db") == rows_of(tmp_path / "b.db")
    path = sorted(there.glob("*.fhx"))[0]
    program = load(path)
    weights = program.weights.copy()
    weights[0] ^= 1
    save(replace(program, weights=weights), path)
    with pytest.raises(FlexhycaError, match=r"holds another campaign[^$]*\n  program_digest"):
        run_campaign(_again(second), tmp_path / "a.db", 8 * block)


def _again(experiment: Experiment) -> Experiment:
    """The same, with nothing read yet."""
    return type(experiment).from_spec({**experiment.spec()})


@every_model
def test_another_seed_gives_other_rows(model: str, tmp_path: Path) -> None:
    first, second = (_MAKE[model](tmp_path, seed).run(range(40)) for seed in (5, 6))
    assert first != second


@every_model
def test_neither_workers_nor_interruptions_change_the_rows(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CHUNK_S", 0.05)
    paths = [tmp_path / f"{name}.db" for name in "abc"]
    one = run_campaign(experiment, paths[0], TRIALS)
    assert (one.trials, one.computed) == (TRIALS, TRIALS)
    assert run_campaign(experiment, paths[1], TRIALS, workers=2) == one
    # A run that ended at a look, and one that ended in between, go on.
    first = TRIALS - 24
    for end in (first, first + 12, TRIALS):
        last = run_campaign(experiment, paths[2], end)
    assert last._replace(computed=TRIALS) == one
    assert rows_of(paths[0]) == rows_of(paths[1]) == rows_of(paths[2])


@every_model
def test_a_margin_is_of_every_interval_and_a_file_has_one_answer(
    experiment: Experiment, tmp_path: Path
) -> None:
    """Looks are taken after whole blocks, and whoever reads the file counts the same trials."""
    path, most = tmp_path / "a.db", 40 * next(boundaries()) * experiment.together
    found = run_campaign(experiment, path, most, margin=0.1)
    assert found.stopped
    assert found.trials in {experiment.together * b for b in itertools.islice(boundaries(), 10)}
    assert max(estimate.interval.margin for estimate in found.estimates) <= 0.1
    with Campaign(path) as campaign:
        assert campaign.tally().estimates() == found.estimates
        assert len(list(campaign.prefix())) == found.trials
    assert len(rows_of(path).splitlines()) == found.trials + 1


@every_model
def test_a_block_that_is_not_complete_does_not_count(
    experiment: Experiment, tmp_path: Path
) -> None:
    path, block = tmp_path / "a.db", experiment.together
    found = run_campaign(experiment, path, 8 * block)
    with Campaign(path, description(experiment)) as campaign:
        campaign.set_goal(CampaignGoal(12 * block))
        rows = checked_rows(experiment.columns, experiment.run([8 * block]), [8 * block], "a test")
        campaign.add(rows)
        assert campaign.count() == 8 * block + 1
        if block > 1:
            assert campaign.tally().estimates() == found.estimates
    if block > 1:
        with pytest.raises(FlexhycaError) as caught:
            run_campaign(experiment, path, 8 * block + 1)
        assert str(caught.value) == (
            f"campaign: {8 * block + 1} trials are no whole number of blocks of {block}; "
            f"give {9 * block}"
        )


@every_model
def test_what_is_estimated_is_in_the_rows(experiment: Experiment, tmp_path: Path) -> None:
    found = run_campaign(experiment, tmp_path / "a.db", 60)
    assert found.estimates
    assert all(estimate.interval.trials > 0 for estimate in found.estimates)
