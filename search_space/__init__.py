"""What may be chosen: architectures as values, scales, layer plans, search spaces, and how to sample and vary them.

Beside what is public here, `search_space.counting` counts in batches and `search_space.nni_bridge` speaks with NNI.
"""

from search_space.architecture import Architecture, Level, Stage
from search_space.operations import Operation
from search_space.picture import picture
from search_space.plan import BlockPlan, LayerPlan, layer_plan
from search_space.published import PublishedDesign, design_names, get_design, is_design
from search_space.scale import Scale, get_scale, scale_names
from search_space.space import Gene, SearchSpace
from search_space.spaces import get_space, space_names

__all__ = [
    "Architecture",
    "BlockPlan",
    "Gene",
    "LayerPlan",
    "Level",
    "Operation",
    "PublishedDesign",
    "Scale",
    "SearchSpace",
    "Stage",
    "design_names",
    "get_design",
    "get_scale",
    "get_space",
    "is_design",
    "layer_plan",
    "picture",
    "scale_names",
    "space_names",
]
