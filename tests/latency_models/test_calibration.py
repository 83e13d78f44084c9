"""Calibration: a known machine carried to another one by few networks."""

import numpy as np
import pytest
from known_machines import measured_on, other_machine, random_networks, tiled_machine, true_ms

from latency_models.calibration import calibrate, choose_for_calibration
from latency_models.fitting import fit
from latency_models.network import network_of
from search_space import get_scale, layer_plan


@pytest.fixture(scope="module")
def source():
    return fit(measured_on(tiled_machine, random_networks(40), profiled=True))


def test_ten_networks_carry_a_predictor_to_another_machine(source):
    fresh = random_networks(40, seed=9)
    truth = np.array([true_ms(n, other_machine) for n in fresh])
    chosen = choose_for_calibration([source], random_networks(80, seed=4), 10)
    carried = calibrate([source], measured_on(other_machine, chosen, noise=0.01))
    before, after = (np.mean(np.abs(p.predict(fresh)[0] / truth - 1)) for p in (source, carried))
    assert after < 0.04 < before
    assert (carried.held_out.score.n, carried.coverage) == (10, 0.9)
    assert carried.scales == source.scales


def test_an_interval_of_few_networks_promises_less(source):
    """The largest of five errors is exceeded by a sixth once in six."""
    chosen = choose_for_calibration([source], random_networks(80, seed=4), 5)
    assert calibrate([source], measured_on(other_machine, chosen)).coverage == 5 / 6
    assert fit(measured_on(other_machine, random_networks(8))).coverage == 8 / 9


def test_two_sources_are_mixed(source):
    chosen = random_networks(10, seed=4)
    other = fit(measured_on(other_machine, random_networks(40), profiled=True))
    fresh = random_networks(30, seed=9)

    def between(kernel):
        return 0.5 * (tiled_machine(kernel) + other_machine(kernel))

    carried = calibrate([source, other], measured_on(between, chosen))
    truth = np.array([true_ms(n, between) for n in fresh])
    assert np.mean(np.abs(carried.predict(fresh)[0] / truth - 1)) < 0.03


def test_bad_calibrations_are_refused(source):
    networks = random_networks(6)
    with pytest.raises(ValueError, match="a predictor of a known device, got none"):
        calibrate([], measured_on(other_machine, networks))
    with pytest.raises(ValueError, match="at least 5 networks, got 4"):
        calibrate([source], measured_on(other_machine, networks[:4]))
    with pytest.raises(ValueError, match="k must be from 5 to the pool's 6 networks, got 7"):
        choose_for_calibration([source], networks, 7)
    proxies = [network_of(layer_plan(n.architecture, get_scale("digits-proxy"))) for n in networks]
    with pytest.raises(ValueError, match="know scale digits-deploy, the measurements have digits-proxy"):
        calibrate([source], measured_on(other_machine, proxies))
