"""Ctrl-C ends a command although a callback of a library has swallowed the exception."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flexhyca.tests.support import heed_ctrl_c

ENDED = (130, "interrupted; no result was written\n")
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
    with interrupts.heeded():
        for _ in pool.run_jobs(work, None, range(1000), 1):
            pass
"""


def test_a_swallowed_interrupt_ends_the_loop() -> None:
    program = SWALLOWED.format(victim="os.getpid()", sleep=0.1)
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, preexec_fn=heed_ctrl_c
    )
    assert run.stdout.split() == ["0", "1", "2", "swallowed"]
    assert (run.returncode, run.stderr) == ENDED


@pytest.mark.parametrize("handler", ["SIG_IGN", "print"])
def test_what_others_do_with_it_stays(handler: str) -> None:
    program = (
        "import signal\nfrom flexhyca import interrupts\n"
        f"own = {'signal.SIG_IGN' if handler == 'SIG_IGN' else 'lambda *_: None'}\n"
        "signal.signal(signal.SIGINT, own)\n"
        "with interrupts.heeded():\n    assert signal.getsignal(signal.SIGINT) is own\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def _run(program: str) -> tuple[int, str]:
    """Exit code and standard error of a new process."""
    run = subprocess.run(
        [sys.executable, "-P", "-c", f"import os, signal, sys\n{program}"],
        capture_output=True,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    return run.returncode, run.stderr


#: What stands where a command raises after Ctrl-C was swallowed.
RAISED = (
    *("ImportError('x')", "OSError(5, 'x')", "BrokenPipeError()", "MemoryError()"),
    *("RuntimeError('x')", "SystemExit(2)", "FlexhycaError('x')", "InternalError('x')"),
    *("TypeError('x')", "ValueError('x')", "KeyboardInterrupt()"),
)
RAISES = """
from flexhyca import cli
from flexhyca.errors import FlexhycaError, InternalError
from flexhyca.__main__ import start

def command():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass
    raise {error}

cli.app.registered_commands.clear()
cli.app.registered_groups.clear()
cli.app.command()(command)
sys.argv = ["flexhyca", "command"]
start()
"""


@pytest.mark.parametrize("error", RAISED)
def test_whatever_comes_out_after_ctrl_c_is_one_line(error: str) -> None:
    assert _run(RAISES.format(error=error)) == ENDED


AT_AN_IMPORT = """
class Press:
    def find_spec(self, name, *_):
        if name == "{name}":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Press())
from flexhyca.__main__ import start
sys.argv = ["flexhyca", *"{command}".split()]
start()
"""


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("flexhyca.cli", "models"),
        ("typer", "models"),
        ("pydantic", "models"),
        ("numpy", "models"),
        ("torch", "accuracy digits"),
        ("torch._C", "accuracy digits"),
        ("numba", "simulate digits"),
    ],
)
def test_ctrl_c_at_the_start_is_one_line(name: str, command: str) -> None:
    assert _run(AT_AN_IMPORT.format(name=name, command=command)) == ENDED


def test_an_import_is_not_broken_off(tmp_path: Path) -> None:
    """Its first lines may be in C, which makes another error of the exception, or ends."""
    (tmp_path / "pressed.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\nprint('whole')\n"
    )
    program = (
        f"from flexhyca import interrupts\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "with interrupts.heeded():\n    import pressed\n    import time\n    time.sleep(60)\n"
    )
    begin = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}"],
        capture_output=True,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    assert (run.stdout, run.returncode, run.stderr) == ("whole\n", *ENDED)
    assert time.monotonic() - begin < 50


def test_one_that_is_swallowed_in_exec_ends_with_the_same_code() -> None:
    """Python ends by signal 2 where its own KeyboardInterrupt has passed through exec of a text."""
    program = (
        "from flexhyca import interrupts\nwith interrupts.heeded():\n    "
        "exec('import os, signal; os.kill(os.getpid(), signal.SIGINT)')"
    )
    assert _run(program) == ENDED


def test_one_that_a_callback_swallows_is_not_shown() -> None:
    program = (
        "from flexhyca import interrupts\n"
        "class Gone:\n    def __del__(self):\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "with interrupts.heeded():\n    Gone()\n    interrupts.check()\n"
    )
    assert _run(program) == ENDED


def test_what_must_be_done_whole_is_done_first() -> None:
    program = (
        "from flexhyca import interrupts\n"
        "with interrupts.heeded():\n    with interrupts.later():\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n        print('done', file=sys.stderr)\n"
        "    print('never', file=sys.stderr)\n"
    )
    assert _run(program) == (130, f"done\n{ENDED[1]}")


def test_ctrl_c_after_the_end_says_nothing() -> None:
    program = (
        "from flexhyca import interrupts\n"
        "with interrupts.heeded():\n    pass\ninterrupts.leave()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    assert _run(program) == (0, "")


def test_one_that_is_swallowed_is_raised_again() -> None:
    """Nobody has to ask for it, nor to wait until somebody does."""
    program = (
        "import time\nfrom flexhyca import interrupts\n"
        "with interrupts.heeded():\n"
        "    for _ in range(3):\n        try:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n            time.sleep(60)\n"
        "        except KeyboardInterrupt:\n            print('swallowed', file=sys.stderr)\n"
        "    time.sleep(60)\n"
    )
    begin = time.monotonic()
    assert _run(program) == (130, 3 * "swallowed\n" + ENDED[1])
    assert time.monotonic() - begin < 50


def test_what_cleans_up_behind_it_is_not_broken_off() -> None:
    """In finally, in a generator that is closed, and behind another exception made of it."""
    program = (
        "import time\nfrom flexhyca import interrupts\n"
        "def say():\n    time.sleep(0.5)\n    print('cleaned', file=sys.stderr)\n"
        "def jobs():\n    try:\n        yield\n    finally:\n        say()\n"
        "with interrupts.heeded():\n"
        "    work = jobs()\n    next(work)\n    try:\n        try:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        finally:\n            work.close()\n"
        "    except KeyboardInterrupt:\n        say()\n"
        "        try:\n            raise ValueError('x') from None\n        finally:\n"
        "            say()\n"
    )
    assert _run(program) == (130, 3 * "cleaned\n" + ENDED[1])
