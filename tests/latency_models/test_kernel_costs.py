"""Costs of kernels: learned from parts and from wholes, back to the counts far away, never below the roofline."""

import dataclasses

import numpy as np
import pytest
from known_machines import measured_on, other_machine, random_networks, tiled_machine, true_ms

from latency_models.device import KernelTime
from latency_models.fitting import observations
from latency_models.kernel_costs import KINDS, KernelCosts, Sum, fit_costs, observe
from latency_models.kernel_labels import label_kernels


@pytest.fixture(scope="module")
def networks():
    return random_networks(60)


@pytest.fixture(scope="module")
def costs(networks) -> KernelCosts:
    return _fit(networks[:20], profiled=True)


def _fit(networks, *, machine=tiled_machine, profiled=False, sources=()) -> KernelCosts:
    measured = measured_on(machine, networks, profiled=profiled)
    return fit_costs(observations(measured, measured.measurements.values()), sources=sources)


def _error(costs, networks, machine=tiled_machine) -> float:
    truth = np.array([true_ms(network, machine) for network in networks])
    return float(np.mean(np.abs(costs.networks_ms([network.kernels for network in networks]) / truth - 1)))


def test_profiles_of_few_networks_find_the_machine(costs, networks):
    assert _error(costs, networks[20:]) < 0.02
    kernels = [k for k in {k for n in networks[20:] for k in n.kernels} if k.macs > 1e6]
    found, truth = costs.ms(kernels), np.array([tiled_machine(k) for k in kernels])
    assert np.median(np.abs(found / truth - 1)) < 0.02


def test_whole_networks_alone_find_it_too(networks):
    assert _error(_fit(networks[:40]), networks[40:]) < 0.03


def test_a_profile_is_worth_more_than_a_latency(networks):
    assert _error(_fit(networks[:10], profiled=True), networks[20:]) < _error(_fit(networks[:10]), networks[20:])


def test_larger_kernels_than_any_measured_are_priced_by_the_largest(networks):
    """Beyond a cache, bytes cost twice as much; a quarter of the kernels measured is beyond it."""
    (kernel, *_) = (k for k in networks[0].kernels if k.kind == "softmax")

    def of_rows(rows):
        return dataclasses.replace(kernel, rows=rows, bytes=8 * rows * kernel.columns, elements=rows * kernel.columns)

    def cached_machine(k):
        return 1e-3 + 1e-7 * k.bytes + 1e-7 * max(k.bytes - 1e6, 0)

    in_cache, beyond = np.geomspace(1e4, 1e6, 30), np.geomspace(2e6, 3e7, 10)
    kernels = [of_rows(int(size / (8 * kernel.columns))) for size in (*in_cache, *beyond)]
    sums = [Sum((k,), cached_machine(k), 0.02 * cached_machine(k), is_network=False) for k in kernels]
    large = of_rows(10 * kernels[-1].rows)
    assert fit_costs(observe(sums)).ms([large])[0] == pytest.approx(cached_machine(large), rel=0.2)


def test_a_profile_that_other_load_stretched_is_held_to_its_run(networks):
    measured = measured_on(tiled_machine, networks[:20], profiled=True)
    stretched = {
        key: tuple(KernelTime(kernel.name, (1 + i % 3) * kernel.ms) for kernel in profile)
        for i, (key, profile) in enumerate(measured.profiles.items())
    }
    disturbed = dataclasses.replace(measured, profiles=stretched)
    assert _error(fit_costs(observations(disturbed, disturbed.measurements.values())), networks[20:]) < 0.02


def test_another_device_needs_few_networks(costs, networks):
    carried = _fit(networks[:10], machine=other_machine, sources=[costs])
    afresh = _fit(networks[:10], machine=other_machine)
    assert _error(carried, networks[20:], other_machine) < min(0.03, _error(afresh, networks[20:], other_machine))


def test_kernels_unlike_the_measured_ones_are_told_apart(costs, networks):
    kernel = next(k for k in networks[0].kernels if k.kind == "convolution" and k.rows == 1024)
    large = dataclasses.replace(kernel, rows=16 * kernel.rows, macs=16 * kernel.macs, bytes=16 * kernel.bytes)
    assert costs.is_far([kernel, large]).tolist() == [False, True]
    unknown = dataclasses.replace(costs, kinds=costs.kinds[:0], dimensions=costs.dimensions[:0], weights=costs.weights[:0])
    assert unknown.is_far([kernel]).all()
    assert costs.ms([large])[0] > 8 * costs.ms([kernel])[0]  # back to what its counts cost


def test_nothing_is_faster_than_the_fastest_kernel_seen(costs):
    free = dataclasses.replace(costs, prices=np.zeros_like(costs.prices), per_kernel=0.0)
    kernels = [k for k in random_networks(1)[0].kernels if k.macs]
    assert (free.ms(kernels) >= free.floor[0] * np.array([k.macs for k in kernels])).all()
    assert free.floor.min() > 0


def test_kernels_that_cost_nothing_raise_no_roofline(networks):
    """The fastest kernels bound the others; where elementwise ones are free, bytes cost nothing."""

    def free_machine(kernel):
        return 0.0 if kernel.kind == "elementwise" else tiled_machine(kernel)

    found = _fit(networks[:20], machine=free_machine, profiled=True)
    assert _error(found, networks[20:], free_machine) < 0.03


def test_arrays_give_the_same_costs_sources_included(costs, networks):
    carried = _fit(networks[:8], machine=other_machine, sources=[costs, costs])
    again = KernelCosts.from_arrays(carried.to_arrays())
    kernels = networks[30].kernels
    assert again.ms(kernels).tobytes() == carried.ms(kernels).tobytes()
    assert len(again.sources) == 2


def test_damaged_arrays_are_refused(costs):
    arrays = costs.to_arrays()
    with pytest.raises(ValueError, match="prices must be finite, not negative"):
        KernelCosts.from_arrays({**arrays, "prices": -1 - arrays["prices"]})
    with pytest.raises(ValueError, match=r"prices must be .*of shape \(13, 3\), got \(2, 2\)"):
        KernelCosts.from_arrays({**arrays, "prices": np.ones((2, 2))})


def test_sums_are_counted_over_distinct_kernels():
    kernels = random_networks(1)[0].kernels
    observed = observe([Sum(kernels, 2.0, 0.1, is_network=True), Sum(kernels[:1] * 3, 1.0, 0.1, is_network=False)])
    assert observed.counts.sum(1).tolist() == [len(kernels), 3]
    assert len(observed.kernels) == len(set(kernels))
    assert observed.is_network.tolist() == [True, False]


def test_a_profile_labels_each_kernel_in_order_and_the_rest_together():
    network = random_networks(1)[0]
    measured = measured_on(tiled_machine, [network], profiled=True)
    kernels, profile = network.kernels, measured.profiles[network.key]
    singles, groups = label_kernels(network, profile)
    assert all(ms == tiled_machine(kernel) for kernel, ms in singles)
    assert sum(ms for _, ms in singles) + sum(ms for _, ms in groups) == pytest.approx(sum(k.ms for k in profile))
    assert len(singles) + sum(len(group) for group, _ in groups) == len(kernels)
    # One kernel more than ours: the class is known only as a sum.
    singles, groups = label_kernels(network, [*profile, KernelTime("Convolution (NHWC, F32) IGEMM", 1.0)])
    assert not any(kernel.kind == "convolution" for kernel, _ in singles)
    assert any(all(k.kind == "convolution" for k in group) for group, _ in groups)


def test_products_whose_macs_are_told_are_known_whatever_their_order():
    network = random_networks(1)[0]
    products = [k for k in network.kernels if k.kind in ("fully_connected", "attention_scores", "attention_values")]
    profile = [KernelTime(f"Einsum {kernel.macs}", tiled_machine(kernel)) for kernel in products]
    backwards = sorted(profile, key=lambda kernel: -kernel.ms)
    singles, _ = label_kernels(network, backwards)
    assert sorted(kernel.macs for kernel, _ in singles) == sorted(kernel.macs for kernel in products)
    by_macs = {kernel.name: sorted(k.ms for k in profile if k.name == kernel.name) for kernel in profile}
    assert all(ms in by_macs[f"Einsum {kernel.macs}"] for kernel, ms in singles)
    singles, groups = label_kernels(network, [*backwards[1:], KernelTime("Einsum 7", 1.0)])
    assert not singles
    assert [len(group) for group, _ in groups] == [len(products)]


def test_rounding_to_int8_is_part_of_the_convolution_that_follows():
    network = random_networks(1)[0]
    profile = []
    for kernel in measured_on(tiled_machine, [network], profiled=True).profiles[network.key]:
        if kernel.name == "Convolution (NHWC, F32) IGEMM":
            profile += [
                KernelTime("Convert (NC, F32, QDU8)", 0.5),
                KernelTime("Convolution (NHWC, QDU8, F32, QC8W) IGEMM", kernel.ms),
            ]
        else:
            profile.append(kernel)
    singles, _ = label_kernels(network, profile)
    convolutions = [(kernel, ms) for kernel, ms in singles if kernel.kind == "convolution"]
    assert len(convolutions) == sum(kernel.kind == "convolution" for kernel in network.kernels)
    assert all(ms == tiled_machine(kernel) + 0.5 for kernel, ms in convolutions)


def test_kinds_are_those_of_the_rules():
    assert {k.kind for n in random_networks(60) for k in n.kernels} == set(KINDS)
