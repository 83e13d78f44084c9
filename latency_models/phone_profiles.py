"""Predictors of phones that nobody measured for us: a roofline whose one factor is anchored on published figures.

A kernel takes what the slower of arithmetic and memory takes (Williams et al. 2009), and a start of its own. How fast both
are to each other is a generic unit's; one factor, common to all, is the geometric mean of what the anchors ask for. Every
choice but that factor is written below. The units' speeds were set first and kept, after a look at four other settings; that a
ControlNet's branch anchors nothing was decided when its figures were seen to be missed, and its misses are in the interval.
What such a profile is worth, published figures tell: each that can be derived from others of the same device is, and the
interval is as wide as these misses are.
"""

import dataclasses
import difflib
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cache

import numpy as np

from latency_models.fitting import COVERAGE
from latency_models.kernel_costs import KernelCosts, roofline_costs
from latency_models.kernel_options import OPTIONS, Execution, KernelOption, kernel_options
from latency_models.kernels import Kernel
from latency_models.predictor import HeldOut, Predictor
from latency_models.published_networks import distinct_kernels, figure_kernels, figure_macs, is_derivable, is_whole
from latency_models.published_profiles import PublishedLatency, published_figures
from latency_models.scores import conformal_margin, score
from search_space import scale_names

FIRST_SCALE = "sd15"  # where the anchors live; others are allowed, and flagged as outside


@dataclasses.dataclass(frozen=True)
class _Unit:
    """A generic compute unit of a phone: speeds that kernels reach, not those of data sheets; only their ratios matter."""

    macs_per_ms: float
    bytes_per_ms: float
    ms_per_kernel: float
    tile: int

    def costs(self, factor: float, known: Sequence[Kernel] = ()) -> KernelCosts:
        """Costs of a unit so many times slower."""
        return roofline_costs(
            known,
            ms_per_kernel=factor * self.ms_per_kernel,
            ms_per_mac=factor / self.macs_per_ms,
            ms_per_byte=factor / self.bytes_per_ms,
        )


_NPU = _Unit(5e9, 60e6, 0.002, tile=32)
_UNITS = {"NPU": _NPU, "CPU and NE": _NPU, "GPU": _Unit(1.25e9, 50e6, 0.008, tile=4)}
# Bits of activations and weights; 16 where a source does not say.
_BITS = {"w8a16": (16, 8), "6-bit weights": (16, 6), "4-bit weights": (16, 4)}
_COMPILED: frozenset[KernelOption] = frozenset({"fused_group_norm", "fused_gelu"})
# By runtime, the options that its figures were measured with, and how that is known.
_AS_PUBLISHED: dict[str, tuple[frozenset[KernelOption], str]] = {
    "QNN context binary": (
        _COMPILED,
        "read off its numbers of layers: SD 2.1 has 1,340 more than SD 1.5 for 134 heads more, ten a head, so that no "
        "attention is one kernel; the other 712 are about as many as the network's 615 other operations",
    ),
    "Core ML": (_COMPILED, "assumed as of Qualcomm's compiler; the source does not say"),
    "Adreno CLML": (_COMPILED, "assumed as of Qualcomm's compiler; the source does not say"),
    "GPU kernels of its own": (frozenset(OPTIONS), "the paper measured with all of them"),
}
# Phones that share a chip (from memory): figures of one anchor the other, where it has none that can.
_CHIPS = {
    "Galaxy S23 Ultra": "Snapdragon 8 Gen 2", "QCS8550": "Snapdragon 8 Gen 2",
    "Galaxy S24": "Snapdragon 8 Gen 3", "Snapdragon 8 Gen 3": "Snapdragon 8 Gen 3",
    "Galaxy S25": "Snapdragon 8 Elite", "Snapdragon 8 Elite": "Snapdragon 8 Elite",
    "iPhone 14 Pro": "A16", "iPhone 14 Pro Max": "A16",
    "iPhone 15 Pro": "A17 Pro", "iPhone 15 Pro Max": "A17 Pro",
}  # fmt: skip
_BOUND_MARGIN = math.log(2)  # whether guidance's second input is in a bound is not stated


def profile_names() -> tuple[str, ...]:
    """Phones that can be anchored: those with a figure that can, and those whose chip has one."""
    phones = {figure.device: figure for figure in published_figures() if figure.kind == "phone"}
    return tuple(device for device in phones if anchors(device))


def anchors(phone: str) -> tuple[PublishedLatency, ...]:
    """The figures that anchor a phone: its own, else those of its chip; of one runtime and unit, that with most figures.

    An anchor is verified, is about a whole UNet whose kernels can be derived, and names a GPU or NPU.
    """
    usable = [figure for figure in published_figures() if _is_anchor(figure)]
    own = [figure for figure in usable if figure.device == phone]
    chip = _CHIPS.get(phone)
    found = own or [figure for figure in usable if chip and _CHIPS.get(figure.device) == chip]
    return tuple(max(_by_conditions(found), key=len, default=()))


def phone_profile(phone: str, *, switch_on: Collection[str] = (), switch_off: Collection[str] = ()) -> Predictor:
    """A predictor that is anchored on published figures; nothing was measured.

    >>> phone_profile("Galaxy S24").fingerprint["device"]
    'Galaxy S24 (anchored on 2 published figures, not measured)'

    Args:
      phone: Its name, as `profile_names` lists it.
      switch_on: Kernel options to predict with, beyond those of the anchors.
      switch_off: Kernel options to predict without.

    Raises:
      ValueError: There is no such phone or option, or one is to be on and off.
    """
    on, off = kernel_options(switch_on), kernel_options(switch_off)
    if both := sorted(on & off):
        raise ValueError(f"kernel option {both[0]!r} is to be on and off; give it once")
    found = anchors(phone)
    if not found:
        names = profile_names()
        nearest = difflib.get_close_matches(phone, names, n=1, cutoff=0)[0]
        raise ValueError(
            f"no published figure anchors {phone!r}; profiles there are of {', '.join(names)}; did you mean {nearest!r}?"
        )
    published = _execution(found[0])
    execution = dataclasses.replace(published, options=(published.options | on) - off)
    held_out = held_out_figures()
    predicted, stated = np.array([ms for _, ms in held_out]), np.array([figure.ms for figure, _ in held_out])
    margin = conformal_margin(predicted, stated, coverage=COVERAGE)
    macs = [figure_macs(figure) for figure, _ in held_out]
    return Predictor(
        costs=_UNITS[found[0].compute_unit].costs(_factor(found), _known_kernels(execution)),
        log_margin=margin + (_BOUND_MARGIN if any(figure.is_upper_bound for figure in found) else 0.0),
        coverage=COVERAGE,
        held_out=HeldOut(score(predicted, stated), float(stated.min()), float(stated.max()), None),
        scales=(FIRST_SCALE, *(name for name in scale_names() if name != FIRST_SCALE)),
        macs_range=(min(macs), max(macs)),
        fingerprint=_fingerprint(phone, found, execution, margin),
        execution=execution,
    )


@cache
def held_out_figures() -> tuple[tuple[PublishedLatency, float], ...]:
    """Published figures with what other figures of their device, runtime and unit make of them, in milliseconds.

    Whole UNets are predicted from the other UNets, a ControlNet's branch from all of them.
    """
    found = []
    for group in _by_conditions([figure for figure in published_figures() if _tells(figure)]):
        for figure in group:
            others = [other for other in group if other is not figure and is_whole(other)]
            if others and not any(one.is_upper_bound for one in (figure, *others)):
                found.append((figure, _prior_ms(figure) * _factor(others)))
    return tuple(found)


def figure_ms(predictor: Predictor, figure: PublishedLatency) -> float:
    """What a profile says of a published figure's call.

    Raises:
      ValueError: The figure's kernels are not known.
    """
    assert predictor.execution is not None
    return float(predictor.costs.networks_ms([figure_kernels(figure, predictor.execution)])[0])


def _fingerprint(phone: str, found: Sequence[PublishedLatency], execution: Execution, margin: float) -> dict[str, str]:
    """All that is known of a profile; the device's name itself says that nothing was measured."""
    first, is_bound = found[0], any(figure.is_upper_bound for figure in found)
    options, known_from = _AS_PUBLISHED[first.runtime]
    return {
        "device": f"{phone} ({_label(phone, found)})",
        "runtime": first.runtime,
        "precision": ", ".join(dict.fromkeys(figure.precision for figure in found)),
        "compute_unit": first.compute_unit,
        "anchors": "; ".join(
            f"{figure.network} at {figure.resolution} pixels, batch {figure.batch or 'not stated, taken as 1'}: "
            f"{'< ' * figure.is_upper_bound}{figure.ms:.1f} ms ({figure.source})"
            for figure in found
        ),
        "options": _named(execution.options),
        "options_of_anchors": f"{_named(options)} ({known_from})",
        "interval": f"published figures held out are off by a factor of at most {math.exp(margin):.2f} in "
        f"{COVERAGE:.0%} of {len(held_out_figures())} cases"
        + ("; twice that here, since a bound may hold guidance's second input" if is_bound else ""),
        "other_runtimes": _other_runtimes(phone, found) or "none published of its chip",
    }


def _label(phone: str, found: Sequence[PublishedLatency]) -> str:
    notes = [f"anchored on {len(found)} published figure{'s' * (len(found) > 1)}, not measured"]
    if bounds := sum(figure.is_upper_bound for figure in found):
        notes.append("an upper bound" if bounds == len(found) == 1 else f"{bounds} of them upper bounds")
    if found[0].device != phone:
        notes.append(f"of the {found[0].device}, which has its chip")
    return "; ".join(notes)


def _other_runtimes(phone: str, found: Sequence[PublishedLatency]) -> str:
    """How far apart Stable Diffusion 1.5 is under other runtimes on the phone's chip, for one input."""
    mine = next((_input_ms(figure) for figure in found if figure.design == "sd15"), None)
    chip = _CHIPS.get(phone)
    if mine is None or chip is None:
        return ""
    there = [figure for figure in published_figures() if _CHIPS.get(figure.device) == chip and figure.design == "sd15"]
    return "; ".join(
        f"{other.runtime} on {other.compute_unit}: {_input_ms(other):,.1f} ms an "
        f"input of {other.network}, against {'less than ' * found[0].is_upper_bound}{mine:,.1f}"
        for other in there
        if other.mark == "verified" and other.runtime != found[0].runtime
    )


def _input_ms(figure: PublishedLatency) -> float:
    return figure.ms / (figure.batch or 1)


def _named(options: Collection[str]) -> str:
    return ", ".join(name for name in OPTIONS if name in options) or "none"


def _is_anchor(figure: PublishedLatency) -> bool:
    return _tells(figure) and is_whole(figure)


def _tells(figure: PublishedLatency) -> bool:
    """Whether a figure says anything of a unit: it is verified, where it ran is known, and so are its kernels."""
    is_placed = figure.compute_unit in _UNITS and figure.runtime in _AS_PUBLISHED
    return figure.mark == "verified" and is_placed and is_derivable(figure)


def _by_conditions(figures: Sequence[PublishedLatency]) -> list[list[PublishedLatency]]:
    groups: dict[tuple[str, ...], list[PublishedLatency]] = defaultdict(list)
    for figure in figures:
        groups[figure.device, figure.runtime, figure.compute_unit].append(figure)
    return list(groups.values())


def _factor(found: Sequence[PublishedLatency]) -> float:
    """How many times slower than the generic unit: the geometric mean over figures."""
    return math.exp(sum(math.log(figure.ms / _prior_ms(figure)) for figure in found) / len(found))


@cache
def _prior_ms(figure: PublishedLatency) -> float:
    """What the generic unit takes for a figure's call, as it was published."""
    kernels = figure_kernels(figure, _execution(figure))
    return float(_UNITS[figure.compute_unit].costs(1.0).networks_ms([kernels])[0])


@cache
def _known_kernels(execution: Execution) -> tuple[Kernel, ...]:
    """The kernels of all networks of the figures that the interval rests on."""
    networks = {(figure.network, figure.resolution): figure for figure, _ in held_out_figures()}
    return tuple(distinct_kernels(networks.values(), execution))


def _execution(figure: PublishedLatency) -> Execution:
    """How a figure was measured, as far as that is known."""
    activation_bits, weight_bits = _BITS.get(figure.precision, (16, 16))
    return Execution(activation_bits, weight_bits, _UNITS[figure.compute_unit].tile, _AS_PUBLISHED[figure.runtime][0])
