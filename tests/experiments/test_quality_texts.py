"""What is told of measured quality."""

import pathlib

from experiments.quality_measuring import MeasuredQuality
from experiments.quality_texts import measured_table
from objectives import Estimate


def test_a_table_says_in_whose_features_and_shows_differences():
    extractor = {"name": "inception", "digest": "0123456789abcdef", "preprocessing": "tensorflow"}
    first, second = (
        MeasuredQuality(
            digest, "f0", extractor, {"fid": estimate}, differences, {}, other, 1197, pathlib.Path("run/quality/f0/x.png")
        )
        for digest, estimate, differences, other in (
            ("aa", Estimate(2.0, 1.0, 3.0, 40), {}, None),
            ("bb", Estimate(float("nan"), n=40), {"fid": Estimate(0.5, 0.25, 0.75, 40)}, "aa"),
        )
    )
    table = measured_table([first, second])
    assert "bb  not finite" in table
    assert "Difference to aa" in table
    assert table.endswith(
        "against 1,197 training images, in the features of inception 0123456789abcdef tensorflow; pictures and numbers are in "
        "run/quality/f0"
    )
