"""What a GenEval prompt asks for of COCO's classes, in any of ten colours."""

from zoo.data.geneval_scenes import COLORS
from zoo.prompt import Prompt
from zoo.reward.geneval.wanted import Vocabulary, Wanted
from zoo.reward.geneval.wanted import read_wanted as read
from zoo_geneval.classes import canonical

__all__ = ["COLORS", "read_wanted"]

_COCO = Vocabulary(
    "geneval", "GenEval's prompts", canonical, "COCO's classes", COLORS, example="dog"
)


def read_wanted(prompt: Prompt) -> Wanted:
    """What a prompt's metadata asks for; keys that other rewards may read are left alone.

    Raises:
        PromptError: in one line, what is missing or wrong.
    """
    return read(prompt, _COCO)
