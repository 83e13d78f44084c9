"""What a bundle promises of its loss: on which split, and of which examples."""

import dataclasses
import functools

import numpy as np
import pytest
from experiments_fixtures.networks import TINY
from PIL import Image

from experiments import bundle_quality
from experiments.bundle import Bundle, apply_network, with_settings
from experiments.bundle_quality import bundle_loss, promise_split
from experiments.config import load_config
from experiments.denoising_task import all_examples, open_examples
from experiments.handoff import training_settings
from experiments.quality import loss_program
from experiments.training import with_fresh_weights
from objectives.denoising import mid_band_times

BUNDLE = with_fresh_weights(Bundle(TINY, training_settings(load_config("digits-small"), "fresh weights"), {}), 0)


def test_a_loss_reads_no_example_that_it_does_not_see(monkeypatch):
    seen, split = [], open_examples(BUNDLE.data, BUNDLE.task.scale, split="test")
    counted = dataclasses.replace(split, read=lambda index: (seen.append(index), split.read(index))[1])
    monkeypatch.setattr(bundle_quality, "open_examples", lambda *_, **__: counted)
    monkeypatch.setattr(bundle_quality, "_LOSS_SAMPLES", 40)
    found = bundle_loss(BUNDLE, split="test")
    assert len(seen) == len(set(seen)) == 40 < len(split)
    images, prompts = all_examples(split, BUNDLE.task.scale)
    apply = functools.partial(apply_network, BUNDLE.network())
    losses = loss_program(BUNDLE.task, apply, images, prompts, times=mid_band_times(40))(BUNDLE.parameters)
    assert found.value == pytest.approx(losses.mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("sizes", "split"), [((5, 2, 2), "test"), ((5, 2, 1), "validation"), ((5, 1, 1), "train"), ((6, 0, 0), "train")]
)
def test_the_loss_is_promised_on_the_first_split_that_has_an_interval(tmp_path, sizes, split):
    for name, size in zip(("train", "validation", "test"), sizes, strict=True):
        for index in range(size):
            path = tmp_path / name / "a" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 40 * index, np.uint8)).save(path)
    bundle = with_settings(BUNDLE, data=str(tmp_path))
    assert promise_split(bundle) == split
    assert bundle_loss(bundle, split=split).n == sizes[("train", "validation", "test").index(split)]
