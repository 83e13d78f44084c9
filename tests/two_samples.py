"""Whether two searches differ by more than their seeds do."""

import numpy as np


def two_sample_t(ours, theirs):
    """Welch's t: difference of the means over its standard error."""
    error = np.sqrt(np.var(ours, ddof=1) / len(ours) + np.var(theirs, ddof=1) / len(theirs))
    return (np.mean(ours) - np.mean(theirs)) / error
