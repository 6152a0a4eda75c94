"""The tiny pipelines of SD3 and FLUX.1, each written once; a fixture gives the policy's options."""

import pytest

from tests.tiny_models import write_flux, write_sd3


@pytest.fixture(scope="session")
def sd3(tmp_path_factory):
    return write_sd3(tmp_path_factory.mktemp("sd3") / "medium")


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    return write_flux(tmp_path_factory.mktemp("flux") / "dev")


@pytest.fixture(scope="session")
def schnell(tmp_path_factory):
    return write_flux(tmp_path_factory.mktemp("flux") / "schnell", "schnell")
