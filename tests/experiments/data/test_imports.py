"""What is loaded by what: a folder or a file of latents needs neither TFDS, TensorFlow, Ray nor the network."""

import subprocess
import sys

import numpy as np
from PIL import Image

from experiments.data import load_dataset, write_latents

HEAVY = ("tensorflow", "tensorflow_datasets", "ray", "nni", "optuna", "pymoo", "sklearn")
OFFLINE = """
import socket
def refuse(*arguments, **options): raise AssertionError("the network was asked")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
"""


def run(source: str) -> str:
    finished = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_importing_the_package_is_light():
    source = "import sys, experiments.data\nprint([m for m in {} if m in sys.modules])"
    assert run(source.format((*HEAVY, "grain", "jax", "PIL", "array_record"))) == "[]"


def test_a_folder_and_latents_load_no_tfds(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    npz, records = (write_latents(tmp_path / name, np.ones((4, 8, 8, 3), np.float32)) for name in ("a.npz", "a.array_record"))
    source = f"""
import sys
from experiments.data import batches, load_dataset
for path in {[str(folder), str(npz), str(records)]}:
    batch = next(batches(load_dataset(path, split="train"), batch_size=2, seed=0))
    assert batch["image"].shape == (2, 8, 8, 3)
print([m for m in {HEAVY} if m in sys.modules])
"""
    assert run(OFFLINE + source) == "[]"


def test_the_digits_and_a_refusal_ask_no_network_and_load_no_tensorflow():
    load_dataset("digits", split="train")
    source = """
import sys, time
from experiments.data import load_dataset
from experiments.errors import InputError
assert len(load_dataset("digits", split="train")) == 1197
start = time.monotonic()
try:
    load_dataset("cifar10", split="train")
except InputError:
    assert time.monotonic() - start < 10
    print([m for m in ("tensorflow", "ray", "jax") if m in sys.modules])
"""
    assert run(OFFLINE + source) == "[]"


def test_without_tfds_its_sets_name_what_is_missing_and_folders_work(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    source = f"""
import sys
sys.modules["tensorflow_datasets"] = None
from experiments.data import load_dataset
from experiments.errors import InputError
assert len(load_dataset({str(tmp_path)!r}, split="train")) == 1
try:
    load_dataset("digits", split="train")
except InputError as refusal:
    print(refusal)
"""
    message = run(source)
    assert "needs the Python package tensorflow-datasets, which is not installed; `pip install tensorflow-datasets`" in message
