"""The rules that a program must keep: the text of each, and what a machine does where it is broken.

`validate` and `validate_text` check them and name a rule by its enum.  Whoever has to know which
one was broken asks for the enum: a damaged instruction meets the same checks, and decides what
becomes of a fault.  The texts are for people alone, so that another wording changes nothing but
what is printed; two rules may have the same.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from ..errors import ProgramError
from ..tables import complete

#: What to do about a program file that breaks a rule.
ADVICE = "recompile the program"


class OnMachine(Enum):
    """What a machine does with an instruction that breaks a rule.

    UNSEEN    it is never asked: the rule is about tables, or about the text as a whole
    REFUSED   it stops before it executes the instruction
    EXECUTED  it does what the instruction says; only a program file must not say it
    """

    UNSEEN = auto()
    REFUSED = auto()
    EXECUTED = auto()


class Rule(Enum):
    """What can be wrong with a program."""

    # tables
    BATCH = auto()
    CREDITS_SHAPE = auto()
    CREDITS = auto()
    LAYER_NAMES = auto()
    TENSOR_NAMES = auto()
    CHANNEL_ORDER = auto()
    NAME = auto()
    SCALE = auto()
    EMPTY_TENSOR = auto()
    TENSOR_PLACE = auto()
    IN_AND_OUTPUT = auto()
    IN_AND_OUTPUT_PLACE = auto()
    POSITION_ROWS = auto()
    DEBUG_LENGTH = auto()
    DEBUG_LAYER = auto()
    # memory map
    REGIONS = auto()
    REGION_OVERLAP = auto()
    DRAM_END = auto()
    REGION_BYTES = auto()
    # layers
    OP = auto()
    LAYER_TENSOR = auto()
    SECOND_OPERAND = auto()
    FIELD_RANGE = auto()
    CHANNEL_OFFSET = auto()
    CLAMP = auto()
    RESIDUAL_SHAPE = auto()
    SAME_CHANNELS = auto()
    SAME_SHAPE = auto()
    REDUNDANCY = auto()
    GROUPS = auto()
    CHUNKS = auto()
    WEIGHTS_PLACE = auto()
    BIAS_PLACE = auto()
    UNUSED_STEP = auto()
    PADDING_REACH = auto()
    COVERED = auto()
    READ_ORDER = auto()
    WRITE_ORDER = auto()
    LAST_LAYER = auto()
    # windows
    WINDOW_FIELD = auto()
    WINDOW_PLACE = auto()
    WINDOW_STEP = auto()
    WINDOW_REDUCTION = auto()
    WINDOW_BASE = auto()
    # the text as a whole
    EMPTY_TEXT = auto()
    HALT = auto()
    SYNC = auto()
    OWN_TOKEN = auto()
    TILE_LAYER = auto()
    TILE_PARTS = auto()
    PARKED = auto()
    TAPS_MISSING = auto()
    TAPS_LEFT = auto()
    OUTPUTS = auto()
    # an instruction
    LOAD_BUFFER = auto()
    LOAD_MEMORY = auto()
    LOAD_NOTHING = auto()
    LOAD_POSITIONS = auto()
    SETCFG = auto()
    NO_LAYER = auto()
    NO_WINDOW = auto()
    TILE_PIXELS = auto()
    TILE_CHANNELS = auto()
    TILE_EMPTY = auto()
    TILE_WORDS = auto()
    SLOT = auto()
    RESIDUAL_SLOT = auto()
    TILE_ARRAY = auto()
    FOLD = auto()
    TWO_STARTS = auto()
    TABLE_SIZE = auto()
    TABLE_PLACE = auto()
    TAPS = auto()
    NO_DPPU = auto()
    NO_WEIGHTS = auto()
    TWO_GROUPS = auto()
    KERNEL_ROWS = auto()
    WINDOW_CHANNELS = auto()
    FOLD_OPERANDS = auto()
    DPPU_WORK = auto()
    DPPU_READS = auto()
    ADD_OPERAND = auto()


class RuleText(NamedTuple):
    """text : what is wrong, with the names of values in braces."""

    text: str
    on_machine: OnMachine


_UNSEEN, _REFUSED, _EXECUTED = OnMachine.UNSEEN, OnMachine.REFUSED, OnMachine.EXECUTED

RULES: dict[Rule, RuleText] = {
    Rule.BATCH: RuleText("batch {batch} is not in 1..65535", _UNSEEN),
    Rule.CREDITS_SHAPE: RuleText("tensor 'credits' must be 4 x 4", _UNSEEN),
    Rule.CREDITS: RuleText("a semaphore credit is not in 0..{most}", _UNSEEN),
    Rule.LAYER_NAMES: RuleText("layer names and layer table differ in length", _UNSEEN),
    Rule.TENSOR_NAMES: RuleText("tensor names, scales and tensor table differ in length", _UNSEEN),
    Rule.CHANNEL_ORDER: RuleText("a tensor's channel order is no order of its channels", _UNSEEN),
    Rule.NAME: RuleText("name {name!r} cannot be printed", _UNSEEN),
    Rule.SCALE: RuleText("tensor {name}: scale {scale} is not a positive number", _UNSEEN),
    Rule.EMPTY_TENSOR: RuleText("a tensor is empty", _UNSEEN),
    Rule.TENSOR_PLACE: RuleText(
        "tensor {name} at {at} lies outside the activations' memory", _UNSEEN
    ),
    Rule.IN_AND_OUTPUT: RuleText("{name} tensor {number} does not exist", _UNSEEN),
    Rule.IN_AND_OUTPUT_PLACE: RuleText(
        "{name} tensor {tensor} at {at} lies in the activation memory, not in DRAM", _UNSEEN
    ),
    Rule.POSITION_ROWS: RuleText(
        "tensor 'positions_indptr' does not partition 'positions'", _UNSEEN
    ),
    Rule.DEBUG_LENGTH: RuleText("debug tensors differ in length", _UNSEEN),
    Rule.DEBUG_LAYER: RuleText("'debug.layer' names a layer that does not exist", _UNSEEN),
    Rule.REGIONS: RuleText("the memory map needs {regions}", _UNSEEN),
    Rule.REGION_OVERLAP: RuleText("memory region {name} at {base} overlaps another one", _UNSEEN),
    Rule.DRAM_END: RuleText("memory map ends at {end}, DRAM has {limit} bytes", _UNSEEN),
    Rule.REGION_BYTES: RuleText(
        "memory region {name} has {size} bytes, its tensor {nbytes}", _UNSEEN
    ),
    Rule.OP: RuleText("layer {layer}: op {op} is unknown", _UNSEEN),
    Rule.LAYER_TENSOR: RuleText("layer {layer}: a tensor does not exist", _UNSEEN),
    Rule.SECOND_OPERAND: RuleText("layer {layer}: an ADD needs a second operand", _UNSEEN),
    Rule.FIELD_RANGE: RuleText("layer {layer}: {field}={value} is not in {least}..{most}", _UNSEEN),
    Rule.CHANNEL_OFFSET: RuleText("layer {layer}: c_offset={value} is out of range", _UNSEEN),
    Rule.CLAMP: RuleText("layer {layer}: clamp limits are wrong", _UNSEEN),
    Rule.RESIDUAL_SHAPE: RuleText(
        "layer {layer}: the residual's shape is not the output's", _UNSEEN
    ),
    Rule.SAME_CHANNELS: RuleText(
        "layer {layer}: {cin} input channels, {cout} output channels", _UNSEEN
    ),
    Rule.SAME_SHAPE: RuleText("layer {layer}: shape", _UNSEEN),
    Rule.REDUNDANCY: RuleText(
        "layer {layer}: redundancy={value}, the configuration asks for {wanted}", _UNSEEN
    ),
    Rule.GROUPS: RuleText(
        "layer {layer}: {groups} groups do not divide {cin} and {cout} channels", _UNSEEN
    ),
    Rule.CHUNKS: RuleText("layer {layer}: chunk sizes are out of range", _UNSEEN),
    Rule.WEIGHTS_PLACE: RuleText(
        "layer {layer}: its weights lie outside the weights' memory", _UNSEEN
    ),
    Rule.BIAS_PLACE: RuleText("layer {layer}: bias address", _UNSEEN),
    Rule.UNUSED_STEP: RuleText("layer {layer}: {field}={value} must be {wanted} in {op}", _UNSEEN),
    Rule.PADDING_REACH: RuleText(
        "layer {layer}: a padding of {pad} moves its windows off the map", _UNSEEN
    ),
    Rule.COVERED: RuleText(
        "layer {layer}: its windows cover {covered} elements, at most {limit}", _UNSEEN
    ),
    Rule.READ_ORDER: RuleText("layer {layer} reads tensor {name} before it is written", _UNSEEN),
    Rule.WRITE_ORDER: RuleText(
        "layer {layer} writes tensor {name}, which has its values already", _UNSEEN
    ),
    Rule.LAST_LAYER: RuleText(
        "the last layer writes tensor {number}, the output is {output}", _UNSEEN
    ),
    Rule.WINDOW_FIELD: RuleText("a window has a negative field", _UNSEEN),
    Rule.WINDOW_PLACE: RuleText("a window ends outside the {memory}", _UNSEEN),
    Rule.WINDOW_STEP: RuleText("a window's rows or columns are 0 apart", _UNSEEN),
    Rule.WINDOW_REDUCTION: RuleText("a window reduces over nothing", _UNSEEN),
    Rule.WINDOW_BASE: RuleText("a window's base is wrong", _UNSEEN),
    Rule.EMPTY_TEXT: RuleText("no instructions", _UNSEEN),
    Rule.HALT: RuleText("HALT must be the last instruction, and no other one", _UNSEEN),
    Rule.SYNC: RuleText("SYNC of no engine", _UNSEEN),
    Rule.OWN_TOKEN: RuleText("an engine waits for its own token", _UNSEEN),
    Rule.TILE_LAYER: RuleText("the configured layer is not the tile's", _UNSEEN),
    Rule.TILE_PARTS: RuleText("a GEMM goes on with the accumulators of another tile", _UNSEEN),
    Rule.PARKED: RuleText("a GEMM resumes a tile whose sums are not in the slot", _UNSEEN),
    Rule.TAPS_MISSING: RuleText("DPPU collects from the taps what no GEMM has left there", _UNSEEN),
    Rule.TAPS_LEFT: RuleText("the taps of this GEMM are not collected", _UNSEEN),
    Rule.OUTPUTS: RuleText("layer {layer}: {done} of {wanted} outputs are stored", _UNSEEN),
    Rule.LOAD_BUFFER: RuleText("LOAD ends outside its buffer", _REFUSED),
    Rule.LOAD_MEMORY: RuleText("LOAD reads outside the program's memory", _REFUSED),
    Rule.LOAD_NOTHING: RuleText("LOAD of no bytes", _REFUSED),
    Rule.LOAD_POSITIONS: RuleText(
        "LOAD of positions that are not one row of the position tables", _EXECUTED
    ),
    Rule.SETCFG: RuleText("SETCFG of a descriptor that does not exist", _REFUSED),
    Rule.NO_LAYER: RuleText("no layer is configured", _REFUSED),
    Rule.NO_WINDOW: RuleText("no window is configured", _REFUSED),
    Rule.TILE_PIXELS: RuleText("tile beyond the last pixel", _REFUSED),
    Rule.TILE_CHANNELS: RuleText("tile beyond the last channel", _REFUSED),
    Rule.TILE_EMPTY: RuleText("empty tile", _REFUSED),
    Rule.TILE_WORDS: RuleText("the tile has more words than a slot", _REFUSED),
    Rule.SLOT: RuleText("slot does not exist ({slots} slots)", _REFUSED),
    Rule.RESIDUAL_SLOT: RuleText("residual slot does not exist", _REFUSED),
    Rule.TILE_ARRAY: RuleText("the tile exceeds the array", _REFUSED),
    Rule.FOLD: RuleText(
        "a GEMM of {operands} operands a fold does not suit dataflow {dataflow} with {rows} rows",
        _REFUSED,
    ),
    Rule.TWO_STARTS: RuleText("a GEMM that begins at the bias and at the slot's sums", _REFUSED),
    Rule.TABLE_SIZE: RuleText("position table is larger than its tile", _REFUSED),
    Rule.TABLE_PLACE: RuleText("table ends outside its buffer", _REFUSED),
    Rule.TAPS: RuleText("more taps than the tile has neurons", _REFUSED),
    Rule.NO_DPPU: RuleText("work for the DPPU, and dppu.size is 0", _REFUSED),
    Rule.NO_WEIGHTS: RuleText("a product for a layer that has no weights", _REFUSED),
    Rule.TWO_GROUPS: RuleText("the tile's channels are in two groups", _REFUSED),
    Rule.KERNEL_ROWS: RuleText("the window has more rows than the kernel", _REFUSED),
    Rule.WINDOW_CHANNELS: RuleText(
        "the window has channels that the layer's weights have not", _REFUSED
    ),
    Rule.FOLD_OPERANDS: RuleText("a fold of operands that the window has not", _REFUSED),
    Rule.DPPU_WORK: RuleText(
        "the DPPU works on this tile for more than {most} cycles of its groups", _REFUSED
    ),
    Rule.DPPU_READS: RuleText(
        "all DPPU instructions together read more than {most} pieces", _REFUSED
    ),
    Rule.ADD_OPERAND: RuleText("the second operand ends outside the {memory}", _REFUSED),
}
complete("Rule in isa/rules.py", Rule, RULES, "isa/rules.py: RULES")


class BrokenRule(NamedTuple):
    """A rule that is broken, and the values that its text names."""

    rule: Rule
    values: dict[str, object]

    @property
    def text(self) -> str:
        """What is wrong, for people."""
        return RULES[self.rule].text.format(**self.values)


class InvalidProgramError(ProgramError):
    """A program breaks a rule: `what` says where and how, `rule` which one."""

    def __init__(self, what: str, advice: str, rule: Rule) -> None:
        super().__init__(what, advice)
        self.args = what, advice, rule  # of which pickle makes the error again
        self.rule = rule
