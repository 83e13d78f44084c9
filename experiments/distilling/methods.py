"""The methods of distillation by name: the keys of each, what it trains, and whom it learns from if nothing is said."""

import dataclasses
from collections.abc import Callable
from typing import Any

from experiments.bundle import Bundle
from experiments.config_reading import Document, validated
from experiments.distilling.adversarial import adversarial, check_adversarial
from experiments.distilling.cfg_aware import cfg_aware, check_cfg_aware
from experiments.distilling.control import control
from experiments.distilling.knowledge import knowledge
from experiments.distilling.progressive import check_progressive, progressive
from experiments.distilling.relu_attention import check_relu_attention, relu_attention
from experiments.distilling.settings import (
    AdversarialSettings,
    CfgAwareSettings,
    ControlSettings,
    KnowledgeSettings,
    MethodSettings,
    ProgressiveSettings,
    ReluAttentionSettings,
    UfogenSettings,
)
from experiments.distilling.ufogen import ufogen
from experiments.errors import InputError
from experiments.fitting import Given, Phase


@dataclasses.dataclass(frozen=True)
class Method:
    """A method of distillation.

    Attributes:
        settings: its keys.
        phases: what it trains.
        needs_teacher: whether it learns from another network than the student itself.
        check: raises InputError where student, teacher and settings cannot do it; their weights are not looked at.
    """

    settings: type[MethodSettings]
    phases: Callable[[Given, Any], list[Phase]]
    needs_teacher: bool = False
    check: Callable[[Bundle, Bundle, Any], None] = lambda student, teacher, settings: None


METHODS = {
    "knowledge": Method(KnowledgeSettings, knowledge, needs_teacher=True),
    "relu-attention": Method(ReluAttentionSettings, relu_attention, check=check_relu_attention),
    "progressive": Method(ProgressiveSettings, progressive, check=check_progressive),
    "cfg-aware": Method(CfgAwareSettings, cfg_aware, check=check_cfg_aware),
    "adversarial": Method(AdversarialSettings, adversarial, check=check_adversarial),
    "ufogen": Method(UfogenSettings, ufogen),
    "control": Method(ControlSettings, control),
}


def method_settings(document: Document) -> Any:
    """The settings of the method that a mapping names.

    Raises:
        InputError: there is no such method, or a key is wrong.
    """
    name = document.data.get("method")
    if not isinstance(name, str) or name not in METHODS:
        raise InputError(f"{document.place(('method',))}: key 'method' must be one of {', '.join(METHODS)}, got {name!r}")
    return validated(document, METHODS[name].settings)
