"""The commands that `compare_commits.py` runs in two versions of flexhyca, group by group."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

GROUPS = ("timing", "programs", "values", "area", "campaigns", "text")
SMALL = ("digits", "lenet5")
LARGE = ("resnet20", "alexnet", "resnet18", "mobilenet_v2", "vgg16", "resnet50")
CONFIGS = (
    *("base-32x32", "flexhyca-32x32", "flexhyca-32x32-rate2", "flexhyca-32x32-saturate"),
    "hyca-32x32",
)
SCHEMES = (
    *("base", "tmr_crt1", "tmr_crt1_q", "tmr_crt2", "tmr_crt2_q", "tmr_crt3", "tmr_crt3_q"),
    *("tmr_arch --protect conv2,fc", "tmr_alg --protect conv2,fc", "tmr_cl"),
)
STATIONARY = {flow: f"-c base-32x32 -s array.dataflow={flow}" for flow in ("ws", "is")}
#: Machines beside the shipped ones: what the code does for settings that none of those has.
MACHINES = {
    **STATIONARY,
    "edge": "-c ../inputs/edge.yaml",
    "sram": "-s dppu.data_reuse=hybrid_sram",
    "dram": "-s dppu.data_reuse=dram",
    "openrow": "-s dram.model=openrow",
    "global": "-s protection.s_policy=global",
    "tile": "-s protection.s_policy=tile",
    "floor": "-s arithmetic.rounding=floor",
    "narrow": "-s arithmetic.act_bits=6 -s arithmetic.weight_bits=5",
    "direct": "-s protection.pe_policy=direct -s protection.ib_th=3 -s protection.voter=output",
    "refetch": "-c base-32x32 -s protection.redundancy=time_refetch --protect '*'",
    "edge_ws": "-c ../inputs/edge.yaml -s dppu.size=0 -s protection.s_th=0 -s array.dataflow=ws",
    "edge_is": "-c ../inputs/edge.yaml -s dppu.size=0 -s protection.s_th=0 -s array.dataflow=is",
}
COMMANDS = (
    *("", "simulate", "sweep", "compare", "inject", "sites", "compile", "disasm", "asm"),
    *("accuracy", "models", "area", "area pe", "area array", "area table", "area figures"),
    *("campaign", "campaign show", "campaign export", "config", "config list", "config show"),
    *("config check", "hdl", "hdl emit", "hdl check"),
)
BAD = (
    *("nonsense", "simulate", "simulate digit", "simulate digits -c flexhyca-32x33"),
    *("simulate digits -s dppu.size=-1", "simulate digits -s dppu.sise=8"),
    *("simulate digits --layers x.txt", "simulate digits --trace x.json.gz --trace-layers conv9"),
    *("simulate digits --json no/such/folder.json", "simulate ../inputs/bad.csv"),
    *("simulate ../inputs/bad.fhx", "simulate resnet20 --weights ../inputs/bad.npz"),
    *("simulate digits --data ../inputs/bad.npz", "simulate digits --dataflow ws"),
    *("simulate digits --scheme tmr_arch", "simulate digits --scheme tmr_crt9"),
    *("simulate digits --protect conv1", "simulate digits -s buffers.ifmap_bytes=64"),
    *("config show ../inputs/bad.yaml", "config check ../inputs/bad.yaml ../inputs/edge.yaml"),
    *("disasm ../inputs/bad.fhx", "asm ../inputs/bad.fhs -o x.fhx", "inject digits"),
    *("inject digits --faults register --ber 1e-3", "inject digits --faults none"),
    *("inject digits --faults ber --margin 2", "inject digits --faults ber --goal 1,2,3"),
    *("inject digits --faults ber --scheme base,base", "accuracy digits --q-scale 9..2"),
    *("accuracy digits --overflow wrap", "sweep digits --csv x.csv --vary dppu.size=a..b"),
    *("sweep digits --csv x.csv --vary dppu.width=3,5", "area pe --q-scale 20"),
    *("area table --workers 2", "campaign show ../inputs/bad.fhx", "campaign export no.db --csv -"),
    *("hdl emit dppu -c base-32x32 -o v", "compare digits --protect conv9"),
    *("sites resnet20 --scheme tmr_alg --protect layer9.*", "compile digits -o no/such/x.fhx"),
)
EDGE = """extends: flexhyca-32x32
name: edge
array: {rows: 16, cols: 16}
dppu: {size: 16}
dram: {bytes_per_cycle: 4}
buffers: {ifmap_bytes: 32768, weight_bytes: 32768, output_bytes: 16384}
"""
TOPOLOGY = """Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, \
Num Filter, Strides,
Conv1, 34, 30, 3, 3, 3, 24, 1,
Conv2, 32, 28, 5, 3, 24, 70, 2,
FC, 1, 1, 1, 1, 700, 90, 1,
"""


class Job(NamedTuple):
    """Commands that run one after the other in one empty folder, beside the folder `inputs`."""

    group: str
    name: str
    steps: tuple[str, ...]


def write_inputs(folder: Path) -> str:
    """Write the files that commands read, good and bad ones; gives a digest of them."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    for name, shape in (("lenet5", (28, 28)), ("resnet20", (32, 32, 3))):
        images = rng.integers(0, 256, (12, *shape), np.uint8)
        np.savez(folder / f"{name}.npz", images=images, labels=rng.integers(0, 10, 12))
    texts = {"edge.yaml": EDGE, "topology.csv": TOPOLOGY, "bad.csv": TOPOLOGY + "Conv3, 1, 2,\n"}
    texts |= {"bad.yaml": "extends: hyca-32x32\ndppu: {sise: 3}\narray: {rows: 0}\n"}
    texts |= {f"bad.{suffix}": "nothing of use\n" for suffix in ("fhx", "fhs", "npz")}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return hashlib.sha256(repr((images.tobytes(), texts)).encode()).hexdigest()


def jobs() -> Iterator[Job]:
    """All commands."""
    yield from timing()
    yield from programs()
    yield from values()
    yield from area()
    yield from campaigns()
    yield from text()


def timing() -> Iterator[Job]:
    """Cycles, stalls, traffic; what is printed, too."""
    both = "--no-values --json r.json --layers layers.csv"
    for model, config in product(SMALL, CONFIGS):
        yield Job("timing", f"{model} {config}", (f"simulate {model} -c {config} {both}",))
    for model, config in product(LARGE, CONFIGS):
        command = f"simulate {model} -c {config} --placement clustered {both}"
        yield Job("timing", f"{model} {config}", (command,))
    for model, (name, machine) in product((*SMALL, "resnet20"), MACHINES.items()):
        place = "clustered" if model == "resnet20" else "gradient"
        command = f"simulate {model} {machine} --placement {place} {both}"
        yield Job("timing", f"{model} {name}", (command,))
    for flow in ("os", "ws", "is"):
        options = f"-c base-32x32 --timing scalesim --dataflow {flow} {both}"
        steps = (f"simulate ../inputs/topology.csv {options}",)
        yield Job("timing", f"topology scalesim {flow}", steps)
        yield Job("timing", f"resnet18 scalesim {flow}", (f"simulate resnet18 {options}",))
    command = f"simulate ../inputs/topology.csv {both}"
    yield Job("timing", "topology", (command,))
    yield Job("timing", "digits batch 5", (f"simulate digits --batch 5 {both}",))
    for place in ("gradient", "random"):
        command = f"simulate resnet20 --placement {place} {both}"
        yield Job("timing", f"resnet20 {place}", (command,))
    for name, machine in {**{c: f"-c {c}" for c in CONFIGS}, **MACHINES}.items():
        command = f"simulate digits {machine} --no-values --trace trace.json"
        yield Job("timing", f"trace {name}", (command,))
    for model in ("digits --protect conv2,fc", "resnet20 --protect layer2.* --placement clustered"):
        command = f"compare {model} --no-accuracy --json r.json"
        yield Job("timing", f"compare {model.split()[0]}", (command,))
    vary = "--vary dppu.size=0,16,52 --vary protection.s_th=0.05,0.2 --vary dppu.width=2,4"
    command = f"sweep digits --csv r.csv --skip-invalid {vary} --json r.json"
    yield Job("timing", "sweep", (command,))


def programs() -> Iterator[Job]:
    """Compiled programs, byte for byte, and their text."""
    shipped = {config: f"-c {config}" for config in CONFIGS}
    for model, (name, machine) in product(SMALL, {**shipped, **MACHINES}.items()):
        steps = [f"compile {model} {machine} -o p.fhx --json r.json"]
        if model == "digits" and name in ("flexhyca-32x32", "ws", "edge", "direct", "refetch"):
            steps += ["disasm p.fhx -o p.fhs", "asm p.fhs -o q.fhx", "simulate p.fhx --json s.json"]
        yield Job("programs", f"{model} {name}", tuple(steps))
    for scheme in SCHEMES:
        command = f"compile digits --scheme {scheme} -o p.fhx --json r.json"
        yield Job("programs", f"digits {scheme}", (command,))
    for model in ("../inputs/topology.csv", "digits --batch 3", "resnet20", "resnet20 --batch 2"):
        command = f"compile {model} --placement clustered -o p.fhx --json r.json"
        yield Job("programs", model, (command,))


def values() -> Iterator[Job]:
    """Accuracies, and outputs of inferences by their hashes.

    The hashes are of the fast execution. What the machine computes is compared, integer by integer,
    by the rows of the campaigns that are called `reference`: they hold hashes of its outputs.
    """
    flip = "--site layer=*,tile=*,cycle=0,row=31,col=31,reg=act,bit=0,stuck=0 --json -"
    shipped = {config: f"-c {config}" for config in CONFIGS}
    for name, machine in {**shipped, **MACHINES}.items():
        site = flip.replace("31", "15") if "edge" in name else flip
        if name.endswith(("ws", "is")):
            site = site.replace("reg=", f"unit=array_{name[-2:]},reg=")
        steps = (
            f"simulate digits {machine} --json r0.json",
            f"simulate digits {machine} --values machine --images 3 --json r1.json",
            f"simulate digits {machine} --values registers --images 1 --json r2.json",
            *(f"inject digits {machine} {site} --image {image}" for image in range(2)),
        )
        yield Job("values", f"digits {name}", steps)
    for model, name in product(("lenet5", "resnet20"), ("flexhyca-32x32", "hyca-32x32")):
        options = f"{model} -c {name} --data ../inputs/{model}.npz"
        steps = (
            f"simulate {options} --json r0.json",
            f"simulate {options} --values machine --images 2 --json r1.json",
            *(f"inject {options} {flip} --image {image}" for image in range(3)),
        )
        yield Job("values", f"{model} {name}", steps)
    steps = ("accuracy digits --json r.json --csv r.csv",)
    yield Job("values", "accuracy digits", steps)
    command = "accuracy resnet20 --data ../inputs/resnet20.npz --q-scale 0..10 --json r.json"
    yield Job("values", "accuracy resnet20", (command,))


def area() -> Iterator[Job]:
    """Area of machines and processing elements, and the shipped table."""
    machines = {**{config: f"-c {config}" for config in CONFIGS}, **MACHINES}
    machines |= {scheme: f"--scheme {scheme}" for scheme in SCHEMES}
    for kind, (name, machine) in product(("wallace", "array"), machines.items()):
        command = f"area array {machine} --multiplier {kind} --json r.json"
        yield Job("area", f"array {name} {kind}", (command,))
    policies = ("none", "direct", "configurable", "full")
    points = product(("wallace", "array"), policies, (0, 4, 7, 11), (1, 2, 3))
    steps = tuple(
        f"area pe --multiplier {kind} --pe-policy {policy} --q-scale {q} --protect {bits} --json -"
        for kind, policy, q, bits in points
    )
    yield Job("area", "pe", (*steps, "area pe", "area pe --overflow saturate --act-bits 6"))
    yield Job("area", "table", ("area table --csv r.csv", "area table", "area table --ranking"))


def campaigns() -> Iterator[Job]:
    """Rows of campaigns, their estimates, and stories of single faults."""

    def campaign(name: str, options: str, trials: int, masking: bool = True) -> Job:
        steps = (
            f"inject {options} --trials {trials} --seed 7 --out c.db --json r.json",
            "campaign export c.db --csv rows.csv",
            f"campaign show c.db --json show.json{' --masking' if masking else ''}",
        )
        return Job("campaigns", name, steps)

    for kind in ("register", "memory", "control", "stuck"):
        yield campaign(kind, f"digits --faults {kind}", 2000)
        options = f"digits -c hyca-32x32 --faults {kind} --flips 3"
        yield campaign(f"{kind} hyca", options, 100, masking=False)
        for name in (*STATIONARY, "edge", "dram", "refetch", "edge_ws", "edge_is"):
            yield campaign(f"{kind} {name}", f"digits {MACHINES[name]} --faults {kind}", 100)
        for scheme in ("base", "tmr_crt2", *SCHEMES[-3:-1]):
            options = f"digits --scheme {scheme} --faults {kind}"
            yield campaign(f"{kind} {scheme}", options, 50)
        for name, machine in {"": "", **STATIONARY}.items():
            options = f"digits {machine} --faults {kind} --execution reference"
            yield campaign(f"{kind} reference {name}".strip(), options, 3 if name else 5)
        options = f"resnet20 --data ../inputs/resnet20.npz --images 2 --faults {kind}"
        yield campaign(f"{kind} resnet20", options, 10)
    yield campaign("live", "digits --faults register --live --workers 2", 400)
    yield campaign("stuck for a while", "digits --faults stuck --stuck-cycles 40", 400)
    ber = "digits --faults ber --ber 1e-3,4e-3 --scheme"
    yield campaign(
        "ber", f"{ber} base,tmr_crt1,tmr_crt3_q,tmr_cl,tmr_cl@hyca-32x32", 200, masking=False
    )
    options = "--ber-stage after_relu --weight-faults raw --protected-bits tmr_copies --ber-logits"
    yield campaign("ber options", f"{ber} base,tmr_cl {options} --ber-input", 100, masking=False)
    yield campaign("ber acc", f"{ber} base,tmr_cl --ber-target acc", 50, masking=False)
    yield campaign("ber arch", f"{ber} tmr_arch,tmr_alg --choose-trials 20", 50, masking=False)
    fit = "digits --faults ber --fit-per-mbit 1e11,1e12 --clock-mhz 500"
    yield campaign("ber fit", fit, 50, masking=False)
    for flow in ("--ber 2e-3 --per-layer", "--find-rate 10,40"):
        command = f"inject digits --faults ber {flow} --trials 30 --out c.db --json r.json"
        yield Job("campaigns", f"ber {flow}", (command,))
    for name in ("", *(f"-c {config}" for config in CONFIGS), *MACHINES.values()):
        yield Job("campaigns", f"sites {name}", (f"sites digits {name} --json r.json",))
    yield Job("campaigns", "stories", tuple(stories()))


def stories() -> Iterator[str]:
    """What one or two wrong bits do, told."""
    places = {
        "row=3,col=4": ("act", "wgt", "prod", "acc"),
        "row=0,col=0,unit=dppu": ("act", "prod", "psum", "file_act", "position"),
        "row=9,col=2,unit=skew": ("act",),
        "word=131500,unit=buffer": ("ifmap",),
        "word=1,unit=buffer": ("instruction", "weight", "output", "position", "residual"),
    }
    cycles = {"conv1": 12, "conv2": 60, "conv4": 80, "fc": 35}
    for (layer, cycle), (place, registers) in product(cycles.items(), places.items()):
        for register in registers:
            bit = 0 if register == "position" else 6
            when = 0 if register in ("instruction", "output") else cycle
            site = f"layer={layer},tile=0,cycle={when},{place},reg={register},bit={bit}"
            yield f"inject digits --explain --site {site}"
    acc = "layer=conv2,tile=0,cycle=40,row=3,col=4,reg=acc,bit=11"
    yield f"inject digits --explain --image 7 --site {acc} --site {acc.replace('11', '12')}"
    yield f"inject digits --explain --site {acc},stuck=1,until=90"
    yield "inject digits --explain --site layer=*,tile=*,row=3,col=4,reg=prod,bit=9,stuck=1"
    for flow, machine in STATIONARY.items():
        for register in ("preload", "act", "wgt", "psum"):
            unit = f"unit=array_{flow}"
            site = f"layer=conv2,tile=0,cycle=90,row=3,col=4,{unit},reg={register},bit=5"
            yield f"inject digits {machine} --explain --image {len(flow)} --site {site}"


def text() -> Iterator[Job]:
    """Help, listings, error messages, Verilog."""
    yield Job("text", "help", tuple(f"{command} --help" for command in COMMANDS))
    yield Job("text", "errors", BAD)
    steps = (
        f"config show {config} {how}" for config in CONFIGS for how in ("--explain", "--json -")
    )
    lists = ("models", "models --json -", "compare", "compare --json -", "config list")
    yield Job("text", "lists", (*lists, *steps, "config check ../inputs/edge.yaml --json -"))
    emitted = ("pe", "pe --multiplier array -s protection.q_scale=4", "pe -c base-32x32", "dppu")
    arrays = ("array --rows 2 --cols 2", "array --rows 2 --cols 3 --flips")
    for what in (*emitted, *arrays):
        yield Job("text", f"hdl emit {what}", (f"hdl emit {what} -o .",))
