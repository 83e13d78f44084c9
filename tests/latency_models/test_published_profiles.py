"""Published figures: each against the arithmetic it was derived by."""

import pytest

from latency_models.published_figures import FIGURES
from latency_models.published_profiles import published_figures
from search_space import get_design

# Milliseconds of each figure, worked out by hand from its source's own numbers: device, network, resolution, batch.
BY_HAND = {
    ("Snapdragon 8 Elite Gen 5", "SD 1.5", 512, 1): 44.8, ("Snapdragon 8 Elite Gen 5", "SD 2.1", 512, 1): 39.6,
    ("Snapdragon 8 Elite Gen 5", "ControlNet branch of SD 1.5", 512, 1): 28.8,
    ("Galaxy S25", "SD 1.5", 512, 1): 60.2, ("Galaxy S25", "SD 2.1", 512, 1): 53.2,
    ("Galaxy S25", "ControlNet branch of SD 1.5", 512, 1): 46.1,
    ("Galaxy S24", "SD 1.5", 512, 1): 79.1, ("Galaxy S24", "SD 2.1", 512, 1): 69.7,
    ("Galaxy S24", "ControlNet branch of SD 1.5", 512, 1): 59.5,
    ("QCS8550", "SD 1.5", 512, 1): 112.1, ("QCS8550", "SD 2.1", 512, 1): 95.8,
    ("QCS8550", "ControlNet branch of SD 1.5", 512, 1): 83.7,
    ("Snapdragon X Elite", "SD 1.5", 512, 1): 112.9, ("Snapdragon X Elite", "SD 2.1", 512, 1): 96.3,
    ("IQ-9075", "SD 1.5", 512, 1): 105.0, ("IQ-9075", "SD 2.1", 512, 1): 89.8,
    ("Snapdragon 7 Gen 4", "SD 1.5", 512, 1): 183.9, ("Snapdragon 7 Gen 4", "SD 2.1", 512, 1): 178.4,
    ("QCS8275", "SD 1.5", 512, 1): 262.5,
    ("Q-6690", "SD 1.5", 512, 1): 2211, ("Q-6690", "SD 2.1", 512, 1): 2236,
    ("iPhone 12 mini", "SD 2.1", 512, 2): 1000 / 1.44, ("iPhone 12 Pro Max", "SD 2.1", 512, 2): 1000 / 1.45,
    ("iPhone 13", "SD 2.1", 512, 2): 1000 / 2.53, ("iPhone 13 Pro Max", "SD 2.1", 512, 2): 1000 / 2.55,
    ("iPhone 14", "SD 2.1", 512, 2): 1000 / 2.57, ("iPhone 14 Pro Max", "SD 2.1", 512, 2): 1000 / 2.69,
    ("iPad M1", "SD 2.1", 512, 2): 1000 / 2.19, ("iPad M2", "SD 2.1", 512, 2): 1000 / 3.07,
    ("iPhone 12 Pro", "SDXL", 768, 2): 2000, ("iPhone 13 Pro Max", "SDXL", 768, 2): 1000 / 0.68,
    ("iPhone 14 Pro Max", "SDXL", 768, 2): 1000 / 0.83, ("iPhone 15 Pro Max", "SDXL", 768, 2): 1000 / 0.85,
    ("iPad M1", "SDXL", 768, 2): 1000 / 0.69, ("iPad M2", "SDXL", 768, 2): 1000 / 0.98,
    ("M1 Max", "SDXL", 1024, 2): 1000 / 0.46, ("M2 Max", "SDXL", 1024, 2): 1000 / 0.57,
    ("M1 Ultra", "SDXL", 1024, 2): 1000 / 0.89, ("M2 Ultra", "SDXL", 1024, 2): 1000 / 1.11,
    ("Pixel 7 Pro", "SD 1.5", 512, None): 30_000,
    ("Snapdragon 8 Elite", "SD 1.5", 512, 2): 459.6, ("Snapdragon 8 Elite", "SDXL", 1024, 2): 3217,
    ("Snapdragon 8 Elite", "SDXL", 1024, 1): 1614,
    ("Snapdragon 8 Gen 3", "SD 1.5", None, None): 8000,
    ("Galaxy S23 Ultra", "SD 1.4", 512, None): 575,
    ("iPhone 14 Pro", "SD 1.5", 512, None): 1700, ("iPhone 14 Pro", "SnapFusion", 512, None): 230,
    ("iPhone 15 Pro", "MobileDiffusion", 512, None): 142,
}  # fmt: skip


def test_each_figure_follows_from_its_source():
    found = {(f.device, f.network, f.resolution, f.batch): f.ms for f in FIGURES if f.mark == "remembered" or f.steps != 8}
    assert found == pytest.approx(BY_HAND)
    (bound,) = (f for f in FIGURES if f.steps == 8)
    assert (bound.device, bound.ms, bound.is_upper_bound) == ("iPhone 14 Pro", 250.0, True)
    assert len(FIGURES) == len(BY_HAND) + 1


def test_apples_phones_take_372_to_694_ms_a_guided_step_of_sd21():
    ms = [f.ms for f in FIGURES if f.network == "SD 2.1" and f.runtime == "Core ML" and f.kind == "phone"]
    assert (round(min(ms)), round(max(ms))) == (372, 694)


def test_derivations_say_the_arithmetic():
    told = {f.derivation for f in FIGURES}
    assert {"11.5 s / 20 steps", "2 s / 8 steps", "1 / (1.44 iterations/s)", "0.4596 s", ""} <= told


def test_designs_are_ours_and_other_networks_have_none():
    assert {f.design for f in FIGURES} == {None, "sd15", "snapfusion", "mobilediffusion"}
    assert all(get_design(f.design) for f in FIGURES if f.design)
    assert {f.network for f in FIGURES if f.design == "sd15"} == {"SD 1.4", "SD 1.5"}
    assert {f.network for f in FIGURES if f.design is None} == {"SD 2.1", "SDXL", "ControlNet branch of SD 1.5"}


def test_what_is_from_memory_says_so():
    remembered = {(f.device, f.network) for f in FIGURES if f.mark == "remembered"}
    assert remembered == {("iPhone 14 Pro", "SD 1.5"), ("iPhone 14 Pro", "SnapFusion"), ("iPhone 15 Pro", "MobileDiffusion")}
    assert all(f.source and f.date for f in FIGURES)


def test_figures_of_one_device_and_a_device_that_is_not_there():
    assert [f.ms for f in published_figures("Galaxy S25")] == [60.2, 53.2, 46.1]
    assert published_figures() == FIGURES
    with pytest.raises(ValueError, match="no figure of 'Galaxy S26' is known; there are Snapdragon .*did you mean 'Galaxy S2"):
        published_figures("Galaxy S26")
