"""Many faults a trial, under every fault model of a machine: both executions, no fault twice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flexhyca.errors import FlexhycaError, InternalError
from flexhyca.faults.machine import experiment as machine_faults
from flexhyca.faults.machine import long_lists
from flexhyca.faults.machine.experiment import MachineFaults
from flexhyca.faults.machine.part import Part
from flexhyca.faults.models import MACHINE_MODELS
from flexhyca.isa.program_file import save
from flexhyca.simulator.inject.sites import END, FLIP, Site, parse_site
from flexhyca.tests.support import compiled, one_conv, random_inputs, small_config


@pytest.fixture
def files(tmp_path):
    config = small_config("protection.nb_th=1", "protection.s_th=0.2", "buffers.weight_bytes=1024")
    masks = {0: np.arange(64).reshape(4, 4, 4) % 5 == 0}
    program = compiled(one_conv(h=4, n=4), config, masks)
    save(program, tmp_path / "p.fhx")
    np.save(tmp_path / "i.npy", random_inputs(program.network, 3, 0))
    return tmp_path / "p.fhx", tmp_path / "i.npy"


@pytest.mark.parametrize("window", [0, 5])
@pytest.mark.parametrize("model", MACHINE_MODELS)
def test_both_executions_agree_on_thousands_of_faults(files, model, window):
    flips = 20 if model == "control" else 1500
    found = MachineFaults(*files, 5, flips, "reference", model, live=True, window=window)
    rows = found.run(range(6))  # raises where they differ
    for row in rows:
        bits = [
            replace(parse_site(text), stuck=FLIP, until=END) for text in row["sites"].split("; ")
        ]
        if model != "stuck" or window:
            assert len(bits) == flips
            assert len(set(bits)) == flips


def test_more_faults_than_there_are(files):
    few = Part(units=("buffer",), registers=("position",))
    with pytest.raises(FlexhycaError) as caught:
        MachineFaults(*files, 5, 5000, model="control", part=few).run([0])
    assert "flips is 5,000, and 500,000 draws of fault model 'control' gave " in str(caught.value)
    assert str(caught.value).endswith(" different bits and cycles; give fewer")


def test_a_long_list_of_sites_is_in_a_file(files, monkeypatch, tmp_path):
    monkeypatch.setattr(long_lists.tempfile, "tempdir", str(tmp_path))
    sites = [Site("conv", 0, cycle, 0, 0, "acc", 3) for cycle in range(120)]
    assert long_lists.named(sites[:2]) == f"{sites[0]}; {sites[1]}"
    text = long_lists.named(sites)
    head, _, path = text.rpartition(" more sites, all of them in ")
    assert head == "; ".join(map(str, sites[:10])) + "; and 110"
    assert Path(path).read_text().splitlines() == list(map(str, sites))
    monkeypatch.setattr(
        machine_faults, "run_reference", lambda program, image, sites: _wrong(program)
    )
    with pytest.raises(InternalError) as caught:
        MachineFaults(*files, 5, 300, "reference", "register").run([0])
    assert len(str(caught.value)) < 1500
    assert "; and 290 more sites, all of them in " in str(caught.value)
    monkeypatch.setattr(long_lists.tempfile, "tempdir", str(tmp_path / "missing"))
    assert long_lists.named(sites).endswith(
        "more sites, which cannot be kept in a file: No such file or directory"
    )


def _wrong(program):
    from flexhyca.simulator.inject.fault_run import End

    return End(np.full(program.tensors[program.output, :3].tolist(), 77, np.int8))
