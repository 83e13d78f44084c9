"""ReLU attention: a network's softmax attention becomes ReLU divided by the number of keys, and learns to do what it did.

Source: Zhao et al. 2023 (MobileDiffusion), which fine-tunes a trained network so; Wortsman et al. 2023 ("Replacing softmax with
ReLU in vision transformers") for the division.
"""

import dataclasses

from experiments.bundle import Bundle
from experiments.distilling.knowledge import knowledge
from experiments.distilling.settings import KnowledgeSettings, ReluAttentionSettings
from experiments.errors import InputError
from experiments.fitting import Given, Phase
from search_space import Architecture
from search_space.changes import with_stages


def relu_attention(given: Given, settings: ReluAttentionSettings) -> list[Phase]:
    """Trains the student's weights in the network with ReLU attention, by knowledge distillation, in one phase.

    Raises:
        InputError: as `check_relu_attention`.
    """
    check_relu_attention(given.student, given.teacher, settings)
    architecture = with_relu_attention(given.student.architecture)
    [phase] = knowledge(given, KnowledgeSettings(method="knowledge", **settings.model_dump(exclude={"method"})))
    return [dataclasses.replace(phase, title="From softmax to ReLU attention", architecture=architecture)]


def check_relu_attention(student: Bundle, teacher: Bundle, settings: ReluAttentionSettings) -> None:
    """Raises InputError where the student has no softmax attention."""
    before = student.architecture
    if with_relu_attention(before) == before.canonical():
        raise InputError(f"network {before.digest} has no softmax attention to change; leave relu-attention out")


def with_relu_attention(architecture: Architecture) -> Architecture:
    """The architecture with ReLU for every softmax; its parameters have the same names and shapes."""
    changed = with_stages(architecture, lambda _, stage: dataclasses.replace(stage, attention_function="relu"))
    return changed.canonical()
