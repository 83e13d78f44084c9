"""Whether samples have collapsed: how much of the data they are near to, and whether they have the data's classes.

Precision and recall rise and fall with the number of samples and with the features: compare numbers of the same n, of data and
samples, in the features of the same weights only.
"""

import numpy as np
from jaxtyping import Float, Int
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors

NUM_NEIGHBOURS = 3


def recall(
    reference: Float[np.ndarray, "n features"],
    generated: Float[np.ndarray, "m other_features"],
    *,
    num_neighbours: int = NUM_NEIGHBOURS,
) -> float:
    """The share of the data that lies where samples are: as near to one as its k-th nearest other sample, or nearer.

    With the two swapped it is the precision: the share of samples that lie where data are.

    >>> data, samples = np.array([[0.0], [1.0], [9.0]]), np.array([[0.0], [0.5], [1.0]])
    >>> round(recall(data, samples, num_neighbours=1), 3), recall(samples, data, num_neighbours=1)
    (0.667, 1.0)

    Args:
      reference: Features of the data.
      generated: Features of samples.
      num_neighbours: The k; 3 in the paper.

    Raises:
      ValueError: There are not more samples than neighbours, or the two have different numbers of features.

    Source: Kynkäänniemi et al. 2019, "Improved precision and recall metric", equations 1 and 2.
    """
    if len(generated) <= num_neighbours:
        raise ValueError(f"there must be more samples than num_neighbours={num_neighbours}, got {len(generated)}; draw more")
    if reference.shape[1] != generated.shape[1]:
        raise ValueError(
            f"both sets must have the same features, got {reference.shape[1]} and {generated.shape[1]}; use one extractor"
        )
    reference, generated = reference.astype(np.float64), generated.astype(np.float64)
    distances, _ = NearestNeighbors(n_neighbors=num_neighbours).fit(generated).kneighbors()  # without the sample itself
    radii = distances[:, -1]
    chunks = pairwise_distances_chunked(reference, generated, reduce_func=lambda part, _: (part <= radii).any(axis=1))
    return float(np.concatenate(list(chunks)).mean())


def class_coverage(found: Int[np.ndarray, " n"], wanted: Int[np.ndarray, " m"]) -> float:
    """How much of the wanted classes, each at its share, samples have: 1 less the total variation of the two shares.

    1 where every class turns up as often as it should, 0 where only others do; a class that is missing costs its share.

    >>> class_coverage(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]))
    0.5

    Args:
      found: Classes of samples, as a classifier reads them, from 0.
      wanted: Classes of the data, or of the prompts that samples follow.

    Raises:
      ValueError: One of the two is empty.
    """
    if not len(found) or not len(wanted):
        raise ValueError(f"shares of classes need at least one of each, got {len(found)} and {len(wanted)}; draw some")
    num_classes = 1 + max(found.max(), wanted.max())
    ours, theirs = (np.bincount(labels, minlength=num_classes) / len(labels) for labels in (found, wanted))
    return float(np.minimum(ours, theirs).sum())
