"""What is to be expected of a bundle: counts and denoising loss, measured; its model card; and holding it to both."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.bundle import EXPECTED_SCHEMA, Bundle, apply_network, check_has_data, read_bundle, read_expected
from experiments.data.splits import ALL
from experiments.denoising_task import all_examples, load_examples, open_examples
from experiments.errors import InputError
from experiments.quality import loss_estimate, loss_program
from objectives import Estimate
from objectives.denoising import mid_band_times
from objectives.fingerprint import fingerprint
from search_space import picture

_LOSS_SAMPLES = 600
# Other machines round differently; float32 sums over a few million products agree far better than this.
_LOSS_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Check:
    """One promise of a bundle and whether it is kept."""

    name: str
    expected: float
    found: float
    tolerance: float

    @property
    def is_kept(self) -> bool:
        """Whether what was found is within the relative tolerance."""
        return abs(self.found - self.expected) <= self.tolerance * abs(self.expected)

    def __str__(self) -> str:
        """One line for people."""
        verdict = "kept" if self.is_kept else "NOT KEPT"
        return f"{verdict:8}  {self.name}: expected {self.expected:.6g} to {self.tolerance:.0e}, found {self.found:.6g}"


def expectations(bundle: Bundle) -> dict[str, Any]:
    """What `expected.json` holds: each promise with value and tolerance, and how the loss was measured.

    A bundle without data promises its counts alone.
    """
    plan = bundle.plan
    promises: dict[str, Any] = {
        "parameters": {"value": plan.parameters, "tolerance": 0.0},
        "macs": {"value": plan.macs, "tolerance": 0.0},
    }
    expected = {"schema": EXPECTED_SCHEMA, "digest": bundle.architecture.digest, "promises": promises}
    if bundle.settings.data is None:
        return expected
    split = promise_split(bundle)
    loss = bundle_loss(bundle, split=split)
    promises["denoising_loss"] = {
        "value": loss.value, "low": loss.low, "high": loss.high, "n": loss.n, "split": split, "tolerance": _LOSS_TOLERANCE,
    }  # fmt: skip
    return {**expected, "fingerprint": _loss_fingerprint(bundle, split)}


def promise_split(bundle: Bundle) -> str:
    """The split on which the loss is promised: test, on which nothing was chosen; validation where the data has no test."""
    info = open_examples(bundle.data, bundle.task.scale, split=ALL).info
    return "test" if info.split_sizes.get("test") else "validation"


def bundle_loss(bundle: Bundle, *, split: str) -> Estimate:
    """The denoising loss at medium noise on a split of the bundle's data set."""
    task, network = bundle.task, bundle.network()
    images, prompts = all_examples(load_examples(bundle.data, task.scale, split=split), task.scale)

    def apply(parameters: Any, x: Any, timestep: Any, context: Any) -> Any:
        return apply_network(network, parameters, x, timestep, context)

    losses = loss_program(task, apply, images, prompts, times=mid_band_times(_LOSS_SAMPLES))(bundle.parameters)
    return loss_estimate(losses, num_images=len(images))


def verify_bundle(path: Path) -> list[Check]:
    """Measures what a bundle promises anew.

    Raises:
        InputError: the bundle is damaged, or its promises were measured in another way than here.
    """
    bundle, expected = read_bundle(path), read_expected(path)
    promises = expected["promises"]
    split = None
    if "denoising_loss" in promises:
        check_has_data(path)
        split = promise_split(bundle)
    is_measured_so = split is None or expected.get("fingerprint") == _loss_fingerprint(bundle, split)
    if expected.get("digest") != bundle.architecture.digest or not is_measured_so:
        raise InputError(
            f"{path / 'expected.json'}: it was written for another architecture or measured in another way; "
            "make the bundle anew"
        )
    found: dict[str, float] = {"parameters": bundle.plan.parameters, "macs": bundle.plan.macs}
    if split is not None:
        found["denoising_loss"] = bundle_loss(bundle, split=split).value
    return [Check(name, promises[name]["value"], float(value), promises[name]["tolerance"]) for name, value in found.items()]


def model_card(bundle: Bundle, expected: dict[str, Any]) -> str:
    """The bundle's README: what it is, what it costs, how well it denoises, how to use it."""
    settings, plan = bundle.settings, bundle.plan
    loss = expected["promises"].get("denoising_loss")
    loss_row = (
        f"| denoising loss at medium noise, {loss['split']} split | "
        f"{loss['value']:.5f} ({loss['low']:.5f} to {loss['high']:.5f}, n = {loss['n']}) |\n"
        if loss
        else ""
    )
    return f"""# UNet {bundle.architecture.digest}

A diffusion UNet, bundled by PocketUNet; {settings.origin}.

```
{picture(bundle.architecture, plan.scale)}
```

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


def _loss_fingerprint(bundle: Bundle, split: str) -> str:
    settings = bundle.settings
    return fingerprint(
        measure="denoising loss at medium noise", n=_LOSS_SAMPLES, split=split, data=settings.data,
        schedule=settings.schedule, parameterisation=settings.parameterisation,
    )  # fmt: skip
