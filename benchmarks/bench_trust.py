"""How far is the ranking of the shipped sweep to be trusted? `quality trust` at its full length, after `make sweep`.

What was trained alone is kept in `measurements/trust_digits/`, and goes on from there on any machine where the same sweep
has trained the same classifier.
"""

import argparse
from pathlib import Path

from kept import keep, put_back
from record import show, write_result
from refusing import refusing

from experiments.progress import terminal_progress
from experiments.run_folder import read_run
from experiments.trust import measure_trust

RUN, NUM, NUM_SAMPLES = Path("runs/digits"), 24, 1000
KEPT = Path(__file__).parent / "measurements" / "trust_digits"


def main() -> None:
    """Trains what is not trained yet, and writes every rank correlation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each architecture")
    given = parser.parse_args()
    folder = RUN / "trust"
    with refusing("trust"), terminal_progress() as progress:
        read_run(RUN)  # it refuses before anything is put where a sweep is to be
        put_back(KEPT, folder=folder)
        found = measure_trust(RUN, num=NUM, num_seeds=given.seeds, num_steps=None, num_samples=NUM_SAMPLES, progress=progress)
    keep(sorted(folder.glob("*/*.json")), folder=folder, kept=KEPT)
    taus = {**found.tau, **{f"{name}_equal_macs": tau for name, tau in found.tau_equal_cost.items()}}
    taus["one_seed_with_the_other"] = found.between_seeds
    numbers = {name: {**tau.model_dump(), "unit": "tau"} for name, tau in taus.items() if tau is not None}
    path = write_result(
        "trust_digits",
        shows="Kendall's tau of what the shipped sweep `digits` ranks by, and of what costs nothing, with the Frechet distance "
        f"of {NUM_SAMPLES} samples of {found.num} architectures trained alone for {found.num_steps} steps with "
        f"{found.num_seeds} seed(s): over all pairs, and over the {found.num_pairs} within 1.5 times each other's MACs.",
        command=f"python benchmarks/bench_trust.py --seeds {found.num_seeds}",
        numbers=numbers,
    )
    show(path, numbers)


if __name__ == "__main__":
    main()
