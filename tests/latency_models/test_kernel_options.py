"""Kernel options: each rewrites the kernels that it is about, by amounts worked out by hand, and leaves the rest alone."""

import pytest
from known_machines import random_networks

from latency_models.kernel_options import OPTIONS, Execution, kernel_options
from latency_models.kernels import block_kernels
from latency_models.network import blocks_alone
from search_space import BlockPlan, get_design, get_scale, layer_plan
from search_space.blocks import OutputSpec, ResidualSpec, TransformerSpec

SD15 = layer_plan(get_design("sd15").architecture, get_scale("sd15"))
FUSED = kernel_options(["fused_group_norm", "fused_gelu"])


def running(*options: str, activation_bits: int = 32, weight_bits: int = 32, tile: int = 1) -> Execution:
    return Execution(activation_bits, weight_bits, tile, kernel_options(options))


def block_of(spec, resolution: int) -> BlockPlan:
    (block,) = blocks_alone([(spec, resolution)], get_scale("sd15")).blocks
    return block


def transformer(channels: int = 320, resolution: int = 64, **genes) -> BlockPlan:
    fields = {
        "depth": 1, "attention": "self_cross", "attention_function": "softmax", "expansion": 4, "shared_kv": False,
        "gating": "gelu", **genes,
    }  # fmt: skip
    return block_of(TransformerSpec(channels, **fields), resolution)


def test_without_options_kernels_are_the_runtimes_but_for_gelu():
    for network in random_networks(20):
        for block in network.blocks:
            kernels = Execution().kernels(block)
            assert sum(kernel.macs for kernel in kernels) == block.macs
            if all(kernel.kind != "gelu" for kernel in block_kernels(block)):
                assert kernels == block_kernels(block)
    is_gelu = [kernel.kind == "gelu" for kernel in block_kernels(transformer())]
    assert len(Execution().kernels(transformer())) == len(is_gelu) + 4  # five passes for one


def test_a_fused_norm_reads_once_and_writes_once():
    head = block_of(OutputSpec(320, 4), 64)
    kernels = running("fused_group_norm").kernels(head)
    assert [kernel.kind for kernel in kernels] == ["reduction", "sigmoid", "elementwise", "convolution"]
    assert kernels[0].bytes == 2 * 4 * 64 * 64 * 320
    assert kernels[1:] == Execution().kernels(head)[14:]


@pytest.mark.parametrize("gating", ["gelu", "silu"])
def test_a_fused_gate_reads_both_halves_and_writes_one(gating):
    fused, plain = (one.kernels(transformer(gating=gating)) for one in (running("fused_gelu"), Execution()))
    (kernel,) = [k for k in fused if k.kind == ("gelu" if gating == "gelu" else "sigmoid")]
    assert kernel.bytes == 3 * 4 * 4096 * 4 * 320
    assert len(plain) - len(fused) == (5 if gating == "gelu" else 2)


def test_flash_attention_keeps_scores_out_of_memory():
    """At 64x64 with 8 heads of 40 channels: queries, keys, values and output move, 4096 tokens of 320 channels each."""
    block = transformer(attention="self")
    plain, flash = Execution().kernels(block), running("flash_attention").kernels(block)
    scores_bytes = 4 * 8 * 4096 * 4096
    assert sum(kernel.bytes > scores_bytes for kernel in plain) == 3  # product, softmax, product
    assert not any(kernel.bytes > scores_bytes for kernel in flash)
    (fused,) = [kernel for kernel in flash if kernel.kind == "attention_values"]
    assert fused.bytes == 4 * 4 * 4096 * 320
    assert sum(kernel.macs for kernel in flash) == block.macs
    assert not any(kernel.kind in ("softmax", "transpose", "attention_scores") for kernel in flash)


def test_flash_attention_leaves_wide_heads_alone():
    wide = transformer(640, 32)
    assert running("flash_attention").kernels(wide) == Execution().kernels(wide)


def test_a_partially_fused_softmax_writes_two_numbers_a_row():
    block = transformer(640, 32, attention="self")
    kernels = running("partially_fused_softmax").kernels(block)
    assert not any(kernel.kind == "softmax" for kernel in kernels)
    stats = [k for k in kernels if k.kind == "reduction" and k.bytes == 4 * (8 * 1024 * 1024 + 8 * 1024 * 2)]
    assert len(stats) == 1
    relu = transformer(640, 32, attention_function="relu")
    assert running("partially_fused_softmax").kernels(relu) == Execution().kernels(relu)


def test_winograd_quarters_multiplications_where_images_are_large():
    block = block_of(ResidualSpec(320, 0, 320, "full"), 64)
    winograd, plain = (running(*options, activation_bits=16, weight_bits=16) for options in (("winograd",), ()))
    first = [k for k in winograd.kernels(block) if k.kind in ("convolution", "transpose")][:3]
    assert [k.kind for k in first] == ["transpose", "convolution", "transpose"]
    assert first[1].macs == 64 * 64 * 9 * 320 * 320 // 4
    image, weights = 2 * 64 * 64 * 320, 2 * (9 * 320 * 320 + 320)
    assert first[0].bytes == first[2].bytes == 3.25 * image
    assert first[1].bytes == 2 * 2.25 * image + 4 * weights
    small, separable = (
        block_of(ResidualSpec(channels, 0, channels, convolution), resolution)
        for channels, convolution, resolution in ((1280, "full", 8), (320, "separable", 64))
    )
    assert winograd.kernels(small) == plain.kernels(small)
    assert winograd.kernels(separable) == plain.kernels(separable)


def test_bits_and_tiles_change_bytes_and_products():
    block = transformer(attention="self")
    plain, packed = Execution().kernels(block), running(activation_bits=16, weight_bits=8, tile=32).kernels(block)
    for one, other in zip(plain, packed, strict=True):
        assert other.bytes == (one.bytes - one.weight_bytes) // 2 + one.weight_bytes // 4
    (scores,), (padded,) = ([k for k in kernels if k.kind == "attention_scores"] for kernels in (plain, packed))
    assert padded.macs == scores.macs * 64 // 40


def test_fused_kernels_have_the_layer_plans_peak():
    """All of a plan's tensors, and none between kernels: scores and their softmax are the largest."""
    execution = Execution(options=FUSED)
    assert execution.peak_bytes(SD15) == SD15.peak_activation_bytes + 4 * SD15.parameters
    half = Execution(16, 8, options=FUSED)
    assert half.peak_bytes(SD15) == SD15.peak_activation_bytes // 2 + SD15.parameters


def test_each_option_changes_memory_as_it_says():
    base = Execution(16, 16, options=FUSED).peak_bytes(SD15)
    scores = 2 * 8 * 4096 * 4096
    change = {
        o: Execution(16, 16, options=FUSED | kernel_options([o])).peak_bytes(SD15) - base for o in OPTIONS if o not in FUSED
    }
    assert change["partially_fused_softmax"] < -0.9 * scores  # one matrix of scores and not two
    assert change["flash_attention"] < -1.6 * scores  # none
    transformed = (
        3
        * 2
        * sum(
            o.matrix_weights
            for o in SD15.operations
            if o.kind == "conv3x3"
            and o.out_shape[0] >= 32
            and o.in_shape == (*o.out_shape[:2], o.in_shape[-1])
            and min(o.in_shape[-1], o.out_shape[-1]) > 4
        )
    )
    assert change["winograd"] == transformed


def test_norms_and_gates_hold_more_where_they_are_not_fused():
    """Without scores in memory, what lies between the kernels of a norm and of a gate shows in the peak."""
    lean = FUSED | kernel_options(["flash_attention", "partially_fused_softmax"])
    peaks = {off: Execution(options=lean - {off}).peak_bytes(SD15) for off in FUSED}
    assert peaks["fused_gelu"] > Execution(options=lean).peak_bytes(SD15)
    assert peaks["fused_group_norm"] >= Execution(options=lean).peak_bytes(SD15)


def test_options_survive_json_and_unknown_ones_are_refused():
    execution = running("winograd", "fused_gelu", activation_bits=16, weight_bits=8, tile=32)
    assert Execution.from_json(execution.to_json()) == execution
    with pytest.raises(ValueError, match="no kernel option 'winogrand'; known are fused_group_norm.* did you mean 'winograd'"):
        kernel_options(["winogrand"])
