"""An example plugin: one reward, one solver."""

ZOO_API_VERSION = 1
