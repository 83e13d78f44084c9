"""Networks for tests that ask nothing of their architecture: what compiles soonest."""

from search_space import Architecture, Level, Stage

TINY = Architecture((Level(1, Stage(1), Stage(1)),)).canonical()
