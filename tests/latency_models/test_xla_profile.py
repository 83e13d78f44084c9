"""XLA's profile: a traced program's thunks by block, and what they say about kernels."""

from collections import Counter

import pytest
from known_machines import random_networks, tiled_machine

from experiments.measured_network import build_network
from latency_models.device import KernelTime
from latency_models.kernel_labels import label_kernels
from latency_models.kernels import block_kernels
from latency_models.network import blocks_alone
from latency_models.xla_profile import thunk_names
from latency_models.xla_program import XlaRunnable, compile_program
from search_space import get_scale
from search_space.blocks import ResidualSpec

PROGRAM = """
%fused (a: f32[2,2], b: f32[2,2]) -> f32[2,2] {
  %a = f32[2,2] parameter(0)
  %b = f32[2,2] parameter(1)
  ROOT %product = f32[2,2] dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (x: f32[2,2]) -> (f32[2,2]) {
  %x = f32[2,2] parameter(0)
  %made = f32[2,2] fusion(%x, %x), kind=kCustom, calls=%fused, backend_config={"fusion_config":{"kind":"__ynn_fusion"}}
  %first = f32[2,2] add(%made, %x), metadata={op_name="jit(program)/down0.0.residual/jit(silu)/add" stack_frame_id=1}
  %second = f32[2,2] add(%made, %first), metadata={op_name="jit(program)/down0.1.residual/add" stack_frame_id=2}
  ROOT %all = (f32[2,2]) tuple(%second)
}
"""


def test_a_thunk_is_called_by_its_block_and_the_product_in_it():
    names = thunk_names(PROGRAM)
    assert names["first"] == "down0.0.residual/add"
    assert names["second"] == "down0.1.residual/add"
    assert names["made"] == "down0.0.residual/dot 8"  # by the first that reads it
    assert "all" not in names


@pytest.fixture(scope="module")
def two_blocks():
    """Convolutions of a full and of a separable block."""
    scale = get_scale("digits-proxy")
    specs = [(ResidualSpec(32, 0, 32, convolution), 8) for convolution in ("full", "separable")]
    return blocks_alone(specs, scale)


def test_a_profile_covers_every_block_and_each_product(two_blocks, tmp_path):
    compile_program(two_blocks, build_network, tmp_path)
    runnable = XlaRunnable(tmp_path, clocks=("process_cpu",))
    runnable.run()
    profile = runnable.profile(3)
    assert profile is not None
    assert {block.name for block in two_blocks.blocks} <= {kernel.name.partition("/")[0] for kernel in profile}
    assert min(kernel.ms for kernel in profile) >= 0 < max(kernel.ms for kernel in profile)
    singles, groups = label_kernels(two_blocks, profile)
    assert Counter(kernel for kernel, _ in singles) == Counter(kernel for kernel in two_blocks.kernels if kernel.macs)
    assert sum(len(group) for group, _ in groups) + len(singles) == len(two_blocks.kernels)


def test_blocks_are_labelled_one_by_one_and_those_with_a_softmax_as_a_whole():
    network = random_networks(1)[0]
    profile = []
    for block in network.blocks:
        for kernel in block_kernels(block):
            is_convolution = kernel.kind in ("convolution", "depthwise_convolution")
            name = "convolution" if is_convolution else f"dot {kernel.macs}" if kernel.macs else "fusion"
            profile.append(KernelTime(f"{block.name}/{name}", tiled_machine(kernel)))
    of_no_block = KernelTime("copy-start", 1.0)
    singles, groups = label_kernels(network, [*profile, of_no_block])
    blocks = [block_kernels(block) for block in network.blocks]
    with_softmax = [kernels for kernels in blocks if any(kernel.kind == "softmax" for kernel in kernels)]
    apart = [kernel for kernels in blocks if kernels not in with_softmax for kernel in kernels]
    assert with_softmax
    assert Counter(kernel for kernel, _ in singles) == Counter(kernel for kernel in apart if kernel.macs)
    assert all(ms == pytest.approx(tiled_machine(kernel), rel=0.3) for kernel, ms in singles)  # equal MACs may be swapped
    assert [group for group, _ in groups if any(kernel.macs for kernel in group)] == with_softmax
    in_groups = Counter(kernel for group, _ in groups for kernel in group)
    assert in_groups + Counter(kernel for kernel, _ in singles) == Counter(network.kernels)
    assert sum(ms for _, ms in [*singles, *groups]) == pytest.approx(sum(kernel.ms for kernel in profile))
