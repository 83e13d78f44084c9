"""LiteRT: refusals that name operation and block, what XNNPACK leaves out, stored weights, and a converter that dies."""

import dataclasses
import importlib.util
from concurrent.futures import ThreadPoolExecutor

import measured_networks
import pytest

from experiments.measured_network import build_network
from latency_models import litert_conversion, litert_converter_process
from latency_models.device import get_device
from latency_models.litert_converter_process import ConverterProcess
from latency_models.litert_cpu import check_unpacked_once, litert_cpu
from latency_models.litert_graph import GraphOperation, block_of, left_out, listed
from latency_models.network import blocks_alone
from search_space import get_scale, get_space, layer_plan
from search_space.blocks import ResidualSpec, TransformerSpec

SMALL = measured_networks.sized(8)
CPU, BUILTIN = "litert-cpu", "litert-builtin"


@pytest.mark.parametrize(
    ("spec", "build", "message"),
    [
        (CPU, measured_networks.build_unconverted, r"converter refuses this network: in block alone.1: 'tfl.batch_matmul' op"),
        (CPU, measured_networks.build_unwritten, r"in block alone.0: 'vhlo.fft_v1' op is none of LiteRT's; write the oper"),
        (CPU, measured_networks.build_unregistered, r"'litert-cpu': LiteRT refuses operation STABLEHLO_SORT in block alone.0"),
        (BUILTIN, measured_networks.build_unregistered, r"refuses operation STABLEHLO_SORT in block alone.0.*write it diff"),
    ],
)
def test_a_refusal_names_operation_and_block(spec, build, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        get_device(spec).load(SMALL, build, tmp_path)


def test_what_xnnpack_leaves_out_is_listed_by_block(tmp_path):
    session = get_device(CPU).load(SMALL, measured_networks.build_cut, tmp_path)
    session.close()
    assert session.loaded.partitions == 4
    assert session.loaded.left_out == ("CUMSUM in block alone.0 (2 times)", "BROADCAST_TO in block alone.1")


@pytest.mark.parametrize("spec", [CPU, BUILTIN])
def test_blocks_of_a_space_leave_nothing_out(spec, tmp_path):
    plan = layer_plan(get_space("digits").largest(), get_scale("digits-proxy"))
    blocks = [next(x for x in plan.blocks if isinstance(x.spec, kind)) for kind in (ResidualSpec, TransformerSpec)]
    session = get_device(spec).load(blocks_alone([(x.spec, x.resolution) for x in blocks], plan.scale), build_network, tmp_path)
    session.close()
    assert session.loaded.partitions == (1 if spec == CPU else None)
    assert session.loaded.left_out == ()


def test_smaller_weights_make_smaller_files_and_no_conversion_at_run_time_but_of_activations(tmp_path_factory):
    found = {}
    for dtype in ("float32", "float16", "int8"):
        device = get_device(f"litert-cpu:dtype={dtype}")
        session = device.load(measured_networks.sized(64), measured_networks.build_tiny, tmp_path_factory.mktemp(dtype))
        found[dtype] = session.loaded.model_bytes, {kernel.name for kernel in session.profile(1) or ()}
        session.close()
    sizes = [size for size, _ in found.values()]
    assert sizes[1] < 0.65 * sizes[0]
    assert sizes[2] < 0.45 * sizes[0]
    assert found["float16"][1] == found["float32"][1]
    assert any("QC8W" in name for name in found["int8"][1])


def test_builtin_profiles_operations_and_xnnpack_kernels(tmp_path_factory):
    names = []
    for spec in (CPU, BUILTIN):
        session = get_device(spec).load(SMALL, measured_networks.build_tiny, tmp_path_factory.mktemp("network"))
        names.append([kernel.name for kernel in session.profile(1) or ()])
        session.close()
    assert sum(name.startswith("Convolution") for name in names[0]) == 2
    assert names[1].count("CONV_2D") == 2
    assert not set(names[0]) & set(names[1])


def test_two_threads_are_read_on_the_clock_of_the_process_and_one_on_its_own(tmp_path_factory):
    for threads, clock in ((1, "thread_cpu"), (2, "process_cpu")):
        device = get_device(f"litert-cpu:threads={threads}")
        session = device.load(SMALL, measured_networks.build_tiny, tmp_path_factory.mktemp("network"))
        assert tuple(session.run(1)) == (clock, "wall")
        session.close()


def test_weights_that_would_be_unpacked_at_every_run_are_refused():
    check_unpacked_once([GraphOperation("CUMSUM", None, (), ())])
    with pytest.raises(ValueError, match=r"leaves out DEQUANTIZE in block up0.0.residual \(2 times\), .*dtype=float32"):
        check_unpacked_once([GraphOperation("DEQUANTIZE", "up0.0.residual", (), ())] * 2)


def test_a_dtype_whose_package_is_missing_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert litert_cpu(None, {}).name == "litert-cpu"
    with pytest.raises(ValueError, match="dtype=int8 needs ai-edge-quantizer, not installed here"):
        litert_cpu(None, {"dtype": "int8"})


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("jit(__call__)/down0.0.residual/dot_general;jit(__call__)/mid.0.transformer/add", "down0.0.residual"),
        ('callsite("dot_general" at "jit(f)/mid.0.transformer/jit(inner)")', "mid.0.transformer"),
        ("jit(f)/bqhd,bkhd->bhqk/dot_general", None),
        ("div;neg;exp;add", None),
    ],
)
def test_the_block_of_a_name(text, block):
    assert block_of(text) == block


def test_what_lies_between_a_delegates_tensors_is_what_it_took():
    """0 -> a -> 1 -> b -> 2 -> c -> 3, where a delegate took a and another took c, and weights are tensors too."""
    a, b, c = (GraphOperation(kind, None, (i, 9), (i + 1,)) for i, kind in enumerate("abc"))
    assert left_out([a, b, c], [((0, 9), (1,)), ((2, 9), (3,))]) == (b,)
    assert left_out([a, b, c], [((0,), (3,))]) == ()
    assert listed(left_out([a, b, c], [])) == ("a", "b", "c")
    assert listed([dataclasses.replace(b, block="up0.0"), b]) == ("b in block up0.0", "b")


CRASH = "import os, signal, sys\nsys.stdin.readline()\nos.kill(os.getpid(), signal.SIGSEGV)\n"
# Writes its process number where the model should be, after a while.
NUMBER = """
import json, os, sys, time
for line in sys.stdin:
    time.sleep(0.02)
    with open(json.loads(line)["arguments"]["model"], "w") as file:
        file.write(str(os.getpid()))
    print(json.dumps({"refusal": None, "errno": None}), flush=True)
"""


@pytest.fixture
def module(tmp_path):
    """A file that is no module."""
    path = tmp_path / "module"
    path.write_bytes(b"not a module")
    return path


def pretend(monkeypatch, tmp_path, program: str) -> None:
    script = tmp_path / "program.py"
    script.write_text(program)
    monkeypatch.setattr(litert_conversion, "__file__", str(script))


def test_a_crash_of_the_converter_is_a_refusal_and_the_next_request_is_served(monkeypatch, tmp_path, module):
    converter = ConverterProcess()
    with monkeypatch.context() as patched:
        pretend(patched, tmp_path, CRASH)
        with pytest.raises(ValueError, match=r"LiteRT's converter crashed \(SIGSEGV\) on this network"):
            converter.convert(module, tmp_path / "model", input_names=["input0"])
        with pytest.raises(ValueError, match=r"LiteRT's quantizer crashed \(SIGSEGV\)"):
            converter.store_weights(module, tmp_path / "model", dtype="int8")
    with pytest.raises(ValueError, match="LiteRT's converter refuses this network"):  # a new child answers
        converter.convert(module, tmp_path / "model", input_names=["input0"])
    with pytest.raises(ValueError, match=r"cannot store this network's weights as int8: .*dtype=float32"):
        converter.store_weights(module, tmp_path / "model", dtype="int8")
    converter.close()


def test_a_full_disk_is_no_refusal_of_the_network(monkeypatch, tmp_path, module):
    pretend(monkeypatch, tmp_path, NUMBER.replace('{"refusal": None, "errno": None}', '{"refusal": "full", "errno": 28}'))
    converter = ConverterProcess()
    with pytest.raises(OSError, match="No space left on device: .*model"):
        converter.convert(module, tmp_path / "model", input_names=["input0"])
    converter.close()


@pytest.mark.parametrize("is_large", [False, True])
def test_a_large_module_gets_a_child_of_its_own(monkeypatch, tmp_path, module, is_large):
    pretend(monkeypatch, tmp_path, NUMBER)
    if is_large:
        monkeypatch.setattr(litert_converter_process, "_LARGE_BYTES", 0)
    converter = ConverterProcess()
    numbers = set()
    for _ in range(2):
        converter.convert(module, tmp_path / "model", input_names=["input0"])
        numbers.add((tmp_path / "model").read_text())
    converter.close()
    assert len(numbers) == (2 if is_large else 1)


def test_requests_of_several_threads_wait_for_their_own_model(monkeypatch, tmp_path, module):
    pretend(monkeypatch, tmp_path, NUMBER)
    converter = ConverterProcess()

    def convert(i: int) -> str:
        converter.convert(module, tmp_path / f"model{i}", input_names=["input0"])
        return (tmp_path / f"model{i}").read_text()

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(convert, range(8)))) == 1
    converter.close()


def test_a_large_module_without_memory_for_it_is_refused_before_a_child_starts(monkeypatch, tmp_path, module):
    pretend(monkeypatch, tmp_path, CRASH)
    monkeypatch.setattr(litert_converter_process, "_LARGE_BYTES", 0)
    monkeypatch.setattr(litert_converter_process, "_CONVERTING_COPIES", 1e12)
    with pytest.raises(ValueError, match=r"needs about 12000.0 GB of free memory for LiteRT's converter, .* GB are free"):
        ConverterProcess().convert(module, tmp_path / "model", input_names=["input0"])
