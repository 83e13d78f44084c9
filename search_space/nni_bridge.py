"""The bridge to `nni.mutable`: a search space as an NNI space, and NNI's frozen samples as architectures.

NNI is imported only when the bridge is used. One gene is one `Categorical` labelled with the gene's name; the skip rule goes
along as expression constraints, so that NNI itself refuses samples that break it.
"""

import os
from collections.abc import Mapping
from typing import Any

from search_space.architecture import Architecture
from search_space.space import SearchSpace


def to_nni(space: SearchSpace) -> Any:
    """The space as an `nni.mutable.MutableDict`.

    Raises:
        ValueError: NNI is not installed here.
    """
    mutable = _nni_mutable()
    genes = {gene.name: mutable.Categorical(gene.choices, label=gene.name) for gene in space.genes}
    rules = {f"skip_rule{i}": _skip_rule(genes, i) for i in range(len(space.levels))}
    constraints = {name: mutable.ExpressionConstraint(rule, label=name) for name, rule in rules.items()}
    return mutable.MutableDict({**genes, **constraints})


def from_nni(space: SearchSpace, sample: Mapping[str, Any]) -> Architecture:
    """The architecture of a sample: what `freeze`, `random` or `default` of the NNI space return, or its labels' values.

    Raises:
        ValueError: a gene is missing or unknown, has a value that is none of its choices, or the skip rule is broken.
    """
    return space.from_values({name: value for name, value in sample.items() if not name.startswith("skip_rule")})


def _skip_rule(genes: Mapping[str, Any], level: int) -> Any:
    """NNI's expression of the skip rule, which binds a level only where the level is there."""
    rule = genes[f"up{level}.num_blocks"] <= genes[f"down{level}.num_blocks"] + 1
    return (genes["num_levels"] <= level) | rule if "num_levels" in genes else rule


def _nni_mutable() -> Any:
    os.environ.setdefault("NNI_FRAMEWORK", "none")  # else NNI looks for PyTorch
    try:
        from nni import mutable
    except ImportError as error:
        raise ValueError(
            f"the NNI bridge needs the package nni ({error}); install nni==3.0 where it has a wheel (not on arm64), "
            "or use a searcher that does without it"
        ) from None
    return mutable
