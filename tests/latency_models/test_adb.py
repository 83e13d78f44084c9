"""A phone through a stand-in for `adb`: what is pushed, called, read, refused and cleared away."""

import hashlib
import importlib.metadata
import json
import pathlib
import re
import sys

import pytest

from latency_models import adb as adb_module
from latency_models.adb import FOLDER
from latency_models.device import get_device
from latency_models.measure import measure
from latency_models.network import network_of
from latency_models.timing import TimingProtocol
from search_space import get_scale, get_space, layer_plan

LOGS = pathlib.Path(__file__).parent / "logs"
TOOL = b"a build of benchmark_model"
FLAGS = {
    "tensorflow": "num_runs min_secs max_secs num_threads warmup_runs warmup_min_secs report_peak_memory_footprint "
    "memory_footprint_check_interval_ms graph enable_op_profiling max_profiling_buffer_entries use_xnnpack use_gpu",
    "litert": "num_runs min_secs max_secs num_threads warmup_runs warmup_min_secs report_peak_memory_footprint "
    "memory_footprint_check_interval_ms graph use_profiler use_cpu use_gpu",
}

# The phone's files lie in `phone/`, its state in `state.json`, and each call adds a line to `calls.txt`.
ADB = """#!{python} -IS
import hashlib, json, pathlib, shlex, sys, time
home = pathlib.Path({home!r})
state = json.loads((home / "state.json").read_text())
words = sys.argv[1:]
with (home / "calls.txt").open("a") as file:
    file.write(json.dumps(words) + chr(10))

def end(text, code=0):
    sys.stdout.write(text)
    sys.exit(code)

if words == ["devices"]:
    rows = "".join(f"{{serial}}\\t{{how}}\\n" for serial, how in state["phones"].items())
    print("* daemon not running; starting now at tcp:5037", "* daemon started successfully", sep=chr(10))
    end("List of devices attached\\n" + rows + "\\n")
assert words[0] == "-s" and state["phones"][words[1]] == "device", words
if state.get("gone"):
    end(f"adb: device '{{words[1]}}' not found\\n", 1)
there = lambda path: home / "phone" / path.lstrip("/")
if words[2] == "push":
    if state.get("full"):
        end("adb: error: failed to copy 'x' to 'y': remote write failed: No space left on device\\n", 1)
    there(words[4]).write_bytes(pathlib.Path(words[3]).read_bytes())
    end("1 file pushed, 0 skipped.\\n")
assert words[2] == "shell" and words[3].startswith("(") and words[3].endswith(") 2>&1"), words
command = words[3][1:-6]
if command.startswith("for p in"):
    end("".join(state["properties"].get(name, "") + "\\n" for name in command.split(";")[0].split()[3:]))
if command.startswith("dumpsys"):
    end(state["thermal"])
if command.startswith("cat /sys"):
    end(state["governors"], 0 if state["governors"] else 1)
name, *arguments = shlex.split(command)
if name == "taskset":
    name, *arguments = arguments[1:]
path = there(arguments[-1] if name in ("mkdir", "ls", "chmod", "rm", "sha256sum") else name)
if name == "mkdir":
    path.mkdir(parents=True, exist_ok=True)
elif name == "rm":
    path.unlink(missing_ok=True)
elif not path.exists():
    end(f"{{name}}: {{path}}: No such file or directory\\n", 1)
elif name == "sha256sum":
    end(hashlib.sha256(path.read_bytes()).hexdigest() + "  " + arguments[-1] + "\\n")
elif name == "chmod":
    path.with_name("is_executable").touch()
elif name != "ls":
    if state.get("broken"):
        end("/system/bin/sh: benchmark_model: not executable: 64-bit ELF file\\n", 126)
    if arguments == ["--help"]:
        rows = "".join(f"\\t--{{flag}}=0\\tstring\\toptional\\n" for flag in state["flags"])
        end("usage: benchmark_model <flags>\\nFlags:\\n" + rows, 1)
    time.sleep(state.get("sleep", 0))
    given = dict(x[2:].split("=", 1) for x in arguments)
    unknown = [f"--{{key}}={{value}}" for key, value in given.items() if key not in state["flags"]]
    if unknown:
        end("WARN: Unconsumed cmdline flags: " + " ".join(unknown) + "\\n" + state["log"])
    if not there(given["graph"]).exists():
        end("ERROR: Failed to load model\\n", 1)
    is_profile = "enable_op_profiling" in given or "use_profiler" in given
    end(state["profile" if is_profile else "log"], state.get("code", 0))
"""


class StandIn:
    """The stand-in's folder, and how a test changes and watches the phone."""

    def __init__(self, home):
        self.home = home
        self.state = {
            "phones": {"R5CT10XYZ": "device"}, "flags": FLAGS["tensorflow"].split(), "log": log("tensorflow"),
            "profile": log("tensorflow_profile"), "governors": "schedutil\nschedutil\nperformance\n",
            "thermal": "IsStatusOverride: false\nThermal Status: 1\nCached temperatures:\n",
            "properties": {
                "ro.product.model": "SM-S918B", "ro.build.version.release": "14", "ro.soc.model": "SM8550",
                "ro.board.platform": "kalama", "ro.product.cpu.abi": "arm64-v8a",
            },
        }  # fmt: skip
        self.set()

    def set(self, **changes):
        self.state.update(changes)
        (self.home / "state.json").write_text(json.dumps(self.state))

    def files(self):
        folder = self.home / "phone" / FOLDER.lstrip("/")
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def install(self, content=TOOL):
        folder = self.home / "phone" / FOLDER.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "benchmark_model").write_bytes(content)

    def calls(self):
        return [json.loads(line) for line in (self.home / "calls.txt").read_text().splitlines()]

    def commands(self):
        """The tool's command lines, help apart."""
        shells = [call[3] for call in self.calls() if call[2:3] == ["shell"]]
        return [x for x in shells if "benchmark_model --" in x and "--help" not in x]


def log(name):
    return (LOGS / f"{name}.log").read_text()


class Converter:
    """Writes a file in the place of a model: conversion is another device's test."""

    def convert(self, network, build, folder):
        (folder / adb_module.MODEL_FILE).write_bytes(b"model of " + network.key.encode())


@pytest.fixture
def phone(tmp_path, monkeypatch):
    home = tmp_path / "adb"
    home.mkdir()
    program = home / "adb"
    program.write_text(ADB.format(python=sys.executable, home=str(home)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.setattr(adb_module, "litert_converter", Converter)
    get_device.cache_clear()
    stand_in = StandIn(home)
    stand_in.install()
    yield stand_in
    get_device.cache_clear()


@pytest.fixture
def networks():
    space, scale = get_space("digits"), get_scale("digits-deploy")
    return [network_of(layer_plan(architecture, scale)) for architecture in (space.smallest(), space.largest())]


def no_build(network):
    raise AssertionError("the converter of these tests builds nothing")


@pytest.fixture
def session(phone, networks, tmp_path):
    session = get_device("adb:R5CT10XYZ").load(networks[0], no_build, tmp_path)
    yield session
    session.close()


def test_loading_pushes_the_model_and_tells_what_the_first_run_showed(phone, session, networks, tmp_path):
    (model,) = [name for name in phone.files() if name.endswith(".tflite")]
    assert model.startswith(networks[0].key)
    loaded = session.loaded
    assert loaded.model_bytes == (tmp_path / adb_module.MODEL_FILE).stat().st_size
    assert (loaded.partitions, loaded.load_ms, loaded.first_ms) == (1, 21.873, 24.117)
    assert loaded.peak_bytes == round(21.5625 * 2**20)
    assert "--report_peak_memory_footprint=true" in phone.commands()[0]


def test_a_run_is_one_call_and_one_number_the_median(phone, session):
    before = len(phone.commands())
    times = session.run(7)
    assert list(times) == ["wall"]
    assert times["wall"].tolist() == [16.142]
    (command,) = phone.commands()[before:]
    assert "--num_runs=7" in command
    assert "--min_secs=0 " in command  # else there would be more runs than asked for
    assert "--num_threads=1" in command
    assert "--use_xnnpack=true" in command
    assert "report_peak_memory_footprint" not in command  # its watching thread would disturb


def test_a_tool_without_median_gives_the_mean(phone, session):
    phone.set(log=log("tensorflow_old_profile"))
    assert session.run(2)["wall"].tolist() == [1206.94]


def test_profile_is_a_call_with_profiling(phone, session):
    profile = session.profile(5)
    assert [kernel.name for kernel in profile][-1] == "BROADCAST_TO"
    assert sum(kernel.ms for kernel in profile) == pytest.approx(8.253)
    assert "--enable_op_profiling=true --max_profiling_buffer_entries=" in phone.commands()[-1]


def test_litert_tool_is_asked_for_its_profile_with_its_own_flag(phone, networks, tmp_path):
    phone.set(flags=FLAGS["litert"].split(), log=log("litert"), profile=log("litert_profile"))
    session = get_device("adb").load(networks[0], no_build, tmp_path)
    assert session.loaded.peak_bytes == round(20.5 * 2**20)
    assert len(session.profile(3)) == 4
    assert "--use_profiler=true" in phone.commands()[-1]
    assert "xnnpack" not in " ".join(phone.commands())


def test_a_profile_without_rows_is_none(phone, session):
    phone.set(profile=log("tensorflow"))
    assert session.profile(3) is None


def test_closing_deletes_the_model_once_and_leaves_the_tool(phone, session):
    session.close()
    session.close()
    assert phone.files() == ["benchmark_model"]
    assert sum("rm -f" in " ".join(call) for call in phone.calls()) == 1


def test_closing_is_quiet_where_the_phone_is_gone(phone, session):
    phone.set(gone=True)
    session.close()


def test_a_model_that_is_refused_is_deleted_too(phone, networks, tmp_path):
    phone.set(log=log("failed_operation"), code=1)
    with pytest.raises(ValueError, match=r"phone R5CT10XYZ \(exit code 1\): operation BROADCAST_TO \(node 137\) failed"):
        get_device("adb").load(networks[0], no_build, tmp_path)
    assert phone.files() == ["benchmark_model"]


def test_networks_are_measured_in_rounds_of_calls(phone, networks):
    protocol = TimingProtocol(warmup=1, rounds=2, repeats_per_round=3)
    measured = measure(get_device("adb"), networks, no_build, protocol=protocol)
    assert set(measured.measurements) == {network.key for network in networks}
    timing = measured.measurements[networks[0].key].timing
    assert (timing.ms, timing.clock, timing.n) == (16.142, "wall", 2)
    assert len(measured.profiles[networks[0].key]) == 6
    rounds = [command for command in phone.commands() if "--num_runs=3" in command]
    first, second = networks
    assert [next(n.key for n in networks if n.key in command) for command in rounds] == [first.key, second.key] * 2
    assert phone.files() == ["benchmark_model"]


def test_options_reach_the_command_and_the_name(phone, networks, tmp_path):
    device = get_device("adb:R5CT10XYZ,threads=4,mask=f0")
    device.load(networks[0], no_build, tmp_path).run(1)
    assert phone.commands()[-1].startswith(f"(taskset f0 {FOLDER}/benchmark_model ")
    assert "--num_threads=4" in phone.commands()[-1]
    assert device.name == "adb:R5CT10XYZ,threads=4,mask=f0"
    assert device.fingerprint()["device"] == device.name


def test_a_named_binary_is_pushed_once_and_made_executable(phone, tmp_path, networks):
    binary = tmp_path / "benchmark_model_android_arm64"
    binary.write_bytes(b"a newer build")
    device = get_device(f"adb:binary={binary}")
    for network in networks:
        device.load(network, no_build, tmp_path).close()
    pushed = [call[3] for call in phone.calls() if call[2:3] == ["push"]]
    assert pushed.count(str(binary)) == 1
    assert phone.files() == ["benchmark_model", "is_executable"]
    assert str(tmp_path) not in json.dumps(device.fingerprint())  # where a file lies here says nothing about the phone
    get_device.cache_clear()
    get_device(f"adb:binary={binary}").fingerprint()
    assert [call[3] for call in phone.calls() if call[2:3] == ["push"]] == pushed  # the phone has that very file


def test_fingerprint_names_phone_tool_and_state(phone):
    fingerprint = get_device("adb").fingerprint()
    command = f"{FOLDER}/benchmark_model --warmup_runs=1 --min_secs=0 --max_secs=300 --num_threads=1 --use_xnnpack=true"
    assert fingerprint == {
        "device": "adb:R5CT10XYZ", "threads": "1", "dtype": "float32", "clock": "wall time, median of the runs of one call",
        "benchmark_model": hashlib.sha256(TOOL).hexdigest()[:16], "command": command, "phone": "SM-S918B", "android": "14",
        "soc": "SM8550", "abi": "arm64-v8a", "governor": "performance schedutil",
        **{package: importlib.metadata.version(package) for package in ("litert-converter", "jax")},
    }  # fmt: skip


def test_fingerprint_says_what_cannot_be_read(phone):
    properties = {key: value for key, value in phone.state["properties"].items() if key != "ro.soc.model"}
    phone.set(thermal="Can't find service: thermalservice\n", governors="", properties=properties)
    fingerprint = get_device("adb").fingerprint()
    assert (fingerprint["soc"], fingerprint["governor"]) == ("kalama", "unknown")


def test_a_hot_phone_is_refused_and_stays_the_same_device(phone, session):
    assert session.run(1)
    cool = get_device("adb").fingerprint()
    phone.set(thermal="Thermal Status: 3\n")
    with pytest.raises(ValueError, match=r"too hot and slows down \(thermal status 3.*what was measured before is kept"):
        session.run(1)
    assert get_device("adb").fingerprint() == cool


GPU = (
    "INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate "
    "w/ 2 delegate kernels.\n"
)


@pytest.mark.parametrize("text", [GPU + log("tensorflow"), GPU])
def test_gpu_runs_with_its_flag(phone, networks, tmp_path, text):
    phone.set(log=text + "count=5 curr=900\n")
    session = get_device("adb:use_gpu=true").load(networks[0], no_build, tmp_path)
    assert "--use_gpu=true" in phone.commands()[-1]
    assert "use_xnnpack" not in phone.commands()[-1]
    assert session.loaded.partitions == 2 + text.count("XNNPACK delegate, and")
    assert get_device("adb:use_gpu=true").fingerprint()["device"] == "adb:R5CT10XYZ,use_gpu=true"


@pytest.mark.parametrize(
    "text",
    [
        log("tensorflow"),
        "WARN: GPU acceleration is unsupported on this platform.\ncount=5 curr=900\n",
        "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
        "count=5 curr=900\n",
    ],
)
def test_a_gpu_that_runs_nothing_is_refused(phone, networks, tmp_path, text):
    phone.set(log=text)
    with pytest.raises(ValueError, match="the GPU runs nothing of this network, so the CPU was measured; leave use_gpu out"):
        get_device("adb:use_gpu=true").load(networks[0], no_build, tmp_path)


def test_an_unknown_flag_is_refused_by_name(phone, session):
    phone.set(flags=[flag for flag in phone.state["flags"] if flag != "warmup_min_secs"])
    with pytest.raises(ValueError, match=r"does not know the flags --warmup_min_secs=0.5 and would go on without"):
        session.run(1)


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ("INFO: STARTING!\nSegmentation fault \n", 139, r"\(crashed, SIGSEGV\): .* no timings; it says: .*Segmentation fault"),
        ("INFO: STARTING!\nKilled \n", 137, r"\(crashed, SIGKILL\)"),
        ("", 1, r"\(exit code 1\): the log of benchmark_model has no timings; it is empty"),
        ("count=3 curr=9\nINFO: the end\n", 1, r"failed after its timings \(exit code 1\): INFO: the end"),
    ],
)
def test_a_crash_is_a_refusal_that_says_how(phone, session, output, code, message):
    phone.set(log=output, code=code)
    with pytest.raises(ValueError, match=message):
        session.run(1)


def test_adb_that_fails_is_told_by_its_last_line(phone, networks, tmp_path):
    device = get_device("adb")
    phone.set(full=True)
    with pytest.raises(ValueError, match=r"adb push of model.tflite fails on phone R5CT10XYZ: .*No space left on device"):
        device.load(networks[0], no_build, tmp_path)
    phone.set(full=False)
    session = device.load(networks[0], no_build, tmp_path)
    phone.set(gone=True)
    with pytest.raises(ValueError, match="adb shell fails on phone R5CT10XYZ: adb: device 'R5CT10XYZ' not found"):
        session.run(1)


def test_a_call_that_does_not_end_is_ended(phone, session, monkeypatch):
    phone.set(sleep=60)
    monkeypatch.setattr(adb_module, "_LIMIT_S", 0.5)
    with pytest.raises(ValueError, match="did not end within 0 s; look at the phone"):
        session.run(1)


@pytest.mark.parametrize(
    ("phones", "spec", "reason"),
    [
        ({}, "adb", "adb lists no phone; connect one by USB, with `USB debugging` on"),
        ({"A": "unauthorized"}, "adb", "phone A is 'unauthorized' to adb; unlock it, and accept"),
        ({"A": "offline"}, "adb:A", "phone A is 'offline' to adb; take its cable out"),
        ({"A": "no permissions (missing udev rules?)"}, "adb", "install the udev rules"),
        ({"A": "recovery"}, "adb", "phone A is 'recovery' to adb; start it normally"),
        ({"A": "device", "B": "offline"}, "adb", "adb lists 2 phones: A, B; name one, as adb:A"),
        ({"A": "device"}, "adb:C", "adb lists no phone 'C'; it lists A"),
    ],
)
def test_absence_says_why_with_the_remedy(phone, networks, tmp_path, phones, spec, reason):
    phone.set(phones=phones)
    assert reason in get_device(spec).absence()
    with pytest.raises(ValueError, match=re.escape(reason)):
        get_device(spec).load(networks[0], no_build, tmp_path)


def test_a_phone_that_is_there_is_not_absent(phone):
    assert get_device("adb").absence() is None
    phone.set(phones={"192.168.0.7:5555": "device", "B": "offline"})
    assert get_device("adb:192.168.0.7:5555").absence() is None


def test_absence_without_the_program(phone, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert "no program `adb` on PATH; install Android's platform tools" in get_device("adb").absence()


def test_a_tool_that_is_not_on_the_phone_is_absence_and_refusal(phone, networks, tmp_path):
    phone.install()
    (phone.home / "phone" / FOLDER.lstrip("/") / "benchmark_model").unlink()
    reason = "has no /data/local/tmp/pocketunet/benchmark_model; name the file to push as binary=PATH"
    assert reason in get_device("adb").absence()
    with pytest.raises(ValueError, match=reason):
        get_device("adb").load(networks[0], no_build, tmp_path)


def test_a_tool_of_another_processor_is_refused(phone):
    phone.set(broken=True)
    with pytest.raises(ValueError, match=r"does not start .*not executable: 64-bit ELF file; push a build for arm64-v8a"):
        get_device("adb").fingerprint()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("adb:cores=4", "option 'cores' is not known; known are binary, threads, mask, use_gpu"),
        ("adb:threads=0", "option threads must be a whole number from 1, got '0'"),
        ("adb:mask=0xg0", "option mask must be a hexadecimal number, as f0 for cores 4 to 7, got '0xg0'"),
        ("adb:use_gpu=yes", "option use_gpu must be true or false, got 'yes'"),
        ("adb:binary=nowhere", "there is no file 'nowhere'"),
        ("adb:A,B", "it takes one argument, got A, B; write adb"),
    ],
)
def test_a_wrong_option_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        get_device(spec)
