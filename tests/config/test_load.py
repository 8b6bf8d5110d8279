"""Loading, extending, overriding; every error's whole text."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flexhyca as fh
from flexhyca.config import config_from_json, explain_config, list_configs, load_config, to_yaml
from flexhyca.config.fields import known_keys, numeric_limits
from flexhyca.config.section import thousandths

SHIPPED = (
    "base-32x32, flexhyca-32x32, flexhyca-32x32-rate2, flexhyca-32x32-saturate, gemmini-16x16, "
    "hyca-32x32, tpu-v1-like, vta-1x16x16"
)


def message(name: str | Path = "flexhyca-32x32", *overrides: str) -> str:
    with pytest.raises(fh.ConfigError) as caught:
        load_config(name, overrides)
    return str(caught.value)


def test_the_shipped_default_is_the_schema_default() -> None:
    assert load_config("flexhyca-32x32") == fh.Config()


def test_shipped_configurations_differ_where_they_should() -> None:
    configs = {name: load_config(name) for name in list_configs()}
    assert ", ".join(configs) == SHIPPED
    assert all(config.name == name for name, config in configs.items())
    assert len({config.config_hash for config in configs.values()}) == len(configs)
    rate2 = configs["flexhyca-32x32-rate2"].protection
    assert (rate2.ib_th, rate2.q_scale, rate2.nb_th, rate2.s_th) == (3, 8, 1, 0.05)
    assert configs["flexhyca-32x32-saturate"].arithmetic.overflow == "saturate"
    assert configs["hyca-32x32"].dppu.data_reuse == "array"
    base = configs["base-32x32"]
    assert (base.dppu.size, base.protection.s_th, base.protection.pe_policy) == (0, 0.0, "none")


@pytest.mark.parametrize("name", list_configs())
def test_show_and_explain_can_be_loaded_again(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    for text in (to_yaml(config), explain_config(config)):
        path = tmp_path / "again.yaml"
        path.write_text(text)
        assert load_config(path) == config
    assert config_from_json(config.model_dump(mode="json"), "program") == config


def test_every_field_is_described() -> None:
    lines = [line.strip() for line in explain_config(fh.Config()).splitlines()]
    for key in known_keys():
        leaf = key.split(".")[-1]
        at = [i for i, line in enumerate(lines) if line.startswith(f"{leaf}: ")]
        assert at, key
        assert all(lines[i - 1].startswith("# ") for i in at), key


def test_hash_ignores_the_name_and_nothing_else() -> None:
    config = fh.Config()
    assert load_config("flexhyca-32x32", ["name=other"]).config_hash == config.config_hash
    assert load_config("flexhyca-32x32", ["vec.lanes=33"]).config_hash != config.config_hash
    # The hash stands in programs and studies: it may change with the schema only.
    assert len(config.config_hash) == 64
    assert load_config("base-32x32", ["protection.s_th=0"]) == load_config("base-32x32")


def test_a_scratchpad_replaces_what_was_inherited(tmp_path: Path) -> None:
    split = load_config("base-32x32").buffers
    one = load_config("base-32x32", ["buffers.scratchpad_bytes=262144"])
    assert (one.buffers.ifmap_bytes, one.buffers.weight_bytes) == (0, 0)
    assert (split.ifmap_bytes, split.weight_bytes) == (262144, 524288)
    path = tmp_path / "one.yaml"
    path.write_text("extends: base-32x32\nbuffers: {scratchpad_bytes: 262144}\n")
    assert load_config(path).config_hash == one.config_hash
    again = ["buffers.scratchpad_bytes=0", "buffers.ifmap_bytes=65536", "buffers.weight_bytes=128"]
    assert load_config(path, again).buffers.ifmap_bytes == 65536
    path.write_text(to_yaml(one))
    assert load_config(path) == one
    assert config_from_json(one.model_dump(mode="json"), "program") == one
    buffers = fh.Config.model_validate({"buffers": {"scratchpad_bytes": 4096}}).buffers
    assert (buffers.ifmap_bytes, buffers.weight_bytes) == (0, 0)


@pytest.mark.parametrize("order", [1, -1])
def test_memories_beside_a_scratchpad_are_refused(order: int, tmp_path: Path) -> None:
    overrides = ["buffers.scratchpad_bytes=4096", "buffers.weight_bytes=1024"][::order]
    why = (
        "buffers.weight_bytes = 1024 is a memory beside buffers.scratchpad_bytes = 4096, which "
        "holds inputs and weights both; leave it out, or set scratchpad_bytes to 0"
    )
    assert message("base-32x32", *overrides) == f"override 'buffers.weight_bytes=1024': {why}"
    path = tmp_path / "mine.yaml"
    path.write_text("buffers: {scratchpad_bytes: 4096, weight_bytes: 1024}\n")
    assert message(path) == f"{path}: {why}"
    path.write_text("buffers: {scratchpad_bytes: 4096}\n")
    assert message(path, "buffers.weight_bytes=1024").endswith(why)


@given(st.integers(1, 4_096_000))
def test_numbers_of_thousandths_are_kept_exactly(count: int) -> None:
    text = f"{count // 1000}.{count % 1000:03}"
    config = load_config("flexhyca-32x32", [f"dram.bytes_per_cycle={text}"])
    assert thousandths(config.dram.bytes_per_cycle) == count
    assert Decimal(str(config.dram.bytes_per_cycle)) == Decimal(text)
    assert config_from_json(config.model_dump(mode="json"), "program") == config


def test_a_whole_number_is_one_however_it_is_written() -> None:
    config = load_config("flexhyca-32x32", ["dram.bytes_per_cycle=32.0"])
    assert config.config_hash == fh.Config().config_hash
    assert "\n  bytes_per_cycle: 32\n" in to_yaml(config)


@given(size=st.integers(0, 64), width=st.integers(1, 64))
def test_width_divides_size_or_is_refused(size: int, width: int) -> None:
    overrides = [f"dppu.size={size}", f"dppu.width={width}", "protection.s_th=0.0"]
    if size % width == 0:
        assert load_config("flexhyca-32x32", overrides).dppu.width == width
    else:
        assert f"dppu.width = {width} does not divide" in message("flexhyca-32x32", *overrides)


@pytest.mark.parametrize("key", [k for k in known_keys() if numeric_limits(k)])
def test_limits_are_enforced_on_both_sides(key: str) -> None:
    limits = numeric_limits(key)
    assert limits is not None
    number = "a whole number" if isinstance(limits[1], int) else "a number"
    for value in (limits[0] - 64, limits[1] + 64):  # 64: dram.grant_bytes goes in steps
        override = f"{key}={value}"
        assert message("flexhyca-32x32", override) == (
            f"override {override!r}: {key} = {value}: "
            f"must be {number} from {limits[0]} to {limits[1]}"
        )


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("dppu.sise=3", "unknown key dppu.sise; did you mean dppu.size?"),
        ("dpu.size=3", "unknown key dpu; did you mean dppu?"),
        ("size=3", "unknown key size; did you mean dppu.size?"),
        ("protection.size=3", "unknown key protection.size; did you mean dppu.size?"),
        (
            "array.xyzzy=3",
            "unknown key array.xyzzy; known keys here: rows, cols, dataflow, "
            "double_buffered_accumulators, channel_block, overlapped_preload",
        ),
        ("dppu.size=1.5", "dppu.size = 1.5: must be a whole number from 0 to 4096"),
        ("dppu.size=true", "dppu.size = true: must be a whole number from 0 to 4096"),
        ("dppu.size='52'", "dppu.size = '52': must be a whole number from 0 to 4096"),
        ("dppu.size=", "dppu.size = empty: must be a whole number from 0 to 4096"),
        ("protection.s_th=.nan", "protection.s_th = nan: must be a number from 0.0 to 1.0"),
        (
            "dram.grant_bytes=100",
            "dram.grant_bytes = 100: must be a multiple of 64 from 64 to 4096",
        ),
        ("dram.duplex=1", "dram.duplex = 1: must be true or false"),
        ("clock_mhz=1e-9", "clock_mhz = 1e-09: must be a multiple of 0.001 from 0.0 to 100000.0"),
        (
            "dram.burst_bytes=48",
            "dram.burst_bytes = 48 does not divide dram.grant_bytes = 4096, and a grant would not "
            "be whole bursts; use a power of two up to 64, or another grant",
        ),
        (
            "array.overlapped_preload=true",
            "array.overlapped_preload = true needs operands that stay in the PEs, and dataflow os "
            "has none; use dataflow ws or is",
        ),
        (
            "buffers.ifmap_bytes=63",
            "buffers.ifmap_bytes = 63 is too little; use at least 64, or one memory for inputs and "
            "weights (buffers.scratchpad_bytes)",
        ),
        (
            "buffers.scratchpad_bytes=127",
            "buffers.scratchpad_bytes = 127 is too little for inputs and weights; use at least "
            "128, or 0 for two memories (buffers.ifmap_bytes, buffers.weight_bytes)",
        ),
        (
            "dram.bytes_per_cycle=6.80001",
            "dram.bytes_per_cycle = 6.80001: must be a multiple of 0.001 from 0.001 to 4096.0",
        ),
        (
            "dram.bytes_per_cycle=true",
            "dram.bytes_per_cycle = true: must be a number from 0.001 to 4096.0",
        ),
        (
            "arithmetic.overflow=saturat",
            "arithmetic.overflow = 'saturat': must be slice or saturate; did you mean saturate?",
        ),
        ("array.dataflow=xy", "array.dataflow = 'xy': must be os, ws or is"),
        (
            "dppu=3",
            "dppu is a number; it is a section with the keys size, width, window, data_reuse, "
            "sram_bytes_per_cycle",
        ),
        ("name=3", "name = 3: must be text; put it in quotes"),
        ("dppu.size", "write KEY=VALUE, for example dppu.size=64"),
        ("=3", "write KEY=VALUE, for example dppu.size=64"),
        ("dppu.size=[1", "not valid YAML: expected ',' or ']', but got '<stream end>'"),
        (
            "extends=base-32x32",
            "extends works in a file only; choose the configuration itself",
        ),
        (
            "dppu.width=5",
            "dppu.width = 5 does not divide dppu.size = 52; use 1, 2, 4 or 13, or a size of 50",
        ),
        (
            "protection.ib_th=0",
            "protection.ib_th = 0 is below protection.nb_th = 1; important neurons need at least "
            "as many protected bits as ordinary ones: set ib_th to 1 or more",
        ),
        (
            "protection.q_scale=17",
            "protection.q_scale = 17 exceeds acc_bits - act_bits = 16, the highest truncation bit; "
            "use at most 16",
        ),
        (
            "buffers.position_bytes=255",
            "buffers.position_bytes = 255 cannot hold four bitmaps of a 32x32 tile (two tables, "
            "double-buffered); use at least 528",
        ),
        (
            "buffers.output_bytes=8191",
            "buffers.output_bytes = 8191 cannot hold two 32x32 tiles of 24-bit accumulators and "
            "8-bit results; use at least 8192",
        ),
    ],
)
def test_an_override_is_refused_in_one_line(override: str, problem: str) -> None:
    assert message("flexhyca-32x32", override) == f"override {override!r}: {problem}"


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (
            ["dppu.size=0"],
            [
                "flexhyca-32x32: protection.s_th = 0.05 needs a DPPU, and dppu.size is 0; "
                "set protection.s_th to 0 or give dppu.size"
            ],
        ),
        (
            ["protection.pe_policy=none"],
            [
                "flexhyca-32x32: protection.nb_th = 1 needs protected PEs, and "
                "protection.pe_policy is none; set nb_th to 0, or pe_policy to direct or "
                "configurable"
            ],
        ),
        (
            ["arithmetic.act_bits=4", "protection.ib_th=5"],
            [
                "override 'protection.ib_th=5': protection.ib_th = 5 exceeds "
                "arithmetic.act_bits = 4; use at most 4"
            ],
        ),
        (
            ["dppu.width=5", "protection.q_scale=20"],
            [
                "override 'dppu.width=5': dppu.width = 5 does not divide dppu.size = 52; "
                "use 1, 2, 4 or 13, or a size of 50",
                "override 'protection.q_scale=20': protection.q_scale = 20 exceeds "
                "acc_bits - act_bits = 16, the highest truncation bit; use at most 16",
            ],
        ),
    ],
)
def test_contradictions_name_where_the_value_came_from(
    overrides: list[str], lines: list[str]
) -> None:
    assert message("flexhyca-32x32", *overrides).splitlines() == lines


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dppu:\n  size: 3\n  size: 4\n", ":3: not valid YAML: key 'size' stands twice "
         "(first in line 2); delete one"),
        ("a: &x [1]\nb: *x\n", ":2: not valid YAML: alias *x is not supported; "
         "write the value out"),
        ("? [a]\n: 3\n", ":1: not valid YAML: found unhashable key"),
        ("dppu:\n\tsize: 3\n", ":2: not valid YAML: found character '\\t' that cannot start "
         "any token"),
        ("x: !!python/object:os.system ls", ": not valid YAML: tag "
         "tag:yaml.org,2002:python/object:os.system is not supported; write the plain value"),
        ("- 3\n", ": the top level is a list; write sections, such as 'dppu:'"),
        ("[" * 5000, ": nested too deeply; a configuration has two levels"),
        ("1: 2\n", ": unknown key 1; known keys here: arithmetic, array, buffers, clock_mhz, dppu, "
         "dram, mapping, name, protection, timing, vec"),
        ("extends: [1]\n", ": extends = [1] is a list; give the name or path of one "
         "configuration"),
        ("extends: nope\n", f": extends: no configuration 'nope': neither a file nor one of "
         f"{SHIPPED}"),
        ("extends: my.yaml\n", ": extends goes in a circle: {path} -> {path}"),
        ("dppu:\n", ": dppu is empty; it is a section with the keys size, width, window, "
         "data_reuse, sram_bytes_per_cycle"),
    ],
)  # fmt: skip
def test_a_file_is_refused_in_one_line(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    assert message(path) == str(path) + problem.replace("{path}", str(path))


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    assert message("flexhyca-32x3") == (
        f"no configuration 'flexhyca-32x3': neither a file nor one of {SHIPPED}; "
        "did you mean flexhyca-32x32?"
    )
    assert message(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x80")
    assert message(binary) == f"{binary}: not a UTF-8 text file; give a YAML file"


def test_extends_and_overrides_apply_in_order(tmp_path: Path) -> None:
    (tmp_path / "parent.yaml").write_text("extends: hyca-32x32\ndppu: {size: 64}\n")
    child = tmp_path / "child.yaml"
    child.write_text("extends: parent.yaml\nprotection: {s_th: 1e-1}\n")
    config = load_config(child, ["dppu.width=8"])
    assert config.name == "child"
    assert (config.dppu.size, config.dppu.width, config.dppu.data_reuse) == (64, 8, "array")
    assert config.protection.s_th == 0.1
    # The parent's value is refused under the parent's name.
    assert message(child, "dppu.width=5").startswith("override 'dppu.width=5': dppu.width = 5")
    (tmp_path / "parent.yaml").write_text("dppu: {size: 5000}\n")
    assert message(child) == (
        f"{tmp_path / 'parent.yaml'}: dppu.size = 5000: must be a whole number from 0 to 4096"
    )


def test_an_empty_file_is_the_default_machine(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("")
    assert load_config(path).config_hash == fh.Config().config_hash
    assert load_config(path).name == "mine"


def test_every_wrong_override_is_told():
    with pytest.raises(fh.ConfigError) as caught:
        load_config("flexhyca-32x32", ["nonsense", "dppu.size=64", "a.b.c=1"])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "override 'nonsense'",
        "override 'a.b.c=1'",
    ]
