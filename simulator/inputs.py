"""Images that a program can take."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import FlexhycaError
from ..isa.program import Program


def check_inputs(program: Program, images: NDArray[np.int8]) -> None:
    """Raise FlexhycaError unless `images` are int8 (n, h, w, c), n >= 1, of the program's input.

    A program of a topology, whose layers read inputs of their own, takes none.
    """
    shape = tuple(program.tensors[program.input, :3].tolist())
    if images.dtype != np.int8 or images.shape[1:] != shape or not len(images):
        raise FlexhycaError(
            f"{program.name}: images are {images.dtype} {images.shape}, wanted int8 (n, h, w, c) "
            f"with (h, w, c) = {shape}; use quantise_images"
        )
    written = {program.input, *program.column("output").tolist()}
    read = [*program.column("input").tolist(), *program.column("residual").tolist()]
    missing = [program.tensor_names[t] for t in read if t >= 0 and t not in written]
    if missing:
        raise FlexhycaError(
            f"{program.name}: nothing writes tensor {missing[0]}, so there are no values; "
            "use values 'none'"
        )
