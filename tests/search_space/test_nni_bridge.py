"""The bridge to NNI, both ways."""

import numpy as np
import pytest

from search_space import get_space
from search_space.nni_bridge import from_nni, to_nni

nni = pytest.importorskip("nni")


@pytest.mark.parametrize("name", ["digits", "mobile-sd"])
def test_every_sample_of_nni_is_an_architecture_of_the_space(name: str):
    from nni.mutable.exception import ConstraintViolation

    space = get_space(name)
    mutable, found = to_nni(space), set()
    for seed in range(30):
        try:
            sample = mutable.random(random_state=np.random.RandomState(seed))
        except ConstraintViolation:
            continue
        architecture = from_nni(space, sample)
        assert space.contains(architecture)
        found.add(architecture.digest)
    assert len(found) > 5


@pytest.mark.parametrize("name", ["digits", "mobile-sd"])
def test_freezing_an_architecture_gives_it_back(name: str):
    space = get_space(name)
    for seed in range(5):
        architecture = space.sample(np.random.default_rng(seed))
        values = {gene.name: gene.choices[i] for gene, i in zip(space.genes, space.encode(architecture), strict=True)}
        assert from_nni(space, to_nni(space).freeze(values)) == architecture


def test_nni_refuses_what_breaks_the_skip_rule():
    space = get_space("digits")
    values = {gene.name: gene.choices[0] for gene in space.genes} | {"up0.num_blocks": 3}
    assert not to_nni(space).contains(values)
    with pytest.raises(ValueError, match=r"up.num_blocks must be at most down.num_blocks \+ 1 = 2"):
        from_nni(space, values)


def test_nni_holds_the_skip_rule_only_where_the_level_is():
    space = get_space("mobile-sd")
    values = {gene.name: gene.choices[0] for gene in space.genes} | {"up3.num_blocks": 3}
    assert to_nni(space).contains(values | {"num_levels": 3})
    assert not to_nni(space).contains(values | {"num_levels": 4})


def test_a_sample_of_another_space_is_refused():
    with pytest.raises(ValueError, match="no gene 'level2.width'; did you mean"):
        from_nni(get_space("digits-small"), to_nni(get_space("digits")).default())
