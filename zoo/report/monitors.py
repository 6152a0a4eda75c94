"""What is watched in a run beside its rewards, and how to read each, for every page that shows it.

docs/monitor.md says more of each.
"""

MONITORS = {
    "diversity": "RMS distance between images of one prompt (0 to 1). Falling: images collapse",
    "drift": "relative RMS change of the velocity from the reference model's. 0: unchanged",
    "similarity": "1 minus the RMS distance between images of different prompts. Rising: prompts "
    "matter less",
    "saturated": "share of channel values at 0 or 255. Rising: colours burn out",
    "brightness": "mean luminance (0 to 1)",
    "edge_density": "share of neighbouring pixels whose luminance differs by more than 0.1. "
    "Rising: noise and texture; falling: blur",
    "colour_entropy": "entropy of the colours at 4 levels a channel, of 6 bits (0 to 1). Falling: "
    "few colours are left",
    "latent_square": "mean square of the clean latents. Rising: latents leave the autoencoder's "
    "range",
}
"""By metric, without `monitor/`; in the order in which pages show them."""
