"""What is to be expected of a bundle: counts and denoising loss, measured; its model card; and holding it to both."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bundle import (
    EXPECTED_SCHEMA,
    WEIGHTS,
    WEIGHTS_DIGEST,
    Bundle,
    apply_network,
    check_has_data,
    file_sha256,
    read_bundle,
    read_expected,
)
from experiments.data.loading import from_anywhere
from experiments.data.splits import ALL
from experiments.denoising_task import all_examples, open_examples
from experiments.errors import InputError
from experiments.quality import loss_estimate, loss_program, mixed
from objectives import Estimate
from objectives.denoising import mid_band_times
from objectives.fingerprint import fingerprint
from search_space import picture
from supernet import load_unet
from supernet.training import COMPILER_OPTIONS

_LOSS_SAMPLES = 600
_FEWEST_IMAGES = 2  # or there is no interval
# Other machines round differently; float32 sums over a few million products agree far better than this.
_LOSS_TOLERANCE = 1e-3
_PREDICTION_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Check:
    """One promise of a bundle and whether it is kept."""

    name: str
    expected: float | str
    found: float | str
    tolerance: float = 0.0

    @property
    def is_kept(self) -> bool:
        """Whether what was found is within the relative tolerance; a text must be the same."""
        if isinstance(self.expected, str) or isinstance(self.found, str):
            return self.expected == self.found
        return abs(self.found - self.expected) <= self.tolerance * abs(self.expected)

    def __str__(self) -> str:
        """One line for people."""
        verdict = "kept" if self.is_kept else "NOT KEPT"
        if isinstance(self.expected, str) or isinstance(self.found, str):
            return f"{verdict:8}  {self.name}: expected {self.expected:.16}, found {self.found:.16}"
        return f"{verdict:8}  {self.name}: expected {self.expected:.6g} to {self.tolerance:.0e}, found {self.found:.6g}"


def expectations(bundle: Bundle, *, runs: bool = True) -> dict[str, Any]:
    """What `expected.json` holds: each promise with value and tolerance, and how the loss was measured.

    Args:
        bundle: without data it promises no loss.
        runs: whether the network is run; counts alone are promised otherwise.
    """
    plan = bundle.plan
    promises: dict[str, Any] = {
        "parameters": {"value": plan.parameters, "tolerance": 0.0},
        "macs": {"value": plan.macs, "tolerance": 0.0},
    }
    expected = {"schema": EXPECTED_SCHEMA, "digest": bundle.architecture.digest, "promises": promises}
    if not runs:
        return expected
    promises["prediction"] = {"value": seeded_prediction(bundle), "tolerance": _PREDICTION_TOLERANCE}
    if bundle.settings.data is None:
        return expected
    split = promise_split(bundle)
    loss = bundle_loss(bundle, split=split)
    promises["denoising_loss"] = {
        "value": loss.value, "low": loss.low, "high": loss.high, "n": loss.n, "split": split, "tolerance": _LOSS_TOLERANCE,
    }  # fmt: skip
    return {**expected, "fingerprint": _loss_fingerprints(bundle, split)[0]}


def seeded_prediction(bundle: Bundle) -> float:
    """What the network does with seeded inputs, as one number: how strong each stage's stream is, and what it predicts.

    The sum of root mean squares: of each stage's output, and of the prediction less a seeded image. Two noisy images at two
    time steps, with random contexts: it needs no data. A network whose output layer is still zero predicts nothing, so that
    only its stages tell.
    """
    scale, rng = bundle.task.scale, np.random.default_rng(0)
    image = rng.standard_normal((2, scale.resolution, scale.resolution, scale.in_channels), np.float32)
    context = rng.standard_normal((2, scale.context_length, scale.context_width), np.float32)
    subtracted = rng.standard_normal((2, scale.resolution, scale.resolution, scale.out_channels), np.float32)
    network, inputs = bundle.network(), (jnp.asarray(image), jnp.array([200.0, 800.0]), jnp.asarray(context))

    def respond(parameters: Any) -> Any:
        prediction, streams = load_unet(network, parameters).features(*inputs)
        return [jnp.sqrt(jnp.mean(x**2)) for x in (prediction - subtracted, *streams.values())]

    with jax.default_matmul_precision("highest"):
        return float(sum(jax.jit(respond, compiler_options=COMPILER_OPTIONS)(bundle.parameters["network"])))


def promise_split(bundle: Bundle) -> str:
    """The split on which the loss is promised: test, on which nothing was chosen; where it is too small, the next."""
    sizes = open_examples(bundle.data, bundle.task.scale, split=ALL).info.split_sizes
    return next((split for split in ("test", "validation") if sizes.get(split, 0) >= _FEWEST_IMAGES), "train")


def bundle_loss(bundle: Bundle, *, split: str) -> Estimate:
    """The denoising loss at medium noise on a split of the bundle's data set."""
    task, network = bundle.task, bundle.network()
    dataset = open_examples(bundle.data, task.scale, split=split)
    rows = mixed(len(dataset))[:_LOSS_SAMPLES]
    seen = np.empty_like(rows)
    seen[mixed(len(rows))] = rows  # `loss_program` mixes, too: sample i is the i-th of these rows
    images, prompts = all_examples(dataset.at(seen), task.scale)

    def apply(parameters: Any, x: Any, timestep: Any, context: Any) -> Any:
        return apply_network(network, parameters, x, timestep, context)

    with jax.default_matmul_precision("highest"):  # accelerators multiply float32 in fewer bits by default
        losses = loss_program(task, apply, images, prompts, times=mid_band_times(_LOSS_SAMPLES))(bundle.parameters)
    return loss_estimate(losses, num_images=len(images))


def verify_bundle(path: Path) -> list[Check]:
    """Measures what a bundle promises anew.

    Raises:
        InputError: the bundle is damaged, or its promises were measured in another way than here.
    """
    bundle, expected = read_bundle(path, as_written=False), read_expected(path)
    promises = expected["promises"]
    split = None
    if "denoising_loss" in promises:
        check_has_data(path)
        split = promise_split(bundle)
    is_measured_so = split is None or expected.get("fingerprint") in _loss_fingerprints(bundle, split)
    if expected.get("digest") != bundle.architecture.digest or not is_measured_so:
        raise InputError(
            f"{path / 'expected.json'}: it was written for another architecture or measured in another way; "
            "make the bundle anew"
        )
    found: dict[str, float] = {"parameters": bundle.plan.parameters, "macs": bundle.plan.macs}
    if "prediction" in promises:
        found["prediction"] = seeded_prediction(bundle)
    if split is not None:
        found["denoising_loss"] = bundle_loss(bundle, split=split).value
    checks = [Check(name, promises[name]["value"], float(value), promises[name]["tolerance"]) for name, value in found.items()]
    if WEIGHTS_DIGEST in expected:  # a bundle of before it was promised has none
        checks.append(Check(WEIGHTS_DIGEST, str(expected[WEIGHTS_DIGEST]), file_sha256(path / WEIGHTS)))
    return checks


def model_card(bundle: Bundle, expected: dict[str, Any], *, samples: str | None = None) -> str:
    """The bundle's README: what it is, what it costs, how well it denoises, how to use it.

    Args:
        bundle: what it describes.
        expected: what the bundle promises.
        samples: a picture of what it draws, from the bundle's folder on.
    """
    settings, plan = bundle.settings, bundle.plan
    loss = expected["promises"].get("denoising_loss")
    loss_row = (
        f"| denoising loss at medium noise, {loss['split']} split | "
        f"{loss['value']:.5f} ({loss['low']:.5f} to {loss['high']:.5f}, n = {loss['n']}) |\n"
        if loss
        else ""
    )
    shown = f"\n![Samples]({samples})\n" if samples else ""
    return f"""# UNet {bundle.architecture.digest}

A diffusion UNet, bundled by PocketUNet; {settings.origin}.

```
{picture(bundle.architecture, plan.scale)}
```
{shown}
| | |
|---|---|
| parameters | {plan.parameters:,} |
| multiply-accumulates of one forward pass, attention included | {plan.macs:,} |
| input | {plan.scale.resolution}x{plan.scale.resolution}x{plan.scale.in_channels} |
| data set | {settings.data or "none; set `data` in training.yaml"} |
| predicts | {settings.parameterisation}, {settings.schedule} schedule |
{loss_row}
    pocketunet verify DIR     # holds the files to expected.json
    pocketunet train DIR      # trains further, as training.yaml says
    pocketunet distill DIR    # learns from teacher/, where there is one
    pocketunet sample DIR     # draws images
    pocketunet export DIR     # writes it for a device: --format litert, onnx, ...
"""


def _loss_fingerprints(bundle: Bundle, split: str) -> tuple[str, str]:
    """How the loss is measured, and how bundles of before say it: with the path of a folder, which may be moved."""
    settings, data = bundle.settings, bundle.data
    measured = functools.partial(
        fingerprint, measure="denoising loss at medium noise", n=_LOSS_SAMPLES, split=split,
        schedule=settings.schedule, parameterisation=settings.parameterisation,
    )  # fmt: skip
    return measured(data="files" if Path(from_anywhere(data)).is_absolute() else data), measured(data=data)
