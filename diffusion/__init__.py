"""What is being denoised, and how is it sampled? Schedules, parameterisations, samplers and guidance over any denoiser.

Time t runs from 0 (data) to 1 (noise); x_t = alpha(t) x0 + sigma(t) eps with alpha^2 + sigma^2 = 1. A *denoiser* is
any callable `denoiser(x_t, t) -> prediction` with t [batch]; what the prediction means is the parameterisation's
business. `schedule` holds alpha and sigma, `parameterisation` eps, x0 and v, `samplers` the way from noise to data,
`guidance` the denoiser of a conditioned network, `noise` the starting points (sample i has its own seed).
"""

from diffusion.guidance import guided_denoiser, guided_prediction
from diffusion.noise import sample_keys, sample_noise
from diffusion.parameterisation import EPS, X0, Parameterisation, V, convert, get_parameterisation
from diffusion.samplers import ddim, ddim_step, dpmpp_2m, get_sampler, uniform_times
from diffusion.schedule import Schedule, cosine_schedule, diffuse, get_schedule, per_sample, scaled_linear_schedule

__all__ = [
    "EPS",
    "X0",
    "Parameterisation",
    "Schedule",
    "V",
    "convert",
    "cosine_schedule",
    "ddim",
    "ddim_step",
    "diffuse",
    "dpmpp_2m",
    "get_parameterisation",
    "get_sampler",
    "get_schedule",
    "guided_denoiser",
    "guided_prediction",
    "per_sample",
    "sample_keys",
    "sample_noise",
    "scaled_linear_schedule",
    "uniform_times",
]
