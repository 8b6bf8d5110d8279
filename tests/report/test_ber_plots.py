"""Plots of accuracy under bit errors: drawn, and the same bytes for the same result."""

import pytest

from flexhyca.report.ber_plots import draw_rates, draw_scheme_accuracies, draw_sensitivity


def result(scheme, ber, accuracy):
    interval = [accuracy - 0.02, accuracy + 0.01]
    return {
        "scheme": scheme,
        "ber": ber,
        "accuracy": accuracy,
        "interval": interval,
        "acc0": 0.9,
        "goal": 0.97,
    }


def gain(unit, ber, value):
    own = {"unit": unit, "ber": ber, "sensitivity": value, "estimate": value, "accuracy": value}
    return own | {"low": value - 0.01, "high": value + 0.02}


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_pictures_depend_on_the_result_alone(tmp_path, suffix):
    results = [result(s, r, 0.5) for r in (1e-4, 2e-4) for s in ("base", "tmr_cl@some-machine")]
    singles = [gain(u, r, 0.1) for r in (1e-4, 2e-4) for u in ("conv1", "layer1.0")]
    tried = [gain("", r, 100 * r) for r in (1e-4, 1e-3, 2e-3, 4e-3)]
    found = [{"ber": r, "details": {"loss": gain("", r, 90 * r)}} for r in (1e-3, 2e-3)]
    files = []
    for number in range(2):
        files.append(tuple(tmp_path / f"{name}{number}{suffix}" for name in "abc"))
        draw_scheme_accuracies(files[-1][0], "title", results)
        draw_sensitivity(files[-1][1], "title", singles, singles, ("9 patterns", "50 patterns"))
        draw_rates(files[-1][2], "title", tried, found, (10, 40), "40 patterns")
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()
    text = "".join(path.read_text() for path in files[0]) if suffix == ".svg" else ""
    if text:
        for part in ("bit error rate 0.0002", "9 patterns", "50 patterns", "10 to 40 points"):
            assert part in text
        assert "II' = 0.002" in text
        assert "search, 40 patterns" in text
