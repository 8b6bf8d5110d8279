"""What only an attacker or a fuzzer writes: refused in one line like everything else."""

from pathlib import Path

import pytest

from flexhyca.config import load_config
from flexhyca.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        # PyYAML's own constructors end these with IndexError, KeyError and AttributeError
        ('dppu.size=!!int ""', "not valid YAML: tag tag:yaml.org,2002:int is not supported; "
         "write the plain value"),
        ("dppu.size=!!bool x", "not valid YAML: tag tag:yaml.org,2002:bool is not supported; "
         "write the plain value"),
        ("dppu.size=!!timestamp x", "not valid YAML: tag tag:yaml.org,2002:timestamp is not "
         "supported; write the plain value"),
        ("array.rows.x=1", "unknown key array.rows.x; fields are named as in dppu.size"),
        ("a\x1bb=1", r"unknown key 'a\x1bb'; known keys here: arithmetic, array, buffers, "
         "clock_mhz, dppu, dram, mapping, name, protection, timing, vec"),
        ("protection.redundant_layers=conv1", "protection.redundant_layers = 'conv1': must be a "
         "list, such as [conv1, layer1.*]"),
        ("protection.redundant_layers=[a, 1]", "protection.redundant_layers = 1: must be text; put "
         "it in quotes"),
        ("protection.redundant_layers=['']", "protection.redundant_layers = '': must not be empty"),
        ('name="a\\nb"', r"name = 'a\nb': must be printable text"),
    ],
)  # fmt: skip
def test_overrides(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[override])
    assert str(caught.value) == f"override {override!r}: {message}"


def test_long_values_are_cut() -> None:
    digits = "f" * 6000  # more than Python would print as a decimal number
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[f"dppu.size=0x{digits}"])
    assert str(caught.value) == (
        "override 'dppu.size=0xffffffffffffffffffffffffffffffffffffffffffff...: dppu.size = "
        "a number of thousands of digits: must be a whole number from 0 to 4096"
    )
    for place in ("dppu.data_reuse=0x{}", "array={{0x{}: 1}}"):
        with pytest.raises(ConfigError) as caught:
            load_config(overrides=[place.format(digits)])
        assert len(str(caught.value)) < 250
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[".".join("a" * 3000) + "=1"])
    assert len(str(caught.value)) < 250


def test_extends_of_nobodys_home(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("extends: ~nobody-of-that-name/x.yaml\n")
    with pytest.raises(ConfigError, match=r"no configuration '~nobody-of-that-name/x\.yaml'"):
        load_config(path)
