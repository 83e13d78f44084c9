"""Memory: liveness against brute force over the graph of operations, by hand, and weights by dtype."""

import numpy as np
import pytest

from search_space import Architecture, Level, Stage, get_scale, get_space, layer_plan
from search_space.blocks import block_inputs
from search_space.memory import live_bytes

CASES = [("digits-small", "digits-proxy"), ("digits", "digits-deploy"), ("mobile-sd", "sd15")]


def _plans(space: str, scale: str, count: int = 12):
    rng = np.random.default_rng(0)
    return [layer_plan(get_space(space).sample(rng), get_scale(scale)) for _ in range(count)]


def _graph(plan):
    """Tensors as [bytes, made at, read at], found by walking the blocks and following `reads`."""
    scale = plan.scale
    inputs = {
        "stream": 4 * scale.resolution**2 * scale.in_channels,
        "timestep": 4,
        "context": 4 * scale.context_length * scale.context_width,
    }
    known = {name: [size, -1, []] for name, size in inputs.items()}
    tensors, outputs, i = list(known.values()), {}, 0
    for block in plan.blocks:
        seen = dict(known)
        if block.skip_from:
            seen["skip"] = outputs[block.skip_from]
        for operation in block.operations:
            for name in operation.reads:
                seen[name][2].append(i)
            made = [4 * int(np.prod(operation.out_shape)), i, []]
            seen[operation.name] = made
            tensors.append(made)
            i += 1
        outputs[block.name] = made
        known["time_embedding" if block.stage == "time" else "stream"] = made
    made[2].append(i)  # the network's output leaves it
    return tensors, i


@pytest.mark.parametrize(("space", "scale"), CASES)
def test_the_peak_is_that_of_brute_force(space: str, scale: str):
    for plan in _plans(space, scale):
        tensors, num_steps = _graph(plan)
        alive = [sum(size for size, made, read in tensors if read and made <= i <= max(read)) for i in range(num_steps)]
        assert list(plan.live_bytes) == alive
        assert plan.peak_activation_bytes == max(alive)


@pytest.mark.parametrize(("space", "scale"), CASES)
def test_nothing_is_made_that_nobody_reads(space: str, scale: str):
    for plan in _plans(space, scale):
        tensors, _ = _graph(plan)
        assert all(read for _, made, read in tensors if made >= 0)


@pytest.mark.parametrize(("space", "scale"), CASES)
def test_what_an_operation_reads_has_the_shape_that_it_takes(space: str, scale: str):
    for plan in _plans(space, scale, 6):
        for block in plan.blocks:
            shapes = dict(block_inputs(block.spec, block.resolution, plan.scale))
            for operation in block.operations:
                _check(operation, [shapes[name] for name in operation.reads])
                shapes[operation.name] = operation.out_shape


def _check(operation, shapes: list[tuple[int, ...]]) -> None:
    """Shapes that go in, by kind; images and sequences of the same pixels are one."""
    first, *rest = shapes
    match operation.kind:
        case "concat":
            assert operation.in_shape == (*first[:-1], first[-1] + rest[0][-1])
        case "attention_scores":
            assert first == operation.in_shape
            assert rest == [(operation.keys, first[-1])]
        case "attention_values":
            assert first == operation.in_shape == (operation.heads, operation.tokens, operation.keys)
            assert rest == [(operation.keys, operation.out_shape[-1])]
        case "gate":
            assert (first[-1], rest) == (2 * operation.in_shape[-1], [operation.in_shape])
        case "activation" if operation.name.endswith("feed_forward.activation"):
            assert first == (operation.in_shape[0], 2 * operation.in_shape[1])
        case "add" if operation.name == "time_add":
            assert first == operation.in_shape
            assert rest == [first[-1:]]
        case _:
            assert all(np.prod(shape) == np.prod(operation.in_shape) for shape in shapes)
            assert len(shapes) == (2 if operation.kind == "add" else 1)


def test_a_network_of_one_level_by_hand():
    # One level of 8 channels on 8x8 images: a tensor has 2 KiB. The widest moment is the up block's first activation: the
    # concatenation waits for the shortcut (2), its normalised copy goes in (2), another comes out (2). Beside them the time
    # embedding, 64 numbers, waits for its projection; nobody reads the prompt.
    scale, tensor = get_scale("digits-proxy"), 8 * 8 * 8 * 4
    plan = layer_plan(Architecture((Level(1, Stage(1), Stage(1)),)), scale)
    assert plan.peak_activation_bytes == 6 * tensor + 64 * 4
    # With two up blocks the first of them runs while the input's own skip waits.
    deeper = layer_plan(Architecture((Level(1, Stage(1), Stage(2)),)), scale)
    assert deeper.peak_activation_bytes == 7 * tensor + 64 * 4
    # A skip that no up block takes does not wait.
    longer = layer_plan(Architecture((Level(1, Stage(2), Stage(1)),)), scale)
    assert longer.peak_activation_bytes == plan.peak_activation_bytes


def test_attention_holds_queries_keys_values_and_its_scores_twice():
    level = Level(1, Stage(1, transformer_depth=1, attention="self"), Stage(1))
    plan = layer_plan(Architecture((level,)), get_scale("digits-proxy"))
    live = {(b.name, o.name): n for (b, o), n in zip(_operations(plan), plan.live_bytes, strict=True)}
    tensor, scores, waiting = 8 * 8 * 8 * 4, 64 * 64 * 4, 64 * 4
    # Stream of the block, stream of the layer, query, key, value, scores.
    assert live["down0.0.transformer", "layer0.self_attention.scores"] == 5 * tensor + scores + waiting
    # Both streams, value, scores in and weights out.
    assert live["down0.0.transformer", "layer0.self_attention.softmax"] == 3 * tensor + 2 * scores + waiting


def _operations(plan):
    return [(block, operation) for block in plan.blocks for operation in block.operations]


def test_what_is_counted_elsewhere_does_not_count():
    assert live_bytes([("a", ("x", "elsewhere"), 1), ("b", ("a",), 2)], {"x": 4, "unread": 100}) == (5, 3)


def test_weights_by_dtype_by_hand():
    level = Level(1, Stage(1, "separable"), Stage(1, "separable"))
    plan = layer_plan(Architecture((level,)), get_scale("digits-proxy"))
    block = next(b for b in plan.blocks if b.name == "down0.0.residual")
    # Twice depthwise 9x8 and pointwise 8x8 with bias 8, norms 2x8, and the time's projection 64x8 with bias 8.
    assert block.parameters == 2 * (9 * 8 + 8 * 8 + 8 + 2 * 8) + 64 * 8 + 8
    assert sum(operation.matrix_weights for operation in block.operations) == 2 * (9 * 8 + 8 * 8) + 64 * 8
    matrices = [operation for operation in plan.operations if operation.matrix_weights]
    weights = sum(operation.matrix_weights for operation in matrices)
    channels = sum(operation.out_shape[-1] for operation in matrices)
    assert plan.weight_bytes == {
        "float32": 4 * plan.parameters,
        "float16": 2 * plan.parameters,
        "bfloat16": 2 * plan.parameters,
        "int8": weights + 4 * (plan.parameters - weights + channels),
    }
