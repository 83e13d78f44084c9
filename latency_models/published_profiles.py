"""What was published of latencies on devices that are not at hand: the figures, and for whom.

As with published designs, a figure is `verified` where we have read it in the source named, and `remembered` where it is
from memory: such a figure is shown, never a threshold and never an anchor.
"""

import dataclasses
import difflib
from typing import Literal

DeviceKind = Literal["phone", "tablet", "computer", "board"]
Unit = Literal["ms", "s", "iterations/s"]
_MS: dict[Unit, float] = {"ms": 1.0, "s": 1000.0}
NOT_STATED = "not stated"


@dataclasses.dataclass(frozen=True)
class PublishedLatency:
    """One figure, brought to one call of the network: a pass of `batch` inputs.

    Attributes:
      device: The phone, or the chip where no phone is named.
      kind: What kind of device that is.
      network: How the source calls it.
      design: Which of our published designs it is; None where it is none.
      resolution: Of the image, in pixels; None where that is not stated.
      batch: Inputs of the call; guidance doubles it: 2 is a guided step in one call. None where that is not stated.
      runtime: What ran it.
      precision: Of weights and activations.
      compute_unit: CPU, GPU or NPU ("CPU and NE": Apple's neural engine).
      value: What the source states, in `unit`.
      unit: Milliseconds or seconds of a call, or of `steps` calls together; or calls in a second.
      steps: Number of calls that `value` is the total of; None where it is about one.
      mark: How far it is known.
      source: Who says so.
      date: When, as far as the source tells.
      is_upper_bound: Whether more than the network is in it, or the source says "less than".
      note: What else is to be known.
    """

    device: str
    kind: DeviceKind
    network: str
    design: str | None
    resolution: int | None
    batch: int | None
    runtime: str
    precision: str
    compute_unit: str
    value: float
    unit: Unit
    steps: int | None
    mark: Literal["verified", "remembered"]
    source: str
    date: str
    is_upper_bound: bool = False
    note: str = ""

    @property
    def ms(self) -> float:
        """Milliseconds of one call."""
        if self.unit == "iterations/s":
            return 1000.0 / self.value
        return self.value * _MS[self.unit] / (self.steps or 1)

    @property
    def derivation(self) -> str:
        """How `ms` follows from what the source states; empty where it is stated.

        >>> published_figures("Galaxy S23 Ultra")[0].derivation
        '11.5 s / 20 steps'
        """
        if self.unit == "iterations/s":
            return f"1 / ({self.value:g} iterations/s)"
        if self.steps is not None:
            return f"{self.value:g} {self.unit} / {self.steps} steps"
        return "" if self.unit == "ms" else f"{self.value:g} {self.unit}"


def published_figures(device: str | None = None) -> tuple[PublishedLatency, ...]:
    """The figures of a device, or all of them.

    >>> [round(figure.ms, 1) for figure in published_figures("Galaxy S24")]
    [79.1, 69.7, 59.5]

    Raises:
      ValueError: Nothing was published of this device; the message lists those there are, and the nearest.
    """
    # The data are made of this module's class.
    from latency_models.published_figures import FIGURES

    if device is None:
        return FIGURES
    names = list(dict.fromkeys(figure.device for figure in FIGURES))
    if device not in names:
        nearest = difflib.get_close_matches(device, names, n=1, cutoff=0)[0]
        raise ValueError(f"no figure of {device!r} is known; there are {', '.join(names)}; did you mean {nearest!r}?")
    return tuple(figure for figure in FIGURES if figure.device == device)
