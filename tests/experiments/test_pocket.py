"""The search that knows costs beforehand: what it promises beyond the contract of every search."""

import dataclasses
import functools

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from toy_problem import OBJECTIVES, columns, evaluation, point, small_space

from experiments.ledger_contents import LedgerContents
from experiments.records import Asked
from experiments.searchers import get_searcher, replay
from experiments.searchers.described import DescribedArchitectures
from experiments.searchers.gaussian_process import GaussianProcess
from objectives import Estimate

SPACE = small_space()
COSTS = functools.partial(columns, space=SPACE)


def fresh(**settings):
    settings = {"seed": 0, "population": 6, "costs": COSTS} | settings
    return get_searcher("pocket", SPACE, objectives=OBJECTIVES, **settings)


def run(searcher, num):
    events = []
    for index in range(num):
        events.append(Asked(index, searcher.ask()))
        events.append(evaluation(index, events[-1].architecture, space=SPACE))
        searcher.tell(events[-1])
    return events


def asked(events):
    return [event.architecture for event in events if isinstance(event, Asked)]


def test_limits_on_known_costs_are_never_broken():
    found = asked(run(fresh(limits={"macs": 0.3}), 24))
    assert max(point(architecture, SPACE)[1] for architecture in found) <= 0.3


def test_where_nothing_keeps_the_limits_it_comes_as_near_as_it_can():
    lowest = point(SPACE.smallest(), SPACE)[1]
    found = asked(run(fresh(limits={"macs": 0.5 * lowest + 1e-6}), 8))
    costs = [point(architecture, SPACE)[1] for architecture in found]
    drawn = [point(SPACE.sample(np.random.default_rng(i)), SPACE)[1] for i in range(50)]
    assert max(costs) < np.quantile(drawn, 0.2)


def test_it_starts_at_both_ends_of_the_space():
    assert asked(run(fresh(), 2)) == [SPACE.smallest(), SPACE.largest()]


def test_without_known_costs_every_objective_is_modelled(monkeypatch):
    predicted = []
    predict = GaussianProcess.predict
    monkeypatch.setattr(GaussianProcess, "predict", lambda self, *given: predicted.append(self) or predict(self, *given))
    run(fresh(costs=None), 8)
    assert len(set(map(id, predicted))) == 2
    predicted.clear()
    run(fresh(), 8)
    assert len(set(map(id, predicted))) == 1


def test_where_one_design_is_best_in_everything_others_still_promise_something():
    """The model is asked, whatever the units: a promise of nothing from all of them would leave the choice to chance."""
    searcher = fresh(costs=lambda drawn: {"macs": 1e9 * COSTS(drawn)["macs"]})
    for index in range(8):
        architecture = searcher.ask()
        cost = point(architecture, SPACE)[1]
        found = {"denoising_loss": Estimate(1 + cost, n=4), "macs": Estimate.exact(1e9 * cost)}
        searcher.tell(dataclasses.replace(evaluation(index, architecture, space=SPACE), objectives=found))
    assert searcher._proposer._improvements([SPACE.sample(np.random.default_rng(i)) for i in range(20)]).max() > 0


def test_a_replay_makes_no_model_and_goes_on_alike(monkeypatch):
    events = run(fresh(), 14)
    again = fresh()
    with monkeypatch.context() as patched:
        patched.setattr(GaussianProcess, "predict", lambda *_: pytest.fail("a model was made"))
        replay(again, LedgerContents({}, tuple(events[:24]), torn=False))
    for event in events[24:]:
        if isinstance(event, Asked):
            assert again.ask() == event.architecture
        else:
            again.tell(event)


def test_suggestions_that_are_out_make_room_for_others():
    differ = []
    for seed in range(3):
        searchers = fresh(seed=seed), fresh(seed=seed)
        for searcher in searchers:
            run(searcher, 12)
        together = searchers[0].suggest(4)
        alone = []
        for index in range(4):
            alone.append(searchers[1].ask())
            searchers[1].tell(evaluation(index, alone[-1], status="failed", space=SPACE))
        assert together[0] == alone[0]
        differ.append(together[1:] != alone[1:])
    assert any(differ)


def test_it_remembers_nothing_of_candidates():
    searcher = fresh()
    run(searcher, 30)
    described = searcher._proposer._described
    assert len(described._rows) <= 30


def test_features_are_genes_and_centred_logarithms_of_costs():
    described = DescribedArchitectures(SPACE, COSTS, seed=0)
    drawn = [SPACE.sample(np.random.default_rng(i)) for i in range(200)]
    features, costs = described.look_up(drawn)
    assert list(costs) == ["macs"]
    np.testing.assert_array_equal(costs["macs"], COSTS(drawn)["macs"])
    assert features[:, :-1].min() == 0
    assert features[:, :-1].max() == 1
    assert abs(features[:, -1].mean()) < 0.5
    assert 0.5 < features[:, -1].std() < 2
    distinct = {architecture.digest for architecture in drawn}
    assert len({tuple(row) for row in features.round(6)}) == len(distinct)


def test_a_model_is_sure_where_it_was_told_and_unsure_elsewhere():
    rng = np.random.default_rng(0)
    features = rng.random((40, 3))
    values = features @ np.array([1.0, -2.0, 0.5]) + 0.3 * np.sin(6 * features[:, 0])
    far = np.full((1, 3), 4.0)
    means, deviations = GaussianProcess().predict(features, values, np.vstack([features, far]))
    assert np.abs(means[:-1] - values).max() < 0.05 * np.ptp(values)
    assert deviations[:-1].max() < 0.2 * deviations[-1]


def test_the_noise_of_observations_is_none_of_what_is_predicted():
    rng = np.random.default_rng(2)
    features = rng.random((200, 1))
    values = 2 * features[:, 0] + 0.5 * rng.standard_normal(200)
    means, deviations = GaussianProcess().predict(features, values, np.array([[0.25], [0.5], [0.75]]))
    np.testing.assert_allclose(means, [0.5, 1.0, 1.5], atol=0.2)
    assert deviations.max() < 0.25


def test_a_model_of_equal_values_predicts_them():
    features = np.random.default_rng(0).random((6, 2))
    means, deviations = GaussianProcess().predict(features, np.full(6, 3.0), features)
    np.testing.assert_allclose(means, 3.0)
    assert np.all(np.isfinite(deviations))


def test_what_a_model_predicts_does_not_depend_on_the_models_before_it():
    rng = np.random.default_rng(1)
    features, queries = rng.random((30, 4)), rng.random((5, 4))
    values = features.sum(axis=1)
    grown = GaussianProcess()
    for count in range(2, 31):
        found = grown.predict(features[:count], values[:count], queries)
    np.testing.assert_array_equal(found, GaussianProcess().predict(features, values, queries))


def test_the_process_is_that_of_scikit_learn_and_grows_alike_in_any_steps():
    rng = np.random.default_rng(0)
    features, queries = rng.random((40, 5)), rng.random((7, 5))
    values = np.sin(4 * features[:, 0]) + features[:, 1] + 0.05 * rng.normal(size=40)
    slow = GaussianProcess()
    for count in range(28, 41):
        means, deviations = slow.predict(features[:count], values[:count], queries)
    at_once = GaussianProcess().predict(features, values, queries)
    np.testing.assert_array_equal((means, deviations), at_once)
    settings = {"alpha": slow._noise, "optimizer": None, "normalize_y": True}
    theirs = GaussianProcessRegressor(slow._kernel, **settings).fit(features, values).predict(queries, return_std=True)
    np.testing.assert_allclose(at_once, theirs, rtol=1e-6)
