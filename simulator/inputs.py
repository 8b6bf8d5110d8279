"""Images that a program can take."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import FlexhycaError
from ..given.arrays import given_inputs
from ..isa.program import Program


def checked_inputs(program: Program, images: ArrayLike) -> NDArray[np.int8]:
    """`images`; FlexhycaError unless they are int8 (n, h, w, c), n >= 1, of the program's input.

    A program of a topology, whose layers read inputs of their own, takes none.
    """
    shape = tuple(program.tensors[program.input, :3].tolist())
    found = given_inputs(
        f"{program.name}: images", images, shape, program.config.arithmetic.act_bits
    )
    written = {program.input, *program.column("output").tolist()}
    read = [*program.column("input").tolist(), *program.column("residual").tolist()]
    missing = [program.tensor_names[t] for t in read if t >= 0 and t not in written]
    if missing:
        raise FlexhycaError(
            f"{program.name}: nothing writes tensor {missing[0]}, so there are no values; "
            "use values 'none'"
        )
    return found
