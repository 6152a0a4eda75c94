"""How texts condition a network, and classifier-free guidance by the empty text.

Ho and Salimans 2022 (arXiv 2207.12598): v = v_null + guidance (v_text - v_null).
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.policy.text_encoders import Tables
from zoo.prompt import Prompt
from zoo.rollout import Cond, Lookup, rows_of

Forward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""The velocity of latents at times by the embeddings of their words and of their whole texts."""


def text_cond(
    tables: Tables, prompts: Sequence[Prompt], guidance: float, device: torch.device
) -> Cond:
    """A table of the distinct prompts' embeddings; with guidance also the empty prompt's."""
    texts = [prompt.text for prompt in prompts]
    distinct = list(dict.fromkeys(texts))
    encoded = distinct if guidance == 1.0 or "" in distinct else [*distinct, ""]
    words, pooled = tables(encoded)
    row = torch.tensor([encoded.index(text) for text in texts], device=device)
    tensors: dict[str, Tensor | Lookup] = {
        "words": Lookup(words, row),
        "pooled": Lookup(pooled, row),
    }
    if guidance != 1.0:
        null = torch.full_like(row, encoded.index(""))
        tensors |= {"null_words": Lookup(words, null), "null_pooled": Lookup(pooled, null)}
    return Cond(tensors, guidance)


def guided(
    forward: Forward,
    x: Float[Tensor, "batch *latent"],
    t: Float[Tensor, " batch"],
    cond: Cond,
) -> Float[Tensor, "batch *latent"]:
    """The velocity by a condition of `text_cond`.

    With guidance the network has two rows for each of the batch's, the null one without gradient.
    """
    named = rows_of(cond.tensors["words"]), rows_of(cond.tensors["pooled"])
    if cond.guidance == 1.0:
        return forward(x, t, *named)
    null = rows_of(cond.tensors["null_words"]), rows_of(cond.tensors["null_pooled"])
    if torch.is_grad_enabled():
        velocity = forward(x, t, *named)
        with torch.no_grad():
            unguided = forward(x, t, *null)
    else:
        both = [torch.cat(pair) for pair in zip(null, named, strict=True)]
        unguided, velocity = forward(torch.cat([x, x]), torch.cat([t, t]), *both).chunk(2)
    return unguided + cond.guidance * (velocity - unguided)
