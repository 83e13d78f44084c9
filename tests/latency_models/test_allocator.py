"""Memory that a process keeps is not taken from the system again."""

import subprocess
import sys

import pytest

# A block of 64 MB, twice what glibc ever keeps by default, written to and freed twenty times.
PROGRAM = """
import resource, sys
import numpy as np
from latency_models.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(8 * 2**20)
begun = faults()
for _ in range(20):
    np.ones(8 * 2**20)
print(faults() - begun)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_what_is_freed_is_used_again():
    assert faults("kept") < 100
    assert faults("returned") > 20 * 16  # of huge pages, 32 a block; of small ones, 16,384
