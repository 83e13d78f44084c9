"""How far to trust what a search ranks by: against the same architectures trained alone.

Architectures are drawn at random from strata of cost, whatever the search has found. Each is trained from fresh weights, once
for every seed; the truth is the mean over seeds of the Fréchet distance of its samples. A score that only knows size ranks well
over all costs and not among networks of one size, so the rank correlation is told for both.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bundle import Bundle, apply_network
from experiments.config import SweepConfig, evaluation_settings, load_config, with_samples
from experiments.denoising_task import all_examples, load_examples
from experiments.errors import InputError
from experiments.evaluator import SupernetEvaluator, read_inputs, sample_settings
from experiments.handoff import training_settings
from experiments.limits import violations
from experiments.memory import drop_programs, use_compilation_cache
from experiments.progress import Progress
from experiments.quality import FeatureDistances, mixed, sample_program
from experiments.run_folder import read_json, read_run
from experiments.sample_features import labelled_images, sweep_classifier
from experiments.training import denoising_bundle_loss, fit_bundle
from experiments.trust_record import BASELINES, EQUAL_COST, FILE
from experiments.whole_files import write_whole
from objectives import Estimate, as_minimized, get_objective
from objectives.cost import counted_costs
from objectives.fingerprint import fingerprint
from objectives.rank import kendall_tau, kendall_tau_at_equal_cost
from search_space import Architecture, get_scale, get_space
from supernet import UNet, unet_parameters
from supernet.initializer import random_initializer

TRUTH = "frechet_classifier"
_DRAWS_PER_STRATUM = 50


@dataclasses.dataclass(frozen=True)
class TrustSettings:
    """How trust is measured: networks trained alone, seeds of each, steps of training, samples that judge each."""

    num: int
    num_seeds: int
    num_steps: int
    num_samples: int


def measure_trust(run_dir: Path, settings: TrustSettings, progress: Progress) -> dict[str, Any]:
    """Trains architectures alone and correlates; goes on where it was stopped.

    Args:
        run_dir: the folder of a run whose supernet is trained.
        settings: how much of everything.
        progress: where to report.

    Returns:
        What `trust/trust.json` of the run folder then holds: the architectures with their scores and truths, and Kendall's tau
        of every quality of the search, of the baselines, and between seeds.

    Raises:
        InputError: the data set has no labels, or the space has too few architectures within the limits.
        FileNotFoundError: the run folder has no trained supernet.
    """
    config = load_config(run_dir / "sweep.yaml")
    architectures = stratified(config, settings.num)
    inputs = read_inputs(run_dir)
    use_compilation_cache(run_dir)
    classifier = sweep_classifier(config, run_dir, progress)
    distances = FeatureDistances.to(labelled_images(config).images, classifier)
    scores = _scores(SupernetEvaluator(inputs), architectures, progress)
    drop_programs()
    judged = with_samples(config, settings.num_samples)
    name = fingerprint(
        **evaluation_settings(judged), distill=config.distill.model_dump(mode="json"), num_steps=settings.num_steps
    )
    folder = run_dir / "trust" / name
    folder.mkdir(parents=True, exist_ok=True)
    truths = np.empty((len(architectures), settings.num_seeds))
    with progress.stage("Training alone", truths.size) as stage:
        for place in np.ndindex(truths.shape):
            architecture, seed = architectures[place[0]], place[1]
            path = folder / f"{architecture.digest}-{seed}.json"
            if not path.is_file():
                truth = _stand_alone(judged, architecture, distances, steps=settings.num_steps, seed=seed, progress=progress)
                write_whole(path, f"{json.dumps(truth.to_json())}\n")
                drop_programs()
            truths[place] = Estimate.from_json(read_json(path)).value
            stage.advance(note=f"{TRUTH} {truths[place]:.4g}")
    columns = counted_costs(architectures, get_scale(config.deploy_scale))
    costs = {key: np.asarray(columns[key], np.float64) for key in BASELINES}
    record = {
        "search_fingerprint": read_run(run_dir).ledger.header.get("fingerprint"),
        "fingerprint": name,
        **dataclasses.asdict(settings),
        **correlations(scores, truths, costs),
        "architectures": [
            {
                "digest": architecture.digest,
                "architecture": architecture.to_json(),
                **{key: float(column[row]) for key, column in (*scores.items(), *costs.items())},
                TRUTH: truths[row].tolist(),
            }
            for row, architecture in enumerate(architectures)
        ],
    }
    write_whole(run_dir / FILE, f"{json.dumps(record, indent=1, allow_nan=False)}\n")
    return record


def stratified(config: SweepConfig, num: int) -> list[Architecture]:
    """One random architecture of each of so many strata of MACs at the deploy scale, the cheapest first.

    Raises:
        InputError: too few random architectures keep the limits that can be counted.
    """
    space, rng = get_space(config.space), np.random.default_rng([config.seed, 0x7257])
    drawn = list({x.digest: x for x in (space.sample(rng) for _ in range(_DRAWS_PER_STRATUM * num))}.values())
    columns = counted_costs(drawn, get_scale(config.deploy_scale))
    keeps = np.flatnonzero(np.zeros(len(drawn)) + violations(columns, config.limits) == 0)
    if len(keeps) < num:
        raise InputError(f"--n {num}: only {len(keeps)} of {len(drawn)} random architectures keep the limits; ask for fewer")
    order = keeps[np.argsort(columns["macs"][keeps], kind="stable")]
    return [drawn[rng.choice(stratum)] for stratum in np.array_split(order, num)]


def correlations(scores: Mapping[str, np.ndarray], truths: np.ndarray, costs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Kendall's tau with its interval, over all pairs and over those of about equal MACs.

    Args:
        scores: of qualities by objective name, one for each architecture.
        truths: [architectures, seeds], smaller is better.
        costs: by name, `macs` among them; the more the better is what they say of quality.

    Returns:
        `tau` and `tau_equal_cost` by score, baselines included; None where no pair is of equal cost. `ceiling` is the tau of
        the first two seeds, beyond which no score can be told from a better one; None with one seed.
    """
    truth = truths.mean(axis=1)
    signed = {name: as_minimized([get_objective(name)], score[:, None])[:, 0] for name, score in scores.items()}
    signed |= {name: -cost for name, cost in costs.items()}
    return {
        "tau": {name: kendall_tau(score, truth).to_json() for name, score in signed.items()},
        "tau_equal_cost": {name: _at_equal_cost(score, truth, costs["macs"]) for name, score in signed.items()},
        "ceiling": kendall_tau(truths[:, 0], truths[:, 1]).to_json() if truths.shape[1] > 1 else None,
    }


def _at_equal_cost(score: np.ndarray, truth: np.ndarray, macs: np.ndarray) -> dict[str, Any] | None:
    try:
        return kendall_tau_at_equal_cost(score, truth, cost=macs, ratio=EQUAL_COST).to_json()
    except ValueError:  # no two are of equal cost, or all that are have one score
        return None


def _scores(evaluator: SupernetEvaluator, architectures: Sequence[Architecture], progress: Progress) -> dict[str, np.ndarray]:
    with progress.stage("Scoring with the supernet's weights", len(architectures)) as stage:
        rows = []
        for architecture in architectures:
            rows.append({name: estimate.value for name, estimate in evaluator(architecture).items()})
            stage.advance()
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _stand_alone(
    config: SweepConfig, architecture: Architecture, distances: FeatureDistances, *, steps: int, seed: int, progress: Progress
) -> Estimate:
    """The Fréchet distance of a network that was trained from fresh weights, drawn as the sweep draws."""
    bundle = Bundle(architecture, training_settings(config, "fresh weights"), {})
    task, network = bundle.task, bundle.network()
    fresh = unet_parameters(UNet(bundle.plan, init=random_initializer(seed)))
    bundle = dataclasses.replace(bundle, parameters={"network": fresh, "prompt": task.prompt_parameters(seed)})
    title = f"Training {architecture.digest} alone, seed {seed}"
    trained, _ = fit_bundle(bundle, denoising_bundle_loss(bundle), steps=steps, seed=seed, title=title, progress=progress)

    def apply(parameters: Any, x: Any, timestep: Any, context: Any) -> Any:
        return apply_network(network, parameters, x, timestep, context)

    prompts = all_examples(load_examples(config.data, task.scale, split="validation"), task.scale)[1]
    draw = sample_program(task, apply, prompts[mixed(len(prompts))], sample_settings(config))
    return distances.measure(draw(trained.parameters), [TRUTH])[TRUTH]
