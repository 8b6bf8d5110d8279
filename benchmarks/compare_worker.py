"""Trees of flexhyca, and workers that run their commands, for `compare_commits.py`.

Run as a program, this is a worker: it imports torch and flexhyca once, and runs every command in a
child that is forked for it, as `python -m flexhyca` would: half a second instead of five.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import queue
import runpy
import shlex
import subprocess
import sys
import tarfile
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_PACKAGE = {".ci", "benchmarks", "docs", "examples", "tests"}
STARTING = threading.Lock()  # the first worker compiles kernels, the next ones find them
NOT_COMPARED = (".db", ".lock", ".png")


def serve() -> None:
    """Run commands that come by standard input, each in a fork; answer with their exit codes."""
    answers = os.fdopen(os.dup(1), "w")
    _redirect(Path(os.devnull), Path(os.devnull))
    import flexhyca

    with tempfile.TemporaryDirectory() as folder:  # the imports and kernels that most commands need
        os.chdir(folder)
        _command(["simulate", "digits", "--images", "1"])
        _command(["inject", "digits", "--faults", "register", "--trials", "1"])
        print(flexhyca.__file__, file=answers, flush=True)
        for line in sys.stdin:
            where, number, arguments = json.loads(line)
            child = os.fork()
            if child == 0:
                os.chdir(where)
                _redirect(Path(f"{number:02}.out"), Path(f"{number:02}.err"))
                os._exit(_command(arguments))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(code, file=answers, flush=True)


def _redirect(*targets: Path) -> None:
    sys.stdout.flush()
    for stream, target in enumerate(targets, start=1):
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, stream)
        os.close(file)


def _command(arguments: list[str]) -> int:
    """`python -m flexhyca ARGUMENTS` in this process."""
    sys.argv = ["flexhyca", *arguments]
    code: object = 0
    try:
        runpy.run_module("flexhyca", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


@dataclass
class Tree:
    """A copy of the package, `at`/flexhyca, and the workers that run its commands."""

    at: Path
    idle: queue.SimpleQueue[subprocess.Popen[str]] = field(default_factory=queue.SimpleQueue)

    @classmethod
    def plant(cls, files: Mapping[str, bytes], store: Path) -> Tree:
        """Write the package's part of `files` below `store`, if it is not there."""
        kept = {name: files[name] for name in sorted(files) if _in_package(name)}
        digest = hashlib.sha256(repr(list(kept.items())).encode()).hexdigest()[:20]
        target = store / "trees" / digest
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=target.parent))
            for name, content in kept.items():
                path = folder / "flexhyca" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            with suppress(OSError):  # another call was faster
                folder.rename(target)
        return cls(target)

    def run(self, steps: Sequence[str], folder: Path) -> None:
        """Run commands in the empty `folder`; what they print is kept there, too."""
        try:
            worker = self.idle.get_nowait()
        except queue.Empty:
            with STARTING:
                worker = self._start()
        assert worker.stdin is not None
        assert worker.stdout is not None
        codes = []
        for number, step in enumerate(steps):
            request = [str(folder), number, shlex.split(step)]
            print(json.dumps(request), file=worker.stdin, flush=True)
            answer = worker.stdout.readline()
            if not answer:
                sys.exit(f"error: the worker of {self.at} has ended at: flexhyca {step}")
            codes.append(int(answer))
        self.idle.put(worker)
        (folder / "exit_codes.txt").write_text("".join(f"{code}\n" for code in codes))
        for path in folder.iterdir():
            if path.suffix in NOT_COMPARED:
                path.unlink()
            elif path.suffix != ".fhx":
                text = path.read_text().replace(str(folder), ".").replace(str(self.at), "TREE")
                path.write_text(text)

    def _start(self) -> subprocess.Popen[str]:
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
        own = {"PYTHONPATH": str(self.at), "NUMBA_CACHE_DIR": str(self.at / "numba")}
        worker = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | threads | own | {"COLUMNS": "100"},
        )
        assert worker.stdout is not None
        found = worker.stdout.readline().strip()
        if not found.startswith(str(self.at)):
            sys.exit(f"error: {self.at}: another flexhyca was imported: {found or 'none'}")
        return worker

    def stop(self) -> None:
        """End the workers."""
        while not self.idle.empty():
            worker = self.idle.get()
            worker.communicate()


def _in_package(name: str) -> bool:
    folder, inside, _ = name.partition("/")
    return folder not in NOT_PACKAGE if inside else name.endswith(".py")


def git(*arguments: str) -> bytes:
    """What git says about this repository."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def committed(commit: str) -> dict[str, bytes]:
    """Path -> content of all files of a commit."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as tar:
        members = [member for member in tar if member.isfile()]
        return {m.name: file.read() for m in members if (file := tar.extractfile(m)) is not None}


def working() -> dict[str, bytes]:
    """Path -> content of the working tree's files that git does not ignore."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").decode()
    return {n: (ROOT / n).read_bytes() for n in listed.split("\0") if (ROOT / n).is_file()}


if __name__ == "__main__":
    serve()
