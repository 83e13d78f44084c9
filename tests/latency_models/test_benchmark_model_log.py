"""Every line of both tools' logs is read, and a log that proves nothing is refused."""

import dataclasses
import pathlib

import pytest

from latency_models.benchmark_model_log import Delegation, OperationTime, Statistics, parse_flags, parse_log

LOGS = pathlib.Path(__file__).parent / "logs"


def text_of(name):
    return (LOGS / f"{name}.log").read_text()


def kernels_of(name):
    return [(kernel.name, round(kernel.ms, 3)) for kernel in parse_log(text_of(name)).kernels]


def test_tensorflow_log_is_read_to_the_last_number():
    log = parse_log(text_of("tensorflow"))
    assert log.inference == Statistics(16321.4, 20, 16230, 16118, 15860, 18944, 655, 15871, 16142, 18944)
    assert log.warmup == Statistics(16452.9, 31, 24117, 16204, 15877, 24117, 1431, 15903, 16180, 17022)
    assert log.inference.ms == 16.142
    assert (log.init_ms, log.first_ms, log.model_mb) == (21.873, 24.117, 3.84271)
    assert (log.init_mib, log.overall_mib, log.peak_mib) == (9.03516, 14.7891, 21.5625)
    assert (log.delegations, log.partitions) == ((Delegation("XNNPACK", 1),), 1)
    assert (log.kernels, log.num_nodes, log.errors) == ((), 0, ())


def test_litert_log_is_read_to_the_last_number():
    log = parse_log(text_of("litert"))
    assert log.inference == Statistics(15914.6, 20, 15904, 15820, 15571, 17203, 381, 15588, 15833, 17203)
    assert (log.init_ms, log.first_ms, log.model_mb) == (19.434, 22.861, 3.84271)
    assert (log.init_mib, log.overall_mib, log.peak_mib) == (8.75, 13.25, 20.5)
    assert log.delegations == (Delegation("TfLiteXNNPackDelegate", 1),)


def test_old_log_without_percentiles_gives_the_mean_and_its_operations():
    log = parse_log(text_of("tensorflow_old_profile"))
    assert log.warmup == Statistics(1236188, 1, 1236188, 1236188, 1236188, 1236188, 0.0)
    assert log.inference == Statistics(1206940.0, 20, 1214012, 1200417, 1198871, 1231740, 9120)
    assert log.inference.ms == 1206.94
    assert (log.init_mib, log.overall_mib, log.peak_mib, log.partitions) == (2.5, 30.25, None, None)
    assert log.operations[1] == OperationTime("SOFTMAX", "[unet/down.0/attn/Softmax]", 0.8, 0.772, 0.0, 0)
    assert log.num_nodes == 3  # the table about initialisation is another
    assert kernels_of("tensorflow_old_profile") == [("CONV_2D", 13.901), ("SOFTMAX", 0.772), ("CONV_2D", 20.514)]


def test_kernels_are_those_inside_delegates_and_the_operations_between_them():
    log = parse_log(text_of("tensorflow_profile"))
    assert log.partitions == 2
    assert [row.kind for row in log.operations] == ["TfLiteXNNPackDelegate", "BROADCAST_TO", "TfLiteXNNPackDelegate"]
    assert len(log.internal) == 5
    assert kernels_of("tensorflow_profile") == [
        ("Convolution (NHWC, F32) IGEMM", 1.85),
        ("Fully Connected (NC, F32) GEMM", 1.74),  # two of the same name and number, 0.87 ms a call
        ("Batch Matrix Multiply (NC, F32)", 2.15),
        ("Softmax (NC, F32)", 0.031),
        ("Convolution (NHWC, F32) IGEMM", 2.08),
        ("BROADCAST_TO", 0.402),
    ]


def test_kernels_of_one_delegate_are_in_the_order_of_their_numbers():
    rows = parse_log(text_of("tensorflow_one_partition_profile")).internal
    assert [row.name[-1] for row in rows] == ["3", "0", "1", "2"]
    assert [ms for _, ms in kernels_of("tensorflow_one_partition_profile")] == [0.5, 0.6, 0.7, 0.8]


def test_litert_lists_kernels_among_the_operations_and_events_that_are_no_work():
    log = parse_log(text_of("litert_profile"))
    assert (log.num_nodes, log.internal, log.peak_mib) == (7, (), None)
    assert kernels_of("litert_profile") == [
        ("Convolution (NHWC, F32) IGEMM", 8.904),
        ("Softmax (NC, F32)", 1.107),
        ("BROADCAST_TO", 0.551),
        ("Fully Connected (NC, F32) GEMM", 5.213),
    ]


def test_a_partition_whose_kernels_are_not_known_stays_a_row():
    text = text_of("tensorflow_profile").partition("Delegate internal:")[0]
    kernels = parse_log(text).kernels
    assert [kernel.ms for kernel in kernels] == [5.002, 0.402, 3.101]


def test_number_of_pieces_bounds_the_partitions_where_only_that_is_told():
    assert parse_log(text_of("litert_profile")).partitions == 2  # of 3 pieces, the delegate's may be the outer ones
    text = text_of("litert").replace("Replacing 412 out of 412", "Replacing 0 out of 412")
    assert parse_log(text).partitions == 0
    old = text_of("litert").replace("Replacing 412 out of 412", "Replacing 412")  # older versions
    assert parse_log(old).delegations == (Delegation("TfLiteXNNPackDelegate", 1),)


def test_a_delegate_that_runs_nothing_has_no_partition():
    told = "Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate."
    text = text_of("tensorflow").replace("INFO: Explicitly applied XNNPACK", f"INFO: {told}\nINFO: Explicitly applied XNNPACK")
    assert parse_log(text).delegations == (Delegation("GPU", 0), Delegation("XNNPACK", 1))


def test_line_ends_of_a_terminal_change_nothing():
    assert parse_log(text_of("tensorflow_profile").replace("\n", "\r\n")) == parse_log(text_of("tensorflow_profile"))


def test_runs_that_all_took_equally_long_have_one_number():
    log = parse_log("count=7 curr=250(all same) p5=250 median=250 p95=250\n")
    assert log.inference == Statistics(250, 7, 250, 250, 250, 250, 0.0, 250, 250, 250)
    assert log.warmup is None
    assert log.first_ms is None


@pytest.mark.parametrize(
    ("text", "avg_us", "init_ms", "first_ms"),
    [
        (
            "Inference timings in us: Init: 5, First inference: 9000, Warmup (avg): 8e+03, Inference (avg): 7e+03",
            7000,
            0.005,
            9,
        ),
        ("INFO: [x.h:88] Inference (avg):      7.50 ms (14 runs)\nINFO: [x.h:9] Warmup (first):  9.25 ms", 7500, None, 9.25),
    ],
)
def test_summaries_serve_where_the_lines_of_counts_were_left_out(text, avg_us, init_ms, first_ms):
    log = parse_log(text)
    assert (log.inference.avg_us, log.inference.count, log.init_ms, log.first_ms) == (avg_us, None, init_ms, first_ms)


def test_subgraphs_are_not_the_graph():
    primary, subgraph = "Primary graph (name: main) profile:\n", "Subgraph (index: 1, name: body) profile:\n"
    text = text_of("tensorflow_old_profile")
    expected = parse_log(text)
    for heading in ("Benchmark Initialization:\n", "Regular Benchmark Runs:\n"):
        before, _, after = text.partition(heading)
        table, found, rest = after.partition("Operator-wise")
        text = before + heading + primary + table + subgraph + table + subgraph + table + found + rest
    assert text.count(subgraph) == 4
    assert parse_log(text) == expected


def test_errors_that_did_not_stop_the_tool_are_kept():
    text = "ERROR: Can not open OpenCL library on this device\n" + text_of("tensorflow")
    assert parse_log(text).errors == ("Can not open OpenCL library on this device",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown_flag", r"does not know the flags --warm_ups=30 --use_fast_mode=true and would .*give another build"),
        ("failed_operation", r"operation BROADCAST_TO \(node 137\) failed to prepare: .*input_num_dims <= 8 was not true"),
        ("no_model", r"no timings; it says: Could not open '.*tflite'. \| Failed to load model"),
    ],
)
def test_a_log_that_proves_nothing_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        parse_log(text_of(name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no timings; it is empty"),
        ("STARTING!\nLoaded model x\nSegmentation fault \n", r"it says: STARTING! \| Loaded model x \| Segmentation fault"),
        ("count=0\n", "no timings"),
        ("Warning: Dropping ProfileBuffer event.\ncount=1 curr=5\n", "give a larger --max_profiling_buffer_entries"),
        (
            "failed to create XNNPACK runtimeNode number 12 (TfLiteXNNPackDelegate) failed to prepare.",
            r"TfLiteXNNPackDelegate \(node 12\) failed to prepare: failed to create XNNPACK runtime$",
        ),
    ],
)
def test_what_is_no_log_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_log(text)


def test_a_failed_run_is_refused_although_there_are_timings():
    with pytest.raises(ValueError, match=r"operation CONV_2D \(node 3\) failed to invoke"):
        parse_log(text_of("tensorflow") + "ERROR: Node number 3 (CONV_2D) failed to invoke.\n")


def test_a_table_that_was_cut_is_refused():
    text = text_of("tensorflow_profile")
    row = next(line for line in text.splitlines() if "BROADCAST_TO" in line)
    with pytest.raises(ValueError, match="must have 3 rows, it has 2; was the log cut"):
        parse_log(text.replace(f"{row}\n", "", 1))
    with pytest.raises(ValueError, match=r"columns \[node type\] \[first\].*this row cannot be read: 'BROADCAST_TO'"):
        parse_log(text.replace(row, "\t  BROADCAST_TO", 1))
    with pytest.raises(ValueError, match="were its tabs replaced"):
        parse_log(text.replace(row, row.replace("\t", "  "), 1))


def test_flags_are_read_from_the_usage():
    usage = (
        "usage: ./benchmark_model <flags>\nFlags:\n\t--num_runs=50          \tint32\texpected number\n\t--graph=\tstring\tx\n"
    )
    assert parse_flags(f"ERROR: {usage}") == {"num_runs", "graph"}
    assert parse_flags("/system/bin/sh: benchmark_model: inaccessible or not found") == frozenset()


def test_a_log_is_a_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse_log(text_of("tensorflow")).init_ms = 0.0
