"""What every instruction has to have: those of the table, whatever they are.

Words and the manual are tested in test_encoding; here are assembly, and who executes it.
"""

import re
from functools import cache

import numpy as np
import pytest

from flexhyca.isa.assembly import _Assembler, line
from flexhyca.isa.encoding import encode
from flexhyca.isa.instructions import BY_NAME, HEADER
from flexhyca.simulator.cycles.compiled import CompiledModel
from flexhyca.simulator.cycles.engines import CycleModel
from flexhyca.simulator.cycles.occupancy import leases
from flexhyca.simulator.machine.memory import Memory
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.support import compiled, crowded, fenced, one_conv, random_inputs, small_config

every_instruction = pytest.mark.parametrize("name", BY_NAME)


@cache
def program():
    """A program in which every instruction of the table stands."""
    network = one_conv()
    return fenced(compiled(network, small_config("protection.s_th=0.2"), crowded(12)))


@every_instruction
def test_a_program_of_the_compiler_has_it(name):
    assert (program().columns["op"] == BY_NAME[name].opcode).any()


@every_instruction
def test_its_line_names_every_field_and_assembles_again(name):
    fields = HEADER[1:] + BY_NAME[name].fields
    words = encode(name, {f.name: max(f.enum) if f.enum else f.limit for f in fields})
    text = line(*words)
    assert re.findall(r"(\w+)=", text) == [f.name for f in fields]
    assert _Assembler("test")._instruction(text.split()) == words


@every_instruction
def test_everyone_knows_what_it_takes(name):
    """Both cycle models, the memory, the occupancy and the spans go through it."""
    p = program()
    memory = Memory(p, random_inputs(p.network, p.batch, 0))
    reference, fast = CycleModel(p, memory), CompiledModel(p)
    assert fast.run() == reference.run()
    assert (memory.output() == Memory(p, random_inputs(p.network, p.batch, 0)).run()).all()
    assert list(leases(p))
    spans = Spans(p)
    pcs = np.flatnonzero(p.columns["op"] == BY_NAME[name].opcode)
    assert all(any(s.begin <= pc < s.end for s in spans.all) for pc in pcs.tolist())
