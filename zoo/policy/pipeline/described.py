"""What a policy of a loaded pipeline says of the pipeline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.policy.pipeline.learned import Learned
from zoo.policy.pipeline.networks import Trained
from zoo.policy.pipeline.seam import Seam
from zoo.policy.pipeline.source import Source
from zoo.policy.pipeline.unloaded import Unloaded
from zoo.policy.pretrained import Precision


class Described(Unloaded):
    """By what was loaded and found."""

    seam: Seam
    verified: Mapping[str, float]
    """How far its velocities are from its own loop's, by guidance; nothing where no one looked."""
    _source: Source
    _precision: Precision
    _trained: Trained
    _learned: Learned

    @property
    def network_folder(self) -> str:  # type: ignore[override]
        """The part of the pipeline that is trained."""
        return self._trained.names[0]

    def findings(self) -> Mapping[str, Any]:
        """How the pipeline is asked, what reaches its networks, and how it was checked."""
        found = {"trained": list(self._trained.names), "differs from its own loop": self.verified}
        return {**self._learned.findings(), **found}

    def encoder_bytes(self) -> int:
        """Those of the pipeline's encoders of texts and images, by their files or configurations.

        Raises:
            ValueError: they cannot be had.
        """
        return self._source.encoder_bytes(self.seam.real, self._precision)

    def write_rest(self, folder: Path) -> None:
        """All parts of the pipeline but for the network, and its index."""
        self._source.write_rest(folder, self.network_folder)
