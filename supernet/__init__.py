"""One set of weights for every architecture: the supernet, the stand-alone UNet, training, extraction, prompt encoder.

`diffusers_config`, `diffusers_export` and `diffusers_tensors` say which of these networks is which of diffusers', and back.
"""

from supernet.convolution import MATMUL, XLA, Lowering, training_lowering
from supernet.extraction import extract, load_unet, unet_parameters
from supernet.prompt import PromptEncoder
from supernet.supernet import Supernet
from supernet.unet import UNet

__all__ = [
    "MATMUL",
    "XLA",
    "Lowering",
    "PromptEncoder",
    "Supernet",
    "UNet",
    "extract",
    "load_unet",
    "training_lowering",
    "unet_parameters",
]
