"""The prompt encoder: what labels need is as it always was, and captions pass through a transformer."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from search_space import get_scale
from supernet import PromptEncoder
from supernet.initializer import random_initializer
from supernet.parameters import parameters_of, with_parameters

LABELS, CAPTIONS = get_scale("digits-proxy"), get_scale("shapes16-proxy")


def encoder(scale, seed=0) -> PromptEncoder:
    """With every parameter drawn, those too that begin at zero."""
    drawn = PromptEncoder(scale, init=random_initializer(seed))
    rng = np.random.default_rng(seed)
    values = {path: jnp.asarray(rng.standard_normal(x.shape, np.float32) / 4) for path, x in parameters_of(drawn).items()}
    return with_parameters(drawn, values)


def test_labels_need_an_embedding_alone_under_the_names_it_always_had():
    drawn = PromptEncoder(LABELS, init=random_initializer(3))
    rng = np.random.default_rng(3)
    expected = rng.standard_normal((11, 32), np.float32), np.float32(0.1) * rng.standard_normal((1, 32), np.float32)
    found = parameters_of(drawn)
    assert set(found) == {"tokens", "positions"}
    np.testing.assert_allclose(found["tokens"], expected[0], rtol=1e-6)
    np.testing.assert_allclose(drawn(jnp.array([[4]]))[0], expected[0][4:5] + expected[1], rtol=1e-5)


def test_captions_add_layers_and_a_norm():
    parameters = parameters_of(PromptEncoder(CAPTIONS, init=random_initializer(0)))
    layers = {path for path in parameters if path.startswith("layers/")}
    assert {path.split("/")[1] for path in layers} == {"0", "1"}
    assert set(parameters) - layers == {"tokens", "positions", "norm/scale", "norm/bias"}
    assert {"layers/0/query/kernel", "layers/1/feed_forward/contract/kernel"} <= layers
    width = CAPTIONS.context_width
    layer = 4 * width**2 + width + 2 * (2 * width) + 2 * (4 * width**2 + 4 * width) + 4 * width**2 + width
    assert sum(x.size for x in parameters.values()) == (27 + 6 + 2) * width + 2 * layer


def test_a_fresh_encoder_is_the_normalised_embedding():
    drawn = PromptEncoder(CAPTIONS, init=random_initializer(0))
    tokens = jnp.array([[1, 2, 3, 4, 5, 6]])
    embedded = drawn.tokens[...][tokens] + drawn.positions[...][None]
    centred = embedded - embedded.mean(-1, keepdims=True)
    np.testing.assert_allclose(drawn(tokens), centred / centred.std(-1, keepdims=True), rtol=1e-4, atol=1e-5)


def test_every_word_reaches_every_place_and_padding_reaches_none():
    whole, tokens = encoder(CAPTIONS), np.array([[3, 9, 14, 0, 0, 0]])
    changed = whole(jnp.array([[4, 9, 14, 0, 0, 0]])) - whole(jnp.asarray(tokens))
    assert (jnp.abs(changed).max(-1) > 1e-4).all()
    parameters = parameters_of(whole)
    louder = {**parameters, "tokens": parameters["tokens"].at[0].add(10.0)}
    same = with_parameters(whole, louder)(jnp.asarray(tokens))[:, :3]
    np.testing.assert_allclose(same, whole(jnp.asarray(tokens))[:, :3], atol=1e-5)


def test_order_matters():
    whole = encoder(CAPTIONS)
    one, other = (whole(jnp.array([row])) for row in ([3, 9, 14, 1, 2, 5], [9, 3, 14, 1, 2, 5]))
    assert jnp.abs(one - other)[:, 2:].max() > 1e-4


def test_the_null_prompt_is_finite_and_is_no_caption():
    found = encoder(CAPTIONS)(jnp.array([[0] * 6, [3, 9, 14, 1, 2, 5]]))
    assert jnp.isfinite(found).all()
    assert jnp.abs(found[0] - found[1]).max() > 0.1


def test_layers_without_a_vocabulary_are_refused():
    with pytest.raises(ValueError, match="prompt_layers=2 need a vocabulary, got 0; where contexts come encoded, leave"):
        dataclasses.replace(CAPTIONS, vocabulary=0)
    with pytest.raises(ValueError, match="has no vocabulary: its contexts come encoded"):
        PromptEncoder(dataclasses.replace(LABELS, vocabulary=0), init=random_initializer(0))
