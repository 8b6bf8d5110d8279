"""The rules of a program: every one has a text, a check, and an answer of the machine."""

import ast
import pickle
import string
from pathlib import Path
from types import ModuleType

import pytest

import flexhyca
from flexhyca.errors import FlexhycaError, InternalError
from flexhyca.isa.rules import ADVICE, RULES, BrokenRule, InvalidProgramError, OnMachine, Rule

ROOT = Path(flexhyca.__file__).parent
CHECKERS = ("isa/validate.py", "isa/validate_text.py", "simulator/inject/control.py")


def checks():
    """(rule, names of the values that are given for its text, file), of each place that checks."""
    for name in CHECKERS:
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if not isinstance(node, ast.Call):
                continue
            for argument in node.args:
                if isinstance(argument, ast.Attribute) and ast.unparse(argument.value) == "Rule":
                    yield Rule[argument.attr], {k.arg for k in node.keywords}, name


def executed(path, old, new):
    """The module at `path` with a change of its source, executed apart from the real one."""
    source = (ROOT / path).read_text()
    assert source.count(old) == 1
    module = ModuleType("changed")
    module.__package__ = f"flexhyca.{Path(path).parent.as_posix().replace('/', '.')}"
    exec(compile(source.replace(old, new), path, "exec"), module.__dict__)
    return module


def test_every_rule_is_checked_with_the_values_that_its_text_names():
    found = list(checks())
    assert {rule for rule, _, _ in found} == set(Rule)
    for rule, given, where in found:
        wanted = {name for _, name, _, _ in string.Formatter().parse(RULES[rule].text) if name}
        assert wanted <= given | {"layer"}, (rule, where)  # `layer` is given to all of a layer's


def test_a_rule_without_a_text_fails_at_import():
    text = "isa/rules.py: RULES does not handle UNHEARD_OF of Rule in isa/rules.py; add it there"
    with pytest.raises(InternalError, match=text):
        executed(
            "isa/rules.py", "    BATCH = auto()\n", "    BATCH = auto()\n    UNHEARD_OF = auto()\n"
        )


def test_a_rule_that_does_not_say_what_a_machine_does_fails_at_import():
    with pytest.raises(TypeError, match="on_machine"):
        executed("isa/rules.py", '"empty tile", _REFUSED', '"empty tile"')


def test_a_rule_that_a_machine_executes_needs_a_time(monkeypatch):
    row = RULES[Rule.SLOT]._replace(on_machine=OnMachine.EXECUTED)
    monkeypatch.setitem(RULES, Rule.SLOT, row)
    text = "simulator/inject/control.py: _TIMED does not handle SLOT of RULES in isa/rules.py"
    with pytest.raises(InternalError, match=text):
        executed("simulator/inject/control.py", "_WORD =", "_WORD =")


def test_rules_of_instructions_say_what_a_machine_does():
    seen = {rule for rule in Rule if RULES[rule].on_machine is not OnMachine.UNSEEN}
    tree = ast.parse((ROOT / "isa/validate_text.py").read_text())
    whole = {"validate_text", "_parts", "_taps"}  # not of a single instruction
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert whole <= functions.keys()
    met = {
        Rule[node.attr]
        for name in functions.keys() - whole
        for node in ast.walk(functions[name])
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Rule"
    }
    assert met | {Rule.NO_LAYER} == seen  # of which only a machine knows


def test_an_error_has_its_rule_its_text_and_its_advice_apart():
    broken = BrokenRule(Rule.SLOT, {"slots": 4})
    assert broken.text == "slot does not exist (4 slots)"
    error = InvalidProgramError(f"x: {broken.text}", ADVICE, broken.rule)
    for found in (error, pickle.loads(pickle.dumps(error))):
        assert (found.what, found.advice, found.rule) == (
            "x: slot does not exist (4 slots)",
            "recompile the program",
            Rule.SLOT,
        )
        assert str(found) == "x: slot does not exist (4 slots); recompile the program"
    assert str(pickle.loads(pickle.dumps(FlexhycaError("what")))) == "what"
