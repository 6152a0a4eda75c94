"""What `zoo export` writes, a kind a format, and how it goes to the Hub."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.cli.export_folder import LIST
from zoo.errors import UserError
from zoo.policy import lora_files
from zoo.policy.base import Policy
from zoo.policy.weights import Lora
from zoo.storage.hub import LOGIN, why_not_uploaded


@dataclass(frozen=True)
class Full:
    """A network of diffusers, its weights put in, and what its policy has beside it."""

    network: Any
    policy: Policy
    loaded_by = "diffusers"
    tags = ()

    @property
    def _is_alone(self) -> bool:
        return self.policy.network_folder == "."

    @property
    def kind(self) -> str:
        """What it is, in words."""
        return f"the whole {'network' if self._is_alone else 'pipeline'} for diffusers"

    def write(self, folder: Path) -> Path:
        """Writes its files into a folder; returns where those of the network are."""
        self.policy.write_rest(folder)
        self.network.save_pretrained(folder / self.policy.network_folder)
        return folder / self.policy.network_folder

    def loading(self, folder: str) -> tuple[str, ...]:
        """How to load it from a folder, in Python."""
        if not self._is_alone:
            return (
                "from diffusers import DiffusionPipeline",
                f'pipeline = DiffusionPipeline.from_pretrained("{folder}")',
            )
        name = type(self.network).__name__
        return f"from diffusers import {name}", f'network = {name}.from_pretrained("{folder}")'


@dataclass(frozen=True)
class _Lora:
    """Adapters, and the model that they are of, if it has a name."""

    tensors: Mapping[str, Tensor]
    lora: Lora
    base: str | None
    networks: Sequence[str] = ("transformer",)
    """The parts of the pipeline that have them; of several, names begin with theirs."""
    tags = ("lora",)

    @property
    def by_network(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The tensors of each network, by their names in it."""
        if len(self.networks) == 1:
            return {self.networks[0]: self.tensors}
        return {
            network: {
                name.removeprefix(f"{network}."): tensor
                for name, tensor in self.tensors.items()
                if name.startswith(f"{network}.")
            }
            for network in self.networks
        }


class DiffusersLora(_Lora):
    """As a pipeline's `load_lora_weights` has it."""

    kind = "LoRA for diffusers"
    loaded_by = "diffusers"

    def write(self, folder: Path) -> Path:
        """Writes its file into a folder, which it returns; another network's into one below."""
        first, *others = self.by_network.items()
        lora_files.write_diffusers(folder, first[1], self.lora, network=first[0])
        for network, tensors in others:
            # As loaders of a second transformer want them: named as the first one's.
            (folder / network).mkdir()
            lora_files.write_diffusers(folder / network, tensors, self.lora, network=first[0])
        return folder

    def loading(self, folder: str) -> tuple[str, ...]:
        """How to load it from a folder, in Python."""
        # A single file has a network, and a pipeline's class would have to be known.
        if self.base is None or self.base.endswith(".safetensors"):
            return (
                "# network: the transformer that the run started from, a model of diffusers",
                f'network.load_lora_adapter("{folder}", prefix="{self.networks[0]}", '
                f'weight_name="{lora_files.DIFFUSERS}")',
            )
        return (
            "from diffusers import DiffusionPipeline",
            f'pipeline = DiffusionPipeline.from_pretrained("{self.base}")',
            f'pipeline.load_lora_weights("{folder}")',
            *(
                f'pipeline.load_lora_weights("{folder}/{network}", load_into_{network}=True)'
                for network in self.networks[1:]
            ),
        )


class PeftLora(_Lora):
    """As `PeftModel.from_pretrained` has it."""

    kind = "LoRA for PEFT"
    loaded_by = "peft"

    def write(self, folder: Path) -> Path:
        """Writes its files into a folder, which it returns."""
        lora_files.write_peft(folder, self.tensors, self.lora, base=self.base)
        return folder

    def loading(self, folder: str) -> tuple[str, ...]:
        """How to load it from a folder, in Python."""
        return (
            "from peft import PeftModel  # network: the transformer that the run started from",
            f'network = PeftModel.from_pretrained(network, "{folder}")',
        )


Export = Full | DiffusersLora | PeftLora


def require_can_push(repo: str) -> None:
    """Looks for what is known to be missing before anything is written.

    Raises:
        UserError: `repo` has not the form OWNER/NAME, or there is no token.
    """
    from huggingface_hub import get_token

    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo):
        raise UserError(f"--push {repo}: a model's id has the form OWNER/NAME")
    if not get_token():
        raise UserError(f"--push {repo}: no token for the Hub; {LOGIN} to one that may write")


def push_folder(folder: Path, repo: str, *, private: bool) -> str:
    """Uploads a folder's files to a model of the Hub, made if need be; the model's page.

    Raises:
        UserError: it cannot be, in one line; the folder stays.
    """
    from huggingface_hub import HfApi, errors

    api = HfApi(library_name="diffusion-rl-zoo")
    kept = f"{folder} is written and can be pushed again"
    try:
        page = api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise UserError(
                f"--push {repo}: --private: it is there already and public, so nothing was "
                f"uploaded; {kept}"
            )
        api.upload_folder(
            repo_id=repo, folder_path=folder, ignore_patterns=[LIST],
            commit_message="Export of diffusion-rl-zoo",
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, errors.HTTPError) as error:  # type: ignore[attr-defined]
        raise UserError(f"--push {repo}: {why_not_uploaded(error, repo)}; {kept}") from error
    return str(page)
