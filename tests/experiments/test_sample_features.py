import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from experiments import sample_features
from experiments.config import load_config
from experiments.data import load_dataset
from experiments.errors import InputError
from experiments.locks import locked
from experiments.progress import silent_progress
from experiments.sample_features import judged_objectives, labelled_images, sweep_classifier, sweep_distances
from objectives.extractor import function_extractor
from objectives.features import weights, weights_digest
from search_space import get_scale

QUICK = load_config("digits-small", ["features.num_steps=5"])


def labelled(config):
    return labelled_images(config.data, get_scale(config.proxy_scale), seed=config.seed)


class Listener:
    """Silent progress that keeps what is said."""

    def __init__(self):
        self.said = []
        self.stage = silent_progress().stage

    def say(self, text):
        self.said.append(text)


@pytest.mark.parametrize(
    ("objectives", "judged"),
    [("[denoising_loss, latency_ms]", []), ("[latency_ms, kid_classifier]", ["kid_classifier"])],
)
def test_which_objectives_need_samples(objectives, judged):
    assert judged_objectives(load_config("digits-small", [f"objectives={objectives}"])) == judged


def test_a_small_data_set_is_seen_whole_and_in_order():
    found, dataset = labelled(QUICK), load_dataset("digits", split="train")
    assert len(found.images) == len(dataset) == 1197
    assert found.labels.tolist() == [example["label"] for example in dataset]
    assert (found.images[700] == dataset[700]["image"]).all()


@pytest.mark.parametrize("limit", [{"MAX_IMAGES": 200}, {"MAX_BYTES": 200 * 4 * 64}])
def test_a_large_one_gives_a_part_that_follows_the_seed(monkeypatch, limit):
    whole = labelled(QUICK)
    for name, value in limit.items():
        monkeypatch.setattr(sample_features, name, value)
    one, same, other = (labelled(QUICK.model_copy(update={"seed": seed})) for seed in (1, 1, 2))
    assert one.images.shape == (200, 8, 8, 1)
    assert (one.images == same.images).all()
    assert (one.images != other.images).any()
    assert len(np.unique(one.images, axis=0)) == 200
    assert set(one.labels) == set(range(10))
    labels = {image.tobytes(): label for image, label in zip(whole.images, whole.labels, strict=True)}
    assert [labels[image.tobytes()] for image in one.images] == one.labels.tolist()


def test_the_classifier_is_trained_once_and_says_what_it_saw(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_features, "MAX_IMAGES", 200)
    first, second = Listener(), Listener()
    trained = sweep_classifier(QUICK, tmp_path, first)
    assert "it saw 200 of 1,197 training images, drawn at random" in first.said[0]
    assert json.loads((tmp_path / "features" / "classifier.json").read_text())["digest"] == weights_digest(trained)
    loaded = sweep_classifier(QUICK.model_copy(update={"seed": 5}), tmp_path, second)
    assert weights_digest(loaded) == weights_digest(trained)
    assert second.said == []


def test_weights_that_a_kill_left_without_their_description_are_trained_again(tmp_path):
    trained = sweep_classifier(QUICK, tmp_path, silent_progress())
    (tmp_path / "features" / "classifier.json").unlink()
    save_file(
        {name: np.zeros_like(x) for name, x in weights(trained).items()}, tmp_path / "features" / "classifier.safetensors"
    )
    assert weights_digest(sweep_classifier(QUICK, tmp_path, silent_progress())) == weights_digest(trained)


def test_one_process_trains_the_classifier(tmp_path):
    with locked(tmp_path / "features", what="classifier"), pytest.raises(InputError, match="another process writes this class"):
        sweep_classifier(QUICK, tmp_path, silent_progress())
    sweep_classifier(QUICK, tmp_path, silent_progress())
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_a_whole_split_that_lacks_a_class_is_refused_by_its_name(tmp_path, monkeypatch):
    digits = load_dataset("digits", split="train")
    info = dataclasses.replace(digits.info, num_classes=12, label_names=(*digits.info.label_names, "ten", "eleven"))
    monkeypatch.setattr(sample_features, "open_examples", lambda *_, **__: dataclasses.replace(digits, info=info))
    with pytest.raises(InputError, match=r"'digits': split 'train' has no image of 2 of 12 classes \('ten', 'eleven'\), and"):
        sweep_classifier(QUICK, tmp_path, silent_progress())
    monkeypatch.setattr(sample_features, "MAX_IMAGES", 200)
    assert len(labelled(QUICK).images) == 200  # a random part may lack a rare class


def test_a_data_set_without_labels_is_refused(tmp_path, monkeypatch):
    unlabelled = load_dataset("digits", split="train")
    unlabelled = dataclasses.replace(unlabelled, info=dataclasses.replace(unlabelled.info, num_classes=None))
    monkeypatch.setattr(sample_features, "open_examples", lambda *_, **__: unlabelled)
    with pytest.raises(InputError, match="data set 'digits' has no labels, and samples are judged by a classifier"):
        sweep_classifier(QUICK, tmp_path, silent_progress())
    assert list(tmp_path.iterdir()) == []
    pixels = function_extractor("pixels", lambda scale, x: scale * x.reshape(len(x), -1), np.float32(1))
    assert sweep_distances(QUICK, pixels).reference.shape == (1197, 64)
