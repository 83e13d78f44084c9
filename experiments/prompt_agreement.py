"""Whether a sweep's samples show what their prompts say, where the labels of its data set have attributes."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from experiments.config import SweepConfig
from experiments.denoising_task import load_examples
from experiments.quality import mixed
from experiments.sample_features import check_classes
from objectives import Estimate
from objectives.agreement import agreement, attribute_values, read_attributes
from objectives.features import Classifier
from objectives.jackknife import Jackknifed
from search_space import get_scale


@dataclasses.dataclass(frozen=True, eq=False)
class PromptAgreement:
    """Agreement of samples with the prompts that they follow, as the sweep's classifier reads them.

    Attributes:
        classifier: of the attributes.
        names: of the attributes.
        sizes: how many values each has.
        wanted: by the prompts; sample i follows prompt i, counted round.
        held_out: agreement of the real images of these prompts: what perfect samples would reach.
    """

    classifier: Classifier
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    wanted: Int[np.ndarray, "prompts attributes"]
    held_out: dict[str, Estimate]

    def jackknifed(self, samples: Float[np.ndarray, "n height width channels"]) -> dict[str, Jackknifed]:
        """Share of samples that agree with their prompts, in all and in each attribute."""
        wanted = self.wanted[np.arange(len(samples)) % len(self.wanted)]
        return agreement(read_attributes(self.classifier, samples, self.sizes), wanted, self.names)


def sweep_agreement(config: SweepConfig, get_classifier: Callable[[], Classifier]) -> PromptAgreement | None:
    """Agreement with the held-out prompts of a sweep; None where its labels have no attributes.

    Args:
        config: the sweep.
        get_classifier: the classifier of its data, which is not asked for where there are no attributes.

    Raises:
        InputError: a class has no held-out image.
    """
    dataset = load_examples(config.data, get_scale(config.proxy_scale), split="validation")
    attributes = dataset.info.attributes
    if not attributes:
        return None
    labels = np.array([example["label"] for example in dataset])
    check_classes(labels, dataset.info)
    names = tuple(attribute.name for attribute in attributes)
    sizes = tuple(len(attribute.values) for attribute in attributes)
    wanted = attribute_values(labels, sizes)
    classifier = get_classifier()
    read = read_attributes(classifier, np.stack([example["image"] for example in dataset]), sizes)
    held_out = {name: found.estimate() for name, found in agreement(read, wanted, names).items()}
    return PromptAgreement(classifier, names, sizes, wanted[mixed(len(wanted))], held_out)
