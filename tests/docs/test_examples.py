"""The documentation is run: every fenced block of README.md and docs/ must be true.

```yaml     is a configuration; `# name.yaml` in its first line is its file name
```python   is executed; blocks of a page share their names; with >>> the output is compared
```console  `$ flexhyca ...` lines are run, what follows is compared (... stands for anything)
"""

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import flexhyca
from flexhyca.config import load_config

ROOT = Path(flexhyca.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "yaml":
            first = re.match(r"# (\S+\.yaml)", text)
            path = Path(first.group(1) if first else "example.yaml")
            path.write_text(text)
            load_config(path)
        elif language == "python":
            run_python(text, names, page.name)
        elif language == "console":
            run_console(text)
        else:
            assert language in ("text", "bash"), f"unknown kind of block: {language}"


def run_python(text: str, names: dict[str, object], page: str) -> None:
    if ">>>" not in text:
        exec(compile(text, page, "exec"), names)
        return
    example = doctest.DocTestParser().get_doctest(text, names, page, page, 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(example, out=report.append, clear_globs=False)
    names |= example.globs
    assert not runner.summarize(verbose=False).failed, "".join(report)


def run_console(text: str) -> None:
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
        words = shlex.split(command, comments=True)
        assert words[0] == "flexhyca", f"only flexhyca is run here: {command}"
        run = subprocess.run(
            [sys.executable, "-m", "flexhyca", *words[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "100"},
        )
        same = doctest.OutputChecker().check_output(expected, run.stdout, FLAGS)
        assert same or not expected.strip(), f"{command}\nprinted:\n{run.stdout}"
        assert expected.startswith("error:") == (run.returncode != 0), f"{command}: {run.stdout}"
