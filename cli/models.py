"""``flexhyca models``: what can be simulated by name."""

from . import output
from .options import JsonOption

EXAMPLES = "\b\nExample:\n  flexhyca models\n"


def command(json: JsonOption = None) -> None:
    """List the models that the other commands know by name."""
    from ..compiler.networks import NETWORKS

    output.check_target(json)
    output.write_json(
        json,
        [
            {
                "name": entry.name,
                "input_shape": list(entry.input_shape),
                "weights": entry.weights is not None,
                "mean": list(entry.mean),
                "std": list(entry.std),
                "description": entry.description,
            }
            for entry in NETWORKS.values()
        ],
    )
    if json != output.STDOUT:
        output.print_table(
            ("name", "input (c, h, w)", "weights", "description"),
            (
                (
                    entry.name,
                    "x".join(map(str, entry.input_shape)),
                    "shipped" if entry.weights else "--weights FILE, else random",
                    entry.description,
                )
                for entry in NETWORKS.values()
            ),
        )
