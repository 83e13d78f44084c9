"""Data distributed as a Gaussian, whose denoiser is known."""

from diffusion import per_sample

MEAN, SCALE = 0.3, 0.5


def gaussian_denoiser(schedule, parameterisation):
    """The exact denoiser of data distributed as N(MEAN, SCALE^2), in any parameterisation."""

    def denoiser(x, t):
        alpha, sigma = per_sample(schedule.alpha(t), x), per_sample(schedule.sigma(t), x)
        denoised = posterior_mean(x, alpha, sigma)
        return parameterisation.target(denoised, (x - alpha * denoised) / sigma, alpha, sigma)

    return denoiser


def posterior_mean(x, alpha, sigma):
    return MEAN + alpha * SCALE**2 / (alpha**2 * SCALE**2 + sigma**2) * (x - alpha * MEAN)
