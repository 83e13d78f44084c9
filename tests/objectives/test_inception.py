"""InceptionV3's layers and how it is given images; `tests/parity` holds its features to those of its references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from objectives.inception import PREPROCESSING, Inception, inception_extractor
from objectives.inception_layers import LAYOUTS, units


def test_the_network_has_the_published_number_of_parameters():
    """Keras counts 21,802,784 without the last layer: kernels, and three numbers of the normalisation of each channel."""
    kernels = sum(np.prod(unit.shapes()["kernel"]) for unit in units())
    channels = sum(unit.num_out for unit in units())
    assert (len(list(units())), channels) == (94, 17_216)
    assert kernels + 3 * channels == 21_802_784


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_array_has_a_name_of_its_own(layout):
    assert len(layout.shapes()) == 5 * 94
    assert not any(layout.is_ignored(name) for name in layout.shapes())
    assert layout.reference in PREPROCESSING


def test_an_image_of_any_size_has_2048_features():
    weights = {f"{unit.name}.{part}": np.ones(shape) for unit in units() for part, shape in unit.shapes().items()}
    for shape in ((2, 5, 7, 1), (1, 400, 299, 3)):
        found = jax.eval_shape(Inception(weights, PREPROCESSING["tensorflow"]), jnp.zeros(shape))
        assert found.shape == (shape[0], 2048)


@pytest.mark.parametrize("name", PREPROCESSING)
def test_images_are_rounded_to_8_bits_and_grey_ones_are_three_equal_channels(name):
    levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    exact = levels / 127.5 - 1
    found = PREPROCESSING[name](jnp.asarray(exact))
    assert found.shape == (1, 299, 299, 3)
    assert (found == found[..., :1]).all()
    assert (found == PREPROCESSING[name](jnp.asarray(exact + 0.49 / 127.5))).all()
    assert (found != PREPROCESSING[name](jnp.asarray(exact + 0.51 / 127.5))).any()


def test_what_the_network_is_given_lies_in_minus_one_to_one():
    black, white = (jnp.full((1, 3, 3, 3), value) for value in (-1.5, 2.0))
    assert {float(x) for x in (PREPROCESSING["pytorch-fid"](black).min(), PREPROCESSING["pytorch-fid"](white).max())} == {-1, 1}
    assert {float(x) for x in (PREPROCESSING["tensorflow"](black).min(), PREPROCESSING["tensorflow"](white).max())} == {
        *(-1, 127 / 128)
    }


def test_refusals():
    with pytest.raises(ValueError, match="InceptionV3 takes images of 1 or 3 channels, got 4; of latents, decode images first"):
        PREPROCESSING["pytorch-fid"](jnp.zeros((1, 8, 8, 4)))
    with pytest.raises(ValueError, match="`preprocessing` must be one of pytorch-fid, tensorflow, got 'clean-fid'"):
        inception_extractor({}, preprocessing="clean-fid")
