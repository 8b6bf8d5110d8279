"""What `--explain` prints: of `inject --site` as docs/faults.md shows it, and of `compile`."""

import json
import re
from pathlib import Path


def test_the_story_of_the_manual(flexhyca):
    """The command prints what stands below it."""
    text = (Path(__file__).parents[2] / "docs/faults.md").read_text()
    command = re.search(r"flexhyca (inject digits --site \S+ --explain)\n", text).group(1)
    shown = text.partition("tells the story of one flip:\n\n```text\n")[2].partition("```")[0]
    assert flexhyca(*command.split()).out == shown


def test_what_the_command_says(flexhyca, tmp_path):
    run = flexhyca(
        *("compile", "digits", "-o", str(tmp_path / "x.fhx"), "--explain"),
        *("--set", "buffers.activation_bytes=65536", "--json", str(tmp_path / "x.json")),
    )
    assert "of 65,536 bytes" in run.out
    found = json.loads((tmp_path / "x.json").read_text())
    on_chip = found["on_chip"]
    assert on_chip["of"] == 65536
    outputs = [row["on_chip"]["output"] for row in found["mappings"]]
    assert outputs == [True] * len(on_chip["tensors"]) + [False]
    line = f"{len(on_chip['tensors'])} of {len(outputs) - 1} tensors between layers stay on chip, "
    assert f"{line}in {on_chip['bytes']:,} of 65,536 bytes" in run.out
    plain = flexhyca("compile", "digits", "-o", str(tmp_path / "y.fhx"), "--explain")
    assert "on chip" not in plain.out


def test_no_file_is_needed_to_explain(flexhyca, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = flexhyca("compile", "digits", "--explain", "--json", "x.json")
    assert "tiles of" in run.out
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    found = json.loads(Path("x.json").read_text())
    assert found["file"] is None
    assert found["bytes"] is None
    with_file = flexhyca("compile", "digits", "--explain", "-o", "y.fhx")
    assert with_file.out.startswith(run.out)
    neither = flexhyca("compile", "digits")
    assert neither.code == 2
    assert "--output" in neither.err
    assert "--explain" in neither.err
    other = flexhyca(
        "compile", "digits", "-c", "base-32x32", "--set", "timing=scalesim", "--explain"
    )
    assert "timing scalesim knows no mappings" in other.err
