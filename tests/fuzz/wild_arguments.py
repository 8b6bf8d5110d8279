"""Wild arguments of every public function: a result, or one line that names the argument.

What is public, which arguments there are and what they should be is taken from the package and its
annotations; `given` has one good value for each.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import flexhyca as fh
from flexhyca import api
from flexhyca.errors import FlexhycaError
from flexhyca.given.arguments import _hints, fits
from flexhyca.tests.fuzz.attacks import Attack, tried

#: Searches run where their arguments are right; only those that cannot be are tried.
SEARCHES = ("bits", "compare", "optimise")


class Public(NamedTuple):
    """name : as a user writes it. good : arguments with which it works."""

    name: str
    function: Callable[..., Any]
    good: dict[str, Any]


@cache
def values() -> dict[str, Any]:
    """One of everything."""
    config, model = fh.load_config(), fh.load_model("digits")
    data = fh.load_data(model)[:20]
    network = fh.quantise(model, config, data)
    ranking = fh.rank_neurons(model, data)
    important = fh.select_important(ranking, network, config)
    program = fh.compile(network, config, important)
    path = Path(mkdtemp(), "map.yaml")
    path.write_text("- {row: 3, col: 4}\n")
    return {
        "map": path,
        "config": config,
        "model": model,
        "data": data,
        "network": network,
        "ranking": ranking,
        "important": important,
        "program": program,
        "images": data.images,
        "inputs": fh.quantise_images(model, network, data.images)[:1],
    }


@cache
def public() -> tuple[Public, ...]:
    """Every public function, and the methods of `Dataset`."""
    v = values()
    own: dict[str, dict[str, Any]] = {
        "compile": {name: v[name] for name in ("network", "config", "important")},
        "float_accuracy": {"model": v["model"], "data": v["data"]},
        "int8_accuracy": {name: v[name] for name in ("model", "network", "data")},
        "load_config": {"name": "flexhyca-32x32"},
        "load_data": {"model": v["model"]},
        "load_model": {"source": "digits"},
        "load_pe_map": {"path": v["map"], "config": v["config"]},
        "random_pe_map": {"config": v["config"], "count": 3},
        "quantise": {name: v[name] for name in ("model", "config", "data")},
        "quantise_images": {name: v[name] for name in ("model", "network", "images")},
        "rank_neurons": {"model": v["model"], "data": v["data"]},
        "run_images": {"program": v["program"], "images": v["inputs"]},
        "select_important": {name: v[name] for name in ("ranking", "network", "config")},
        "simulate": {"program": v["program"], "images": v["inputs"]},
        **{name: {"model": "digits"} for name in SEARCHES},
    }
    found = [
        Public(name, getattr(fh, name), own[name])
        for name in fh.__all__
        if not isinstance(getattr(fh, name), type)
    ]
    placed = {"network": v["network"], "placement": "random"}
    found.append(Public("place_neurons", api.place_neurons, placed))
    data = v["data"]
    found += [
        Public("Dataset.spread", data.spread, {"count": 3}),
        Public("Dataset.chosen", data.chosen, {"wanted": 3}),
        Public("Dataset.check", data.check, {"model": v["model"]}),
        Public("Dataset[...]", data.__getitem__, {"index": slice(3)}),
        Public("Dataset", fh.Dataset, {"name": "x", "images": data.images, "labels": None}),
    ]
    return tuple(found)


def wild() -> list[Any]:
    """Values that are wrong somewhere, or everywhere."""
    v = values()
    return [
        *(None, True, 0, 1, -1, -3, 2.5, 2**32, 2**64, 10**400, float("nan"), float("inf"), 3j),
        *("", "x", "2", "fast", "\u0662", "dppu.size=64", "a\nb", "\0", "x" * 300, b"x"),
        *([], [1], [2.0], ["x"], [None], [[1]], (), (1, 2), {}, {"a": 1}, {0: None}, {1, 2}),
        *(slice(None, None, 0), slice("a"), slice(0, 0), object(), Path("x"), Path()),
        *(np.int64(3), np.float32(0.5), np.array(2), np.zeros(3), np.zeros((1, 8, 8, 1), "U1")),
        *(v[name] for name in ("config", "model", "data", "network", "ranking", "program")),
        *(iter([1]), range(3), Exception("x"), np.datetime64("2020"), NotImplemented),
    ]


def attempt(entry: Public, changed: dict[str, Any]) -> str | None:
    """The error's line; None where it worked, or would have begun to search."""
    arguments = entry.good | changed
    if entry.name in SEARCHES:
        hints = _hints(entry.function.__wrapped__)  # type: ignore[attr-defined]
        if all(fits(value, hints[name]) for name, value in changed.items()):
            return None
    try:
        entry.function(**arguments)
    except FlexhycaError as error:
        line = str(error)
        assert line
        assert "Traceback" not in line
        return line
    return None


def names(entry: Public) -> Iterator[str]:
    """Its arguments."""
    yield from inspect.signature(entry.function).parameters


def wild_arguments(folder: Path, cases: int) -> int:
    """Several arguments of a function at once."""
    entries, stock = public(), wild()

    @st.composite
    def case(draw: st.DrawFn) -> tuple[Public, dict[str, Any]]:
        entry = draw(st.sampled_from(entries))
        chosen = draw(st.lists(st.sampled_from(list(names(entry))), min_size=1, max_size=3))
        return entry, {
            name: stock[draw(st.integers(0, len(stock) - 1))] for name in dict.fromkeys(chosen)
        }

    return tried(case(), lambda drawn: attempt(*drawn), cases)


ATTACKS = (Attack("wild arguments of public functions", wild_arguments, 200, 5_000),)
