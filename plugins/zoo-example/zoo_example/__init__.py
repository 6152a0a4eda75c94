"""An example plugin: three rewards, one solver."""

ZOO_API_VERSION = 1
