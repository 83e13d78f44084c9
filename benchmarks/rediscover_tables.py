"""What the stages of `rediscover.py` found, as numbers with their intervals; made of the kept files alone."""

import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from bench_latency import WIDE
from judged_losses import read_lines, read_rows
from record import estimated, exact, show, single, write_result
from rediscover_found import (
    ABLATED,
    COMPARED,
    COST,
    CROSSED,
    FIRST,
    IN_BAND,
    MEASUREMENTS,
    NUM_RANDOM,
    PHONE,
    QUALITY,
    TIMED,
    TRAINED,
    WINNER,
    Found,
    ranked_at,
)

from experiments.errors import InputError
from experiments.evaluation import Evaluation, evaluated
from experiments.front import front_of
from experiments.json_files import read_json
from experiments.rediscovery.counterparts import ratio
from experiments.rediscovery.enrichment import Enrichment, enrichments
from experiments.rediscovery.position import halves, hypervolumes, middle
from experiments.rediscovery.traits import TRAITS, transformers
from experiments.run_folder import read_run
from experiments.trust import tau_at_equal_macs
from experiments.trust_record import TrustRecord, read_trust
from latency_models.measurements import MeasurementSet
from objectives.denoising import mean_estimate
from objectives.front import non_dominated, non_dominated_ranks
from objectives.rank import kendall_tau
from search_space import Architecture, get_scale, layer_plan

BEST_PART = 8  # the best eighth of the random designs of the band of MACs
LEAST_RANKED = 6  # designs, for a rank correlation
NUM_LEVELS = 3  # of MobileDiffusion's UNet
EARLY = 200  # evaluations, at which fronts are compared, too
LATENCIES = (300, 700, 1000)  # ms, within which each seed's best loss is told


def write_table(found: Found, folder: Path) -> Path:
    """Writes `rediscover.json` and prints it.

    Raises:
        InputError: another design has become the winner since it was timed or trained.
    """
    numbers = trust(read_trust(read_run(found.folder / "base"))) | evidence(found) | standing(found) | agreement(found)
    numbers |= stages_of_fronts(found) | best_in_band(found) | scales(found) | ablation(found) | trained_on(found)
    for name, numbers_of in ((TIMED, timed), (TRAINED, trained)):
        if record := read_json(found.folder / name):
            check_winners(found, name, record)
            numbers |= numbers_of(record)
    config, seeds = found.config, len(found.runs["search"])
    path = write_result(
        "rediscover",
        shows=f"Fronts of {config.trials} evaluations in space {config.space}, quality judged at {config.proxy_scale}, "
        f"latency predicted at {config.deploy_scale}; {seeds} seeds of the search. All that rests on a loss is as true as the "
        "rows `trust` say. Odds ratios: how much more often designs of the fronts have a trait of MobileDiffusion's than "
        f"{NUM_RANDOM} random ones (every gene uniform) in the same band, by Fisher's exact test, two-sided, p-values adjusted "
        "by Holm over the traits of a band, and in how many seeds' fronts their share is above the random designs'; of random "
        "designs of the band of MACs, the best eighth against the others. Published designs beside the fronts of all seeds, "
        "paired by image, on samples that the searches did not see. Predicted latencies have no interval: measured over "
        "predicted says how far off they are at full width. Ratios of the ablation: designs of the fronts given a trait that "
        "they lack, over the same designs without it; its intervals hold for this supernet.",
        command="python benchmarks/rediscover.py table",
        numbers=numbers,
        folder=folder,
    )
    show(path, numbers)
    return path


def evidence(found: Found) -> dict[str, Any]:
    """Enrichment of every trait in every band.

    Designs of one front are relatives, so that a test which takes each for a draw of its own is too sure: the share in each
    seed's front stands beside it, and in how many it is above that of random designs.
    """
    numbers: dict[str, Any] = {}
    for band, together, each in found.enriched:
        title, num = f"band of {band.title}", sum(map(len, band.fronts))
        numbers[f"{title}: designs of fronts"] = exact(len(band.distinct), "designs", n=num)
        for i, row in enumerate(together):
            by_seed = [list(rows[i].found) for rows in each if rows and rows[i].found[1]]
            usual = row.random[0] / row.random[1]
            above = {"seeds_above": sum(has / num > usual for has, num in by_seed), "seeds": len(by_seed)}
            told = {**odds(row), "front_by_seed": by_seed, **above, "mobilediffusion": row.trait.says}
            numbers[f"{title}: {row.trait.name}"] = told
    return numbers


def stages_of_fronts(found: Found) -> dict[str, Any]:
    """What stages of the fronts' designs with three levels are made of, band by band: shares, of those that have the stage.

    And what share of their transformer layers is at each level, on the mean of the designs that have any.
    """
    numbers = dict[str, Any]()
    for band in found.bands():
        designs = [architecture for architecture in band.distinct if len(architecture.levels) == NUM_LEVELS]
        stages = {
            f"{side}{i}": [getattr(x.levels[i], side) for x in designs] for side in ("down", "up") for i in range(NUM_LEVELS)
        }
        stages["mid"] = [x.mid for x in designs if x.mid]
        if layers := [of_design for of_design in map(layers_by_level, designs) if of_design.any()]:
            at_each = np.mean([of_design / of_design.sum() for of_design in layers], axis=0).tolist()
            title = f"band of {band.title}: transformer layers at the coarsest level"
            numbers[title] = {**exact(at_each[-1], "share", n=len(layers)), "by_level": at_each}
        for name, all_of in stages.items():
            if not (there := [stage for stage in all_of if stage.num_blocks]):
                continue
            deep = [stage for stage in there if stage.transformer_depth]
            shares = {
                "separable": share(stage.convolution == "separable" for stage in there),
                "cross_attention_alone": share(stage.attention == "cross" for stage in deep),
                "relu": share(stage.attention_function == "relu" for stage in deep),
            }
            title = f"band of {band.title}: {name} has transformers"
            numbers[title] = {**exact(len(deep) / len(there), "share", n=len(there)), "designs": len(designs), **shares}
    return numbers


def layers_by_level(architecture: Architecture) -> np.ndarray:
    """How many transformer layers each level has."""
    levels = [level for level, _, num in transformers(architecture) for _ in range(num)]
    return np.bincount(levels, minlength=NUM_LEVELS)


def extremes(values: np.ndarray | list[float]) -> dict[str, float]:
    """The least and the most of them, which stand beside a number."""
    return {"least": float(np.min(values)), "most": float(np.max(values))}


def share(found: Iterable[bool]) -> float | None:
    """How many are true, of all; None of none."""
    known = list(found)
    return sum(known) / len(known) if known else None


def odds(found: Enrichment) -> dict[str, Any]:
    """A row of the table; an end that is infinite is None."""
    value, low, high = (x if math.isfinite(x) else None for x in (found.odds_ratio, found.low, found.high))
    shares = {"front": list(found.found), "random": list(found.random)}
    tested = {"p_value": found.p_value, "adjusted": found.adjusted}
    return {"value": value, "unit": "odds ratio", "n": found.found[1], "low": low, "high": high, **shares, **tested}


def standing(found: Found) -> dict[str, Any]:
    """Each published design, those with cross-attention added, and the winners, beside the fronts of all seeds."""
    num_members, numbers = len(found.contenders), dict[str, Any]()
    crossed = {f"{name} with {CROSSED}": x for name, x in found.crossed.items() if x.digest in found.again}
    published = {name: found.judged_again(outcome) for name, outcome in {**found.published, **crossed}.items()}
    for name, outcome in published.items():
        placed = found.placed(outcome)
        numbers |= of_design(found, name, outcome)
        numbers[f"{name}_is_dominated"] = exact(int(placed.is_dominated), "1", n=num_members)
        if placed.cost_ratio is not None:
            numbers[f"{name}_latency_over_the_quickest_as_good"] = estimated(placed.cost_ratio, "1")
        if (lost := found.lost_to_fronts(outcome)) is not None:
            numbers[f"{name}_loss_over_the_best_as_quick"] = estimated(lost, "1")
    numbers["a_design_is_as_good_as_sd15"] = exact(int(FIRST in found.winners), "1", n=num_members)
    for winner, (_, best) in found.winners.items():
        numbers |= of_design(found, winner, found.judged_again(best))
        for name in COMPARED:
            own, other = (x.objectives[COST.name].value for x in (published[name], best))
            numbers[f"{name}_over_{winner}_{COST.name}"] = exact(own / other, "1", n=1)
            own, other = (found.phone(x.architecture)[COST.name].value for x in (published[name], best))
            numbers[f"{name}_over_{winner}_{COST.name}_on_{PHONE}"] = exact(own / other, "1", n=1)
            numbers[f"{name}_less_{winner}_{QUALITY.name}"] = estimated(found.loss_lost(published[name], best), "1")
    return numbers | chosen_by_halves(found) | full_width(found)


def trained_on(found: Found) -> dict[str, Any]:
    """Losses after the training of the search that trains before it judges, paired by image with Stable Diffusion 1.5's.

    And with the winner's; which of them no other dominates then; and how far the order after it is that of the supernet's own
    weights.
    """
    compared = {name: x for name, x in found.compared_trained.items() if x.digest in found.trained}
    known = {name: found.trained[x.digest] for name, x in compared.items()}
    numbers = {f"{name}_trained_on_{QUALITY.name}": estimated(mean_estimate(known[name]), "1") for name in known}
    for name, other in itertools.product(known, (COMPARED[0], WINNER)):
        if other in known and other != name:
            numbers[f"{name}_less_{other}_trained_on"] = estimated(mean_estimate(known[name] - known[other]), "1")
    if known:
        latencies = [x.objectives[COST.name].value for x in compared.values()]
        values = np.stack([[losses.mean() for losses in known.values()], latencies], axis=1)
        best = [name for name, is_best in zip(known, non_dominated(values), strict=True) if is_best]
        numbers["front_trained_on"] = {**exact(len(best), "designs", n=len(known)), "designs": best}
    both = [digest for digest in found.trained if digest in found.again]
    if len(both) >= LEAST_RANKED:
        inherited, after = (np.array([losses[x].mean() for x in both]) for losses in (found.again, found.trained))
        numbers["ranks as inherited and trained on"] = estimated(kendall_tau(inherited, after), "tau")
    return numbers


def chosen_by_halves(found: Found) -> dict[str, Any]:
    """The loss of Stable Diffusion 1.5 less the first winner's where one half of the samples chooses and the other judges."""
    known, differences = found.losses(found.published[COMPARED[0]]), list[float]()
    for choosing in halves(len(known)).astype(bool):
        if chosen := found.first_winner(choosing):
            differences.append(float((known - found.losses(chosen[1]))[~choosing].mean()))
    title = f"{COMPARED[0]}_less_{FIRST}_{QUALITY.name}, chosen by one half of the samples and judged by the other"
    return {title: estimated(middle(np.array(differences)), "1")} if differences else {}


def full_width(found: Found) -> dict[str, Any]:
    """Latencies of networks at full width that were measured and never fitted, published ones among them, over predictions."""
    measured = list(MeasurementSet.load(MEASUREMENTS / WIDE).measurements.values())
    predicted, *_ = found.predictor.predict([x.network for x in measured])
    ratios = [x.timing.ms / ms for x, ms in zip(measured, predicted, strict=True)]
    return {"full_width_measured_over_predicted": {**exact(float(np.median(ratios)), "1", n=len(ratios)), **extremes(ratios)}}


def of_design(found: Found, name: str, outcome: Evaluation) -> dict[str, Any]:
    """What one design is and costs."""
    plan = layer_plan(outcome.architecture, get_scale(found.config.deploy_scale))
    has = [trait.name for trait in TRAITS if trait.of(outcome.architecture)]
    return {
        f"{name}_traits": {**exact(len(has), "traits", n=len(TRAITS)), "has": has},
        f"{name}_parameters": exact(plan.parameters, "1", n=1),
        f"{name}_macs": exact(plan.macs, "1", n=1),
        f"{name}_peak_memory": estimated(found.costs(outcome.architecture)["peak_memory_bytes"], "bytes"),
        f"{name}_latency_on_{PHONE}": estimated(found.phone(outcome.architecture)["latency_ms"], "ms"),
        f"{name}_{QUALITY.name}": estimated(outcome.objectives[QUALITY.name], "1"),
        f"{name}_{COST.name}": exact(outcome.objectives[COST.name].value, COST.unit or "1", n=1),
    }


def agreement(found: Found) -> dict[str, Any]:
    """Hypervolume of each seed's front, after all evaluations and after few; by how much seeds and searchers differ."""
    numbers, box = dict[str, Any](), [run.front for run in found.runs["search"]]
    volumes = dict[str, np.ndarray]()
    for name, runs in found.runs.items():
        for num in (EARLY, found.config.trials) if runs else ():
            fronts = [front_of(run.with_status("done")[:num], (QUALITY, COST)) for run in runs]
            values = volumes[name] = np.array(hypervolumes(fronts, (QUALITY, COST), spanned_by=box))
            title = f"{name}_hypervolume_after_{num}"
            numbers |= {f"{title}_{seed}": exact(float(value), "1", n=1) for seed, value in enumerate(values)}
            if len(values) > 1 and values.any():  # a front that is not yet in the box has no volume
                numbers[f"{title}_spread"] = exact(float(np.ptp(values) / values.mean()), "1", n=len(values))
    if "snapfusion" in volumes:
        ahead = volumes["search"] - volumes["snapfusion"].mean()
        numbers["search_less_snapfusion_hypervolume"] = {**exact(float(ahead.mean()), "1", n=len(ahead)), **extremes(ahead)}
    slowest = [max(x.objectives[COST.name].value for x in front) for front in box]
    numbers["search_fronts_end"] = {**exact(float(np.median(slowest)), "ms", n=len(box)), "by_seed": slowest}
    for ms in LATENCIES:
        within = [[x.objectives[QUALITY.name].value for x in front if x.objectives[COST.name].value <= ms] for front in box]
        if all(within):
            best = [min(losses) for losses in within]
            numbers[f"search_loss_within_{ms}_ms"] = {**exact(float(np.median(best)), "1", n=len(box)), "by_seed": best}
    return numbers


def best_in_band(found: Found) -> dict[str, Any]:
    """Random designs of the band of MACs: the best of them against the others.

    By loss alone, as they cost about the same, and front after front of loss and latency. All are independent draws, as
    Fisher's test takes them to be. Nothing while there are too few for an eighth.
    """
    rows = list(read_rows(found.folder / IN_BAND).values())
    if len(rows) < BEST_PART:
        return {}
    designs = [Architecture.from_json(row["design"]) for row in rows]
    losses = np.array([row["loss"] for row in rows])
    of_both = non_dominated_ranks(np.stack([losses, found.costs.columns(designs)[COST.name]], axis=1))
    numbers = dict[str, Any]()
    for by, ranks in (("loss", losses), ("loss and latency", of_both)):
        is_best = ranks <= np.sort(ranks)[len(ranks) // BEST_PART - 1]
        best, others = ([designs[i] for i in np.flatnonzero(side)] for side in (is_best, ~is_best))
        for row in enrichments(best, others, TRAITS):
            numbers[f"best of random designs in the band of MACs by {by}: {row.trait.name}"] = odds(row)
    return numbers


def ablation(found: Found) -> dict[str, Any]:
    """What each trait does to designs that lack it, and transformers at the finest level to published designs."""
    numbers, record = dict[str, Any](), read_lines(found.folder / ABLATED)
    for name in (*(trait.name for trait in TRAITS), CROSSED):
        rows = [row for row in record if row["trait"] == name]
        if len(rows) < 2:
            continue
        pairs = [[Architecture.from_json(x) for x in row["designs"]] for row in rows]
        before, after = (found.costs.columns([pair[i] for pair in pairs])[COST.name] for i in (0, 1))
        losses = [[found.losses(pair[i]) for pair in pairs] for i in (0, 1)]
        changes = np.array([[x.mean() for x in side] for side in losses])
        for title, estimate, each in (
            ("loss", ratio(*losses), changes[1] / changes[0]),
            ("latency", ratio(before, after), after / before),
        ):
            numbers[f"given {name}: {title}"] = {**estimated(estimate, "ratio"), **extremes(each)}
        given = [evaluated(pair[1], {COST.name: float(ms)}) for pair, ms in zip(pairs, after, strict=True)]
        lost = [found.lost_to_fronts(x) for x in given]
        behind = [of is not None and of.low is not None and of.low > 0 for of in lost]
        numbers[f"given {name}: surely behind the fronts"] = exact(sum(behind), "designs", n=len(behind))
        numbers[f"given {name}: latency before"] = {**exact(float(np.median(before)), "ms", n=len(rows)), **extremes(before)}
    return numbers


def scales(found: Found) -> dict[str, Any]:
    """How well ranks at the search's proxy scale agree with those at others; nothing while few designs are known at both."""
    own, numbers = found.config.proxy_scale, dict[str, Any]()
    here = read_rows(found.folder / ranked_at(own))
    for path in sorted(found.folder.glob(ranked_at("*"))):
        there, scale = read_rows(path), path.stem.removeprefix("scales-")
        both = [digest for digest in here if digest in there]
        if scale == own or len(both) < LEAST_RANKED:
            continue
        one, other = (np.array([rows[digest]["loss"] for digest in both]) for rows in (here, there))
        architectures = [Architecture.from_json(here[digest]["design"]) for digest in both]
        macs = np.asarray(found.costs.columns(architectures)["macs"], np.float64)
        title = f"ranks at {own} and {scale}"
        numbers[title] = estimated(kendall_tau(one, other), "tau")
        if of_equal := tau_at_equal_macs(one, other, macs):
            numbers[f"{title}, equal MACs"] = estimated(of_equal, "tau")
    return numbers


def trust(record: TrustRecord | None) -> dict[str, Any]:
    """How well the search's ranking agrees with training alone; one row without a value while that is not measured."""
    if record is None:
        return {"trust": {"value": None, "unit": "tau", "n": 0, "low": None, "high": None}}
    taus = {"trust, one seed of training alone with another": record.between_seeds}
    for title, of_scores in (("all pairs", record.tau), ("equal MACs", record.tau_equal_cost)):
        taus |= {f"trust, {title}: {name}": tau for name, tau in of_scores.items()}
    return {name: single(tau.model_dump(), "tau") for name, tau in taus.items() if tau is not None}


def trained(record: dict[str, Any]) -> dict[str, Any]:
    """The winner and published designs, as many as there are yet, after the same training.

    Distances and agreements are comparable where one classifier has judged; None is one that was not kept.
    """
    numbers = dict[str, Any]()
    for name, row in record.items():
        for steps, qualities in row["quality"].items():
            numbers |= {f"{name}_{steps}_{key}": single(value) for key, value in qualities.items()}
            numbers[f"{name}_{steps}_frechet_classifier"]["classifier"] = row["judged_by"]
        numbers[f"{name}_exported"] = exact(row["exported_bytes"], "bytes", n=1)
    return numbers


def timed(record: dict[str, Any]) -> dict[str, Any]:
    """Their latencies measured at full width, beside predictions."""
    numbers = dict[str, Any]()
    for name, row in record.items():
        predicted, measured = row["predicted_latency_ms"], row["measured_latency_ms"]
        over = {key: x / predicted["value"] for key, x in measured.items() if key != "n"}
        numbers[f"{name}_measured_latency"] = {**single(measured, "ms"), "cpu": row["cpu"]}
        numbers[f"{name}_latency_predicted_there"] = single(predicted, "ms")
        numbers[f"{name}_measured_over_predicted"] = single(over)
    return numbers


def check_winners(found: Found, file: str, record: dict[str, Any]) -> None:
    """Raises InputError where a file is about an earlier winner."""
    for name in record.keys() & {WINNER, FIRST}:
        design, (_, chosen) = Architecture.from_json(record[name]["design"]), found.winners.get(name, (None, None))
        if chosen is None or chosen.digest != design.digest:
            raise InputError(f"{found.folder / file}: design {design.digest} is no longer the {name}; run its stage again")
