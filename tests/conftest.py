"""Settings for all tests."""

from hypothesis import settings

# A cold numba kernel takes most of a second: a deadline would fail its first example.
settings.register_profile("flexhyca", deadline=None)
settings.load_profile("flexhyca")
