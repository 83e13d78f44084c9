"""SnapFusion's evolution on a problem whose best actions are known."""

from toy_problem import OBJECTIVES, evaluation, point, small_space

from experiments.searchers import get_searcher
from search_space.changes import one_choice_changes

SPACE = small_space()


def changes_of(architecture):
    return {x.digest: x for *_, x in one_choice_changes(SPACE, architecture)}


def rounds(num, *, limits=None, failing=()):
    """The first architectures of a search, each told before the next is asked for."""
    searcher = get_searcher("snapfusion", SPACE, objectives=OBJECTIVES, seed=0, limits=limits)
    found = []
    for index in range(num):
        found.append(searcher.ask())
        broken = limits and point(found[-1], SPACE)[1] > limits["macs"]
        status = "failed" if found[-1].digest in failing else "infeasible" if broken else "done"
        searcher.tell(evaluation(index, found[-1], status=status, space=SPACE))
    return found


def worth(architecture, start):
    """Quality lost for the cost saved."""
    (loss, cost), (loss_before, cost_before) = point(architecture, SPACE), point(start, SPACE)
    return (loss - loss_before) / (cost_before - cost)


def test_a_round_is_all_that_is_one_choice_away_and_ends_where_the_best_changes_lead():
    start, changed = SPACE.largest(), changes_of(SPACE.largest())
    found = rounds(len(changed) + 2)
    assert found[0] == start
    assert {x.digest for x in found[1:-1]} == set(changed)
    best, *others = sorted(changed.values(), key=lambda x: worth(x, start))
    own, made, wanted = (SPACE.encode(x) for x in (start, found[-1], best))
    is_best = wanted != own
    assert (made[is_best] == wanted[is_best]).all()
    assert point(found[-1], SPACE)[1] < 0.95 * point(start, SPACE)[1]
    worst = SPACE.encode(others[-1])
    assert (made[worst != own] == own[worst != own]).all()


def test_a_change_that_fails_is_not_made():
    start, changed = SPACE.largest(), changes_of(SPACE.largest())
    best = min(changed.values(), key=lambda x: worth(x, start))
    *_, made = rounds(len(changed) + 2, failing={best.digest})
    own, wanted = SPACE.encode(start), SPACE.encode(best)
    assert (SPACE.encode(made)[wanted != own] == own[wanted != own]).all()


def test_it_comes_down_to_a_limit_and_then_spends_what_is_left():
    limits = {"macs": 0.4}
    found = rounds(120, limits=limits)
    costs = [point(x, SPACE)[1] for x in found]
    first = next(i for i, cost in enumerate(costs) if cost <= limits["macs"])
    assert 0 < first < 100
    best = min((x for x, cost in zip(found, costs, strict=True) if cost <= limits["macs"]), key=lambda x: point(x, SPACE)[0])
    assert found.index(best) > first
    assert point(best, SPACE)[0] < point(found[first], SPACE)[0]
