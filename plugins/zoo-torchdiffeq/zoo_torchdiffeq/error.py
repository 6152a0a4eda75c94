"""What an adaptive solver says where it cannot go on."""


class IntegrationError(RuntimeError):
    """The velocity is not finite, or too rough for the tolerances within the steps allowed."""
