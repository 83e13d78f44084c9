"""What a sampler needs to know besides a network's graph, as plain numbers and formulas: it can be written from these alone."""

from typing import Any

from diffusion import uniform_times
from diffusion.guidance import TIMESTEPS_PER_UNIT_TIME
from experiments.bundle import Bundle
from experiments.denoising_task import open_examples
from experiments.errors import InputError
from supernet.prompt import NULL_TOKEN

_DENOISED = {"eps": "(x - sigma * output) / alpha", "x0": "output", "v": "alpha * x - sigma * output"}
_STEP = "x <- (sigma' / sigma) * x + (alpha' - alpha * sigma' / sigma) * denoised, with alpha' and sigma' of the next step"
_ESTIMATE = {
    "ddim": "denoised is the estimate of this step",
    "dpmpp_2m": "from the second step to the last but one, denoised is this step's estimate plus "
    "log(alpha' sigma / (sigma' alpha)) / (2 log(alpha sigma_before / (sigma alpha_before))) times its difference to the "
    "estimate of the step before",
}


def sampling_record(bundle: Bundle) -> dict[str, Any]:
    """Steps with their time step, alpha and sigma, and what to do at each; prompts too."""
    settings, schedule = bundle.settings, bundle.task.schedule
    times = uniform_times(settings.sample_steps)
    columns = zip(times, schedule.alpha(times), schedule.sigma(times), strict=True)
    return {
        "start": "x is standard normal noise",
        "predicts": settings.parameterisation,
        "denoised": _DENOISED[settings.parameterisation],
        "schedule": settings.schedule,
        "sampler": settings.sampler,
        "step": f"{_STEP}; {_ESTIMATE[settings.sampler]}",
        "steps": [
            {"timestep": float(TIMESTEPS_PER_UNIT_TIME * t), "alpha": float(alpha), "sigma": float(sigma)}
            for t, alpha, sigma in columns
        ],
        "end": {"alpha": 1.0, "sigma": 0.0},
        "guidance_scale": settings.guidance_scale,
        "guidance": "output of the null prompt + guidance_scale * (output of the prompt - output of the null prompt)",
        "prompts": _prompts_record(bundle),
    }


def _prompts_record(bundle: Bundle) -> dict[str, Any]:
    scale = bundle.task.scale
    if not scale.vocabulary:
        return {
            "contexts": "come encoded, as in the data set: no encoder belongs to this network",
            "null_context": "all zeros",
        }
    return {
        "contexts": "are what the prompt encoder makes of tokens",
        "vocabulary": scale.vocabulary,
        "null_prompt": [NULL_TOKEN] * scale.context_length,
        "tokens": "label k is the token k + 1; a caption's words, in the order of `words`, or else its UTF-8 bytes, are tokens "
        "from 1 on; the rest is null",
        "data": bundle.settings.data,
        **_names(bundle),
    }


def _names(bundle: Bundle) -> dict[str, Any]:
    """What labels and tokens stand for, which the data set knows; nothing where it is not here."""
    if bundle.settings.data is None:
        return {}
    try:
        info = open_examples(bundle.data, bundle.task.scale, split="train").info
    except (InputError, OSError):
        return {}
    return {"words": info.words, "labels": info.label_names}
