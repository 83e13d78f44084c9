"""What may be chosen: architectures as values, scales, layer plans, search spaces, and how to sample and vary them."""

from search_space.architecture import Architecture, Level, Stage
from search_space.operations import Operation
from search_space.picture import picture
from search_space.plan import BlockPlan, LayerPlan, layer_plan
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
    "Scale",
    "SearchSpace",
    "Stage",
    "get_scale",
    "get_space",
    "layer_plan",
    "picture",
    "scale_names",
    "space_names",
]
