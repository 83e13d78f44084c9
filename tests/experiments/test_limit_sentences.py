"""Limits in plain words."""

import pytest

from experiments.config import load_config
from experiments.errors import InputError
from experiments.limit_sentences import limits_of
from objectives.cost import counted_costs
from search_space import get_scale
from search_space.published import get_design


@pytest.mark.parametrize(
    ("sentence", "name", "bound"),
    [
        ("latency_ms <= 5", "latency_ms", 5.0),
        (" latency_ms<5.5ms ", "latency_ms", 5.5),
        ("image_ms <= 1.5 s", "image_ms", 1500.0),
        ("memory_mb <= 400", "peak_memory_bytes", 400e6),
        ("memory_gb <= 1.5", "peak_memory_bytes", 1.5e9),
        ("activations_mb <= 3", "peak_activation_bytes", 3e6),
        ("peak_memory_bytes <= 2 GiB", "peak_memory_bytes", 2.0**31),
        ("macs <= 2.5 G", "macs", 2.5e9),
        ("params <= 4e8", "parameters", 4e8),
        ("parameters <= 386M", "parameters", 386e6),
    ],
)
def test_a_sentence_is_a_bound(sentence, name, bound):
    assert limits_of([sentence], scale_name="sd15") == {name: bound}


def test_a_share_of_a_published_design_is_counted_at_the_scale_of_the_sweep():
    architecture = get_design("sd15").architecture
    for scale_name in ("sd15", "sd15-quarter"):
        counts = counted_costs([architecture], get_scale(scale_name))
        limits = limits_of(["params <= 60% of sd15", "macs <= 50 % of sd15"], scale_name=scale_name)
        assert limits == pytest.approx({"parameters": 0.6 * counts["parameters"][0], "macs": 0.5 * counts["macs"][0]})
    assert limits_of(["params <= 100% of sd15"], scale_name="sd15")["parameters"] == 859_520_964


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("params = 5", "'params = 5' is no bound; write such as 'latency_ms <= 5'"),
        ("params >= 5", "a limit is an upper bound"),
        ("5 >= params", "is no bound"),
        ("", "is no bound"),
        ("latency_ms <= -1", "must be above 0 ms, got -1"),
        ("latency_ms <= 1.2.3", "'1.2.3' is no number"),
        ("latency_ms <= 5 miles", "unit 'miles' is not known here; known are ms, s"),
        ("memory_mb <= 400 MB", "unit 'MB' is not known here; known are none, it is part of the name"),
        ("latency_ms <= 0", "must be above 0 ms, got 0"),
        ("speed <= 1", "no objective is called 'speed'"),
        ("denoising_loss <= 1", "a limit must be on a cost"),
        ("params <= 60% of sd16", "no published design 'sd16'"),
        ("params <= 60%", "unit '%' is not known here"),
        (
            "latency_ms <= 60% of sd15",
            "no share of sd15 can be taken of latency_ms, which is not counted; known are parameters",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(sentence, told):
    with pytest.raises(ValueError, match=told):
        limits_of([sentence], scale_name="sd15")


def test_two_limits_on_one_cost_are_refused():
    with pytest.raises(ValueError, match="two limits are on parameters, the second is 'parameters <= 2'; keep one"):
        limits_of(["params <= 1", "parameters <= 2"], scale_name="sd15")


def test_a_sweep_takes_sentences_and_says_where_one_is_wrong():
    config = load_config("digits", ["limits=[latency_ms <= 40, params <= 50% of sd15]"])
    assert set(config.limits) == {"latency_ms", "parameters"}
    assert load_config("digits", ["limits=macs <= 3 M"]).limits == {"macs": 3e6}
    with pytest.raises(InputError, match="override 'limits=.*': key 'limits': 'latency_ms is small' is no bound"):
        load_config("digits", ["limits=[latency_ms is small]"])
    with pytest.raises(InputError, match="key 'limits': '3' is no bound"):
        load_config("digits", ["limits=[3]"])
