"""What is good? Training losses, quality measures, costs, rank correlation and the Pareto front.

Public here: `Estimate`, a number with its interval, and `Objective`, what a number means and which way is better. Both
are light. Everything else is imported from its own module, so that no reader pays for a library it does not need:
`objectives.denoising`, `objectives.distillation` and `objectives.step_distillation` (training losses),
`objectives.features`, `objectives.frechet` and `objectives.mmd` (quality of samples), `objectives.cost` (parameters,
MACs, memory), `objectives.rank` (correlation of two rankings), `objectives.front` (Pareto front, hypervolume, knee),
`objectives.fingerprint` (how a number was measured).
"""

from objectives.estimate import Estimate
from objectives.objective import Objective, as_minimized, get_objective

__all__ = ["Estimate", "Objective", "as_minimized", "get_objective"]
