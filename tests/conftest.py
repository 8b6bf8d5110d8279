"""Settings for all tests."""

import os

from hypothesis import Phase, settings

# Several threads on busy cores make small matrix products many times slower; before torch loads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# A cold numba kernel takes most of a second: a deadline would fail its first example.
settings.register_profile("flexhyca", deadline=None)
# For a first look at failures: `HYPOTHESIS_PROFILE=raw` reports them without minutes of shrinking.
settings.register_profile(
    "raw", deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "flexhyca"))
