"""The reward keeps the promises that zoo publishes, in this process and with workers."""

import torch
from zoo_ocr.known import picture
from zoo_ocr.reward import OCR

from zoo.prompt import Prompt
from zoo.testing import RewardTests

SAYS = ["OPEN", "Bread", "", "EXIT", "a b", "Tea 4 2", "7"]
WANTED = ["OPEN", "bred", "Sale", "TAXI", "ab", "tea", "9"]


class TestOCR(RewardTests):
    def make(self):
        return OCR()

    def images(self, num):
        return torch.stack([picture(text, size=(64, 96), letters=24) for text in SAYS[:num]])

    def prompts(self, num):
        return [Prompt(f'a sign that says "{text}"') for text in WANTED[:num]]
