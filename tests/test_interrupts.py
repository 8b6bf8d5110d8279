"""Ctrl-C ends a command although a callback of a library has swallowed the exception."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flexhyca.tests.support import heed_ctrl_c

SWALLOWED = """
import os, signal, sys
from flexhyca import interrupts, pool

def work(context, job):
    print(job, flush=True)
    if job == 2:
        try:
            os.kill({victim}, signal.SIGINT)
            import time
            time.sleep({sleep})
        except KeyboardInterrupt:
            print("swallowed", flush=True)
    return job

if __name__ == "__main__":
    interrupts.listen()
    try:
        for _ in pool.run_jobs(work, None, range(1000), 1):
            pass
    except KeyboardInterrupt:
        print("ended")
        sys.exit(130)
"""


def test_a_swallowed_interrupt_ends_the_loop() -> None:
    program = SWALLOWED.format(victim="os.getpid()", sleep=0.1)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, preexec_fn=heed_ctrl_c
    )
    assert run.stdout.split() == ["0", "1", "2", "swallowed", "ended"]
    assert run.returncode == 130


@pytest.mark.parametrize("handler", ["SIG_IGN", "print"])
def test_what_others_do_with_it_stays(handler: str) -> None:
    program = (
        "import signal\nfrom flexhyca import interrupts\n"
        f"own = {'signal.SIG_IGN' if handler == 'SIG_IGN' else 'lambda *_: None'}\n"
        "signal.signal(signal.SIGINT, own)\ninterrupts.listen()\n"
        "assert signal.getsignal(signal.SIGINT) is own\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
