"""Knowledge distillation: its terms against NumPy, who is trained, what is compared, and what is refused."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bundle import BLOCK_MAP, Bundle, TrainingSettings
from experiments.distilling.knowledge import PROJECTIONS, knowledge, knowledge_loss, projections
from experiments.distilling.settings import KnowledgeSettings
from experiments.distilling.teachers import check_teacher, compared_blocks, read_block_map, read_teacher
from experiments.errors import InputError
from experiments.fitting import Given
from experiments.progress import silent_progress
from experiments.training import with_fresh_weights
from search_space import Architecture, get_scale, get_space, layer_plan
from search_space.architecture import Level, Stage
from supernet import UNet, load_unet
from supernet.initializer import random_initializer

SCALE = get_scale("digits-proxy")
SMALL = Architecture((Level(1, Stage(1), Stage(1)), Level(2, Stage(1), Stage(1)))).canonical()
# The first level is wider, the second has a transformer more; both have blocks that the small network has not.
LARGE = Architecture((Level(2, Stage(1), Stage(2)), Level(2, Stage(1, transformer_depth=1), Stage(1)))).canonical()


def bundle_of(architecture, seed, **changes):
    scale = dataclasses.asdict(SCALE) | changes.pop("scale", {})
    settings = {"origin": "fresh", "scale": scale, "data": "digits", "num_steps": 30, "learning_rate": 3e-3, **changes}
    found = with_fresh_weights(Bundle(architecture, TrainingSettings.model_validate(settings), {}), seed)
    # The last layers start at zero; a network that predicts nothing would hide most mistakes.
    rng = np.random.default_rng(seed)
    noisy = {path: x + 0.1 * rng.standard_normal(x.shape, np.float32) for path, x in found.parameters["network"].items()}
    return dataclasses.replace(found, parameters={**found.parameters, "network": noisy})


STUDENT = bundle_of(SMALL, 0, output_weight=0.7, feature_weight=0.3, warmup_steps=2)
TEACHER = bundle_of(LARGE, 1)
PAIRS = compared_blocks(STUDENT.plan, TEACHER.plan)
IMAGES = jnp.asarray(np.random.default_rng(2).uniform(-1, 1, (8, 8, 8, 1)), jnp.float32)
PROMPTS = jnp.arange(1, 9)[:, None]
BATCH = STUDENT.task.noisy_batch(jnp.uint32(0), jnp.uint32(1), IMAGES, PROMPTS)


def settings(**changes):
    return KnowledgeSettings(method="knowledge", **changes)


def given(student=STUDENT, teacher=TEACHER, **more):
    return Given(student, teacher, 0, Path(), silent_progress(), **more)


def trained(student, pairs, teacher=TEACHER):
    return {**student.parameters, PROJECTIONS: projections(student.plan, teacher.plan, pairs, seed=3)}


def outputs(bundle):
    (x, timestep, prompts), _ = BATCH

    @jax.jit
    def run(parameters):
        context = bundle.task.encode(parameters["prompt"], prompts)
        return load_unet(bundle.network(), parameters["network"]).block_outputs(x, timestep, context)

    return jax.tree.map(lambda array: np.asarray(array, np.float64), run(bundle.parameters))


def losses_of(student, teacher, pairs, **changes):
    loss = jax.jit(knowledge_loss(student, teacher, pairs, settings(**changes)))
    return jax.device_get(loss(trained(student, pairs, teacher), BATCH))


@pytest.mark.parametrize("weighting", ["constant", "min_snr"])
def test_the_loss_is_the_weighted_sum_of_its_terms(weighting):
    kernels = trained(STUDENT, PAIRS)
    total, parts = losses_of(STUDENT, TEACHER, PAIRS, mask_beyond=2.0, weighting=weighting)
    (prediction, streams), (taught, behind) = outputs(STUDENT), outputs(TEACHER)
    snr = np.exp(np.asarray(STUDENT.task.schedule.log_snr(BATCH[0][1] / 1000), np.float64))
    at = np.minimum(snr, 5) / (snr + 1) if weighting == "min_snr" else np.ones(8)
    wanted = {"denoising": prediction - np.asarray(BATCH[1], np.float64), "output": prediction - taught}
    wanted = {name: np.mean(at * np.mean(x**2, axis=(1, 2, 3))) for name, x in wanted.items()}
    of_blocks = []
    for name, source in PAIRS.items():
        ours, theirs = streams[name], behind[source]
        if name in kernels[PROJECTIONS]:
            ours = ours @ np.asarray(kernels[PROJECTIONS][name], np.float64)
        counts = (np.abs(ours) <= 2 * np.sqrt(np.mean(ours**2))) & (np.abs(theirs) <= 2 * np.sqrt(np.mean(theirs**2)))
        error = [np.mean((one - other)[counted] ** 2) for one, other, counted in zip(ours, theirs, counts, strict=True)]
        of_blocks.append(np.mean(at * error) / np.mean(theirs[counts] ** 2))
    wanted["features"] = np.mean(of_blocks)
    assert parts.keys() == wanted.keys()
    for name, value in wanted.items():
        assert parts[name] == pytest.approx(value, rel=1e-4), name
    assert total == pytest.approx(wanted["denoising"] + 0.7 * wanted["output"] + 0.3 * wanted["features"], rel=1e-4)


def test_weights_that_are_given_go_before_those_of_the_bundle():
    total, parts = losses_of(STUDENT, TEACHER, PAIRS, output_weight=0.0, feature_weight=2.0)
    assert total == pytest.approx(float(parts["denoising"] + 2.0 * parts["features"]), rel=1e-6)


def test_a_student_that_is_its_teacher_has_the_denoising_loss_alone():
    """Exactly: uncompiled, both networks are the same operations."""
    pairs = compared_blocks(STUDENT.plan, STUDENT.plan)
    total, parts = knowledge_loss(STUDENT, STUDENT, pairs, settings())(trained(STUDENT, pairs, STUDENT), BATCH)
    assert parts["output"] == parts["features"] == 0
    assert total == parts["denoising"] > 0


def test_no_gradient_reaches_the_teacher_and_all_of_the_student_has_one():
    def loss(parameters, taught):
        teacher = dataclasses.replace(TEACHER, parameters=taught)
        return knowledge_loss(STUDENT, teacher, PAIRS, settings())(parameters, BATCH)[0]

    mine, theirs = jax.jit(jax.grad(loss, argnums=(0, 1)))(trained(STUDENT, PAIRS), TEACHER.parameters)
    assert all(not np.any(x) for x in jax.tree.leaves(theirs))
    assert all(np.any(mine[part][path]) for part in ("network", PROJECTIONS) for path in mine[part])


def test_streams_are_projected_only_where_widths_differ():
    assert {name: x.shape for name, x in projections(STUDENT.plan, TEACHER.plan, PAIRS, seed=0).items()} == {
        "down0.0.residual": (8, 16),
        "up0.0.residual": (8, 16),
    }
    assert set(PAIRS) == {f"{stage}.0.residual" for stage in ("down0", "down1", "up1", "up0")}
    assert projections(STUDENT.plan, STUDENT.plan, compared_blocks(STUDENT.plan, STUDENT.plan), seed=0) == {}


def test_one_phase_trains_the_network_and_drops_the_projections():
    [phase] = knowledge(given(), settings())
    assert (phase.num_steps, phase.changes, phase.architecture) == (30, {}, None)
    fitting = phase.fitting(STUDENT)
    assert set(fitting.state.parameters) == {"network", "prompt", PROJECTIONS}
    arguments = (jnp.uint32(0), jnp.uint32(1), IMAGES, PROMPTS, jnp.float32(1))
    before, losses = fitting.step(fitting.state, *arguments)
    assert set(losses) == {"loss", "denoising", "output", "features"}
    for _ in range(29):
        before, after = fitting.step(before, *arguments)
    assert after["loss"] < 0.9 * losses["loss"]
    assert after["features"] < losses["features"]
    assert {part: set(x) for part, x in fitting.trained(before).items()} == {
        part: set(x) for part, x in STUDENT.parameters.items()
    }


def test_the_bundles_own_map_is_followed(tmp_path):
    feeding = {"down0.0.residual": "up0.1.residual", "down1.0.residual": None, "time.embedding": "time.embedding"}
    (tmp_path / BLOCK_MAP).write_text(json.dumps(feeding), "utf-8")
    found = read_block_map(tmp_path, STUDENT, TEACHER)
    assert found == feeding
    assert compared_blocks(STUDENT.plan, TEACHER.plan, found) == {"down0.0.residual": "up0.1.residual"}
    fitting = knowledge(given(block_map=found), settings())[0].fitting(STUDENT)
    assert list(fitting.state.parameters[PROJECTIONS]) == ["down0.0.residual"]
    assert read_block_map(tmp_path / "none", STUDENT, TEACHER) is None


def test_a_map_to_nothing_leaves_the_streams_out():
    pairs = compared_blocks(STUDENT.plan, TEACHER.plan, dict.fromkeys(PAIRS))
    assert set(losses_of(STUDENT, TEACHER, pairs)[1]) == {"denoising", "output"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"down0.0.residul": null}', "key 'down0.0.residul': the network has no such block; did you mean 'down0.0.residual'?"),
        (
            '{"down0.0.residual": "down0.7.residual"}',
            "key 'down0.0.residual': the teacher has no block 'down0.7.residual'; did you mean 'down0.0.residual'?",
        ),
        (
            '{"down1.0.residual": "up0.1.residual"}',
            "key 'down1.0.residual': behind this block the stream is 4x4, behind the teacher's 'up0.1.residual' it is 8x8; "
            "map it to a block of the same resolution, or to null",
        ),
        (
            '{"up0.0.residual": "output.head"}',
            "key 'up0.0.residual': behind this block the stream is 8x8, behind the teacher's 'output.head' it is none",
        ),
        ('{"down1.0.residual": [3]}', "key 'down1.0.residual': the teacher has no block [3]; did you mean"),
        ('["down0.0.residual"]', "it must be an object, by block of this network the teacher's block or null"),
        ('{"down0.0', "this is no JSON file"),
    ],
)
def test_a_map_that_cannot_be_followed_is_refused(text, message, tmp_path):
    (tmp_path / BLOCK_MAP).write_text(text, "utf-8")
    with pytest.raises(InputError) as error:
        read_block_map(tmp_path, STUDENT, TEACHER)
    assert str(error.value).startswith(f"{tmp_path / BLOCK_MAP}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "scaled_linear"}, "the teacher has schedule 'scaled_linear', the student 'cosine'"),
        ({"parameterisation": "eps"}, "the teacher has parameterisation 'eps', the student 'v'"),
        ({"scale": {"resolution": 16}}, "the teacher's scale has resolution=16, the student's 8"),
        ({"scale": {"in_channels": 4}}, "the teacher's scale has in_channels=4, the student's 1"),
    ],
)
def test_a_teacher_that_sees_or_predicts_something_else_is_refused(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        check_teacher(STUDENT, bundle_of(SMALL, 0, **changes), tmp_path)


def test_a_teacher_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match="there is no such bundle"):
        read_teacher(tmp_path / "none", STUDENT)


SPACE = get_space("mobile-sd")
LARGEST = layer_plan(SPACE.largest(), SCALE)


def with_levels(num):
    rng = np.random.default_rng(0)
    return layer_plan(next(x for x in iter(lambda: SPACE.sample(rng), None) if len(x.levels) == num), SCALE)


def stream_shapes(plan):
    size = (2, SCALE.resolution, SCALE.resolution, SCALE.in_channels)
    shapes = (size, (2,), (2, SCALE.context_length, SCALE.context_width))
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.eval_shape(UNet(plan, init=random_initializer(0)).block_outputs, *inputs)[1]


@pytest.mark.parametrize("num_levels", [3, 4])
def test_what_is_compared_has_one_shape_behind_the_projections(num_levels):
    student = with_levels(num_levels)
    ours, theirs = stream_shapes(student), stream_shapes(LARGEST)
    pairs = compared_blocks(student, LARGEST)
    kernels = projections(student, LARGEST, pairs, seed=0)
    assert {name.split(".")[0] for name in pairs} >= {"down0", "up0"}
    for name, source in pairs.items():
        shape = ours[name].shape
        assert (*shape[:-1], kernels[name].shape[1] if name in kernels else shape[-1]) == theirs[source].shape


def test_networks_with_other_numbers_of_levels_are_compared_where_stages_end():
    pairs = compared_blocks(with_levels(3), LARGEST)
    assert pairs["down0.downsample"] == "down0.downsample"
    assert {name.split(".")[0] for name in pairs} == {"down0", "down1", "up2", "up1", "up0"}  # down2 and mid end elsewhere
    last = [block.name for block in LARGEST.blocks if block.stage == "up0"][-1]
    assert last in pairs.values()
