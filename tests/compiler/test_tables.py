"""A row more in a table of the compiler: the import fails where it is not handled."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexhyca.tests.tables import Edit, choice, refusal

RELU = """    Activation(
        "relu",
"""
ACTIVATION: Edit = (
    "compiler/activations.py",
    RELU,
    f"""    Activation(
        "halve",
        (),
        torch={{"halve.default": ()}},
        onnx=("Halve",),
        run=lambda x: x / 2,
        clamp=lambda: (-_INF, _INF),
    ),
{RELU}""",
)
PARAMETER: Edit = (ACTIVATION[0], RELU, ACTIVATION[2].replace("(),", '("share",),', 1))
OPERATION: Edit = (
    "compiler/graph.py",
    '        "identity": Op(_first),\n',
    '        "identity": Op(_first),\n        "halve": Op(_first),\n',
)
NEURONS: Edit = (
    *OPERATION[:2],
    OPERATION[2].replace('"halve": Op(_first)', '"halve": Op(_first, neurons=True)'),
)
REUSE = choice("dppu.data_reuse", "none")
POLICY = choice("protection.s_policy", "row")


CASES = [
    (
        "compiler.frontends.onnx_ops",
        ACTIVATION,
        "compiler/frontends/onnx_ops.py: _ACTIVATIONS does not handle Halve of "
        "ACTIVATIONS in compiler/activations.py",
    ),
    (
        "compiler.graph",
        PARAMETER,
        "compiler/graph.py: Node does not handle share of the parameters of "
        "ACTIVATIONS in compiler/activations.py",
    ),
    (
        "compiler.execute",
        OPERATION,
        "compiler/execute.py: _RUN does not handle halve of OPS in compiler/graph.py",
    ),
    (
        "compiler.quantise.lower",
        OPERATION,
        "compiler/quantise/lower.py: _LOWER or _AXIS_MAPS does not handle halve of "
        "OPS in compiler/graph.py",
    ),
    (
        "compiler.quantise.lower",
        NEURONS,
        "compiler/quantise/lower.py: _NEURONS does not handle halve of OPS in compiler/graph.py, "
        "with neurons",
    ),
    (
        "compiler.codegen.units",
        REUSE,
        "compiler/codegen/units.py: _REUSE does not handle none of dppu.data_reuse in "
        "config/schema.py",
    ),
    (
        "compiler.importance.ranking",
        POLICY,
        "compiler/importance/ranking.py: _POLICIES does not handle row of "
        "protection.s_policy in config/schema.py",
    ),
]


@pytest.mark.parametrize(("module", "edit", "says"), CASES, ids=[said for *_, said in CASES])
def test_a_row_that_nobody_handles(module: str, edit: Edit, says: str, tmp_path: Path) -> None:
    line = refusal(tmp_path, f"flexhyca.{module}", edit)
    assert line == f"flexhyca.errors.InternalError: {says}; add it there"


def test_an_activation_is_one_row_but_for_how_onnx_is_read(tmp_path: Path) -> None:
    """Executor, torch frontend and lowering take what the row says."""
    own: Edit = (*ACTIVATION[:2], ACTIVATION[2].replace('("Halve",)', "()"))
    for module in ("compiler.frontends.torch_ops", "compiler.frontends.onnx_ops"):
        folder = tmp_path / module
        assert refusal(folder, f"flexhyca.{module}", own) == ""
    assert refusal(tmp_path / "lower", "flexhyca.compiler.quantise.lower", own) == ""
