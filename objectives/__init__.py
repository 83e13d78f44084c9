"""What is good? Training losses, quality measures, costs, rank correlation and the Pareto front.

Public here: `Estimate`, a number with its interval, and `Objective`, what a number means and which way is better. Both
are light. Everything else is imported from its own module, so that no reader pays for a library it does not need.
"""

from objectives.estimate import Estimate
from objectives.objective import Objective, as_minimized, get_objective

__all__ = ["Estimate", "Objective", "as_minimized", "get_objective"]
