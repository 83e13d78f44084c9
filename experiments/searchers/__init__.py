"""What to evaluate next: searches behind one ask and tell, restored by replaying a ledger.

`get_searcher` builds one by name (`searcher_names`); `Searcher` is what the sweep sees, and with `suggest` and `observe` what
any other program may use; `replay` brings a fresh one to
where a ledger ends. A new idea is a `Proposer` of a `SearchProblem`, one file here, and a line in `registry`; the contract
test then covers it.
pymoo, optuna and nni are imported by the search that needs them, when it is built.
"""

from experiments.searchers.proposer import Proposer
from experiments.searchers.registry import get_searcher, searcher_names
from experiments.searchers.searcher import Searcher, SpaceExhaustedError, replay

__all__ = ["Proposer", "Searcher", "SpaceExhaustedError", "get_searcher", "replay", "searcher_names"]
