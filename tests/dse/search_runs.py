"""A small search of digits for tests, in this process or as one of its own that can be killed.

The first that it judges is not met, so that it goes on for designs that lose less.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from flexhyca import exploration
from flexhyca.dse.labelled import Kept
from flexhyca.dse.request import Found, SearchRequest, run_search
from flexhyca.dse.search.evaluation import Options

SPACE = """
parameters:
  protection.s_th: [0, 0.05]
  protection.ib_th: [2, 4]
  protection.nb_th: [1, 2]
  protection.q_scale: [8, 9, 11]
  dppu.size: [0, 32, 64]
limits: {traffic: 0.2}
"""
#: At which digits without protection loses about 10 and 30 of 100.
RATES = (1.7e-3, 3.4e-3)


def request(folder: Path, **options: Any) -> SearchRequest:
    path = folder / "space.yaml"
    path.write_text(SPACE)
    own = {"optimiser": "walk", "patterns": 40, "most": 1920, **options}
    return SearchRequest(
        "digits", space=str(path), scenario="II'", rates=RATES, options=Options(**own)
    )


def found(folder: Path, asked: SearchRequest | None = None, **kept: Any) -> Found:
    return run_search(asked or request(folder), exploration.labelled_images("digits"), Kept(**kept))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    found(place.parent, study=place, workers=int(sys.argv[2]))
