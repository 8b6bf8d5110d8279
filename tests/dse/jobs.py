"""Work for the pool's tests; a worker imports it, so it stands in a module of the package."""

import os
import signal

from flexhyca.errors import FlexhycaError


def power(base: int, exponent: int) -> int:
    if exponent == 13:
        raise FlexhycaError("13 brings no luck")
    if exponent == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    return base**exponent
