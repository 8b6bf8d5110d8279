"""The table of dataflows: who answers what depends on `array.dataflow`."""

from __future__ import annotations

from ...config import choices
from ...tables import complete
from .os_array import OutputStationary
from .stationary_array import InputStationary, WeightStationary
from .unit import ArrayUnit

DATAFLOWS: dict[str, ArrayUnit] = {
    flow.name: flow for flow in (OutputStationary(), WeightStationary(), InputStationary())
}
complete(
    "array.dataflow in config/schema.py",
    choices("array.dataflow"),
    DATAFLOWS,
    "simulator/array/dataflows.py: DATAFLOWS",
)
