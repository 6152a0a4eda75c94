"""From noise to clean latents: samplers, and the solvers that the usual sampler runs."""
