"""The network: embeddings mixed with their neighbours, attention layers, mean and max.

Weights are a mapping of float32 arrays; nothing here keeps state, so the same functions train
on any device and score on the CPU.

Reference:
    Vaswani et al. 2017; Xiong et al. 2020 (normalisation before each part); Kim 2014
    (convolution over neighbouring words).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.models.transformer.libraries import torch_library

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from nethical.models.transformer.tokens import Row

    Arrays = dict[str, NDArray[np.float32]]
    Tensors = Mapping[str, Any]

__all__ = ["Batch", "Shape", "first_weights", "forward", "stack", "window_starts"]

WINDOW = 128
OVERLAP = 32
FULL_WIDTH = 128
FEW_ROWS, VERY_FEW_ROWS = 2000, 500
CODE_SPREAD = 1.0  # bins, levels and items are few and often seen: told apart from the first
WORD_SPREAD = 0.02  # pieces of words are many and rare: one unseen must not stand out
PLACE_SPREAD = 0.02
LEAST = -1e4  # below all that a normalised token holds, in any precision


@dataclass(frozen=True)
class Shape:
    """How large a network is.

    Args:
        tokens: Of all vocabularies.
        words: Of them, the last, pieces of words.
        places: Columns and the start.
        width: Of a token's vector.
        layers: Of attention.
        heads: Of each layer.
    """

    tokens: int
    words: int
    places: int
    width: int
    layers: int
    heads: int

    @property
    def breadth(self) -> float:
        """The width as a share of that of the whole network."""
        return self.width / FULL_WIDTH

    @classmethod
    def for_rows(
        cls,
        n_rows: int,
        *,
        tokens: int,
        words: int,
        places: int,
        width: int | None = None,
        layers: int | None = None,
    ) -> Shape:
        """Return the network for a train part: four layers of 128, or less for few rows.

        Args:
            n_rows: Of the train part.
            tokens: See the class.
            words: See the class.
            places: See the class.
            width: See the class; None for what suits so many rows.
            layers: See the class; None for what suits so many rows.
        """
        usual_width, usual_layers = FULL_WIDTH, 4
        if n_rows < FEW_ROWS:
            usual_width, usual_layers = FULL_WIDTH // 2, 1 if n_rows < VERY_FEW_ROWS else 2
        return cls(tokens, words, places, width or usual_width, layers or usual_layers, heads=4)

    def to_document(self) -> dict[str, int]:
        """Return the shape as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Batch:
    """Rows as windows of tokens of one length; a longer row has several, which overlap.

    Args:
        tokens: Shape (rows, windows, length).
        places: The column of each token, of the same shape.
        at: The place of each token of a body within its window, 0 in the head.
        present: Which tokens are none of padding; None if all are.
    """

    tokens: NDArray[np.int64]
    places: NDArray[np.int64]
    at: NDArray[np.int64]
    present: NDArray[np.bool_] | None

    def tensors(self, tensor: Callable[[NDArray[Any]], Any]) -> dict[str, Any]:
        """Return the fields as tensors, by a function that makes one of an array."""
        return {
            "tokens": tensor(self.tokens),
            "places": tensor(self.places),
            "at": tensor(self.at),
            "present": None if self.present is None else tensor(self.present),
        }


def first_weights(shape: Shape, rng: np.random.Generator, base_logit: float) -> Arrays:
    """Return the weights to begin with: every row has the logit ``base_logit``."""
    d, wide = shape.width, 4 * shape.width
    inner = 1 / np.sqrt(2 * shape.layers)  # so that the sum over layers stays of one size

    def matrix(rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float32]:
        bound = scale * np.sqrt(6 / (rows + columns))
        return rng.uniform(-bound, bound, (rows, columns)).astype(np.float32)

    def normal(rows: int, spread: float) -> NDArray[np.float32]:
        return rng.normal(0, spread, (rows, d)).astype(np.float32)

    def line(value: float, n: int = d) -> NDArray[np.float32]:
        return np.full(n, value, dtype=np.float32)

    weights = {
        "tokens": np.concatenate(
            [normal(shape.tokens - shape.words, CODE_SPREAD), normal(shape.words, WORD_SPREAD)]
        ),
        "places": normal(shape.places, PLACE_SPREAD),
        "at": normal(WINDOW + 1, PLACE_SPREAD),
        "near": matrix(d, 3 * d),
        "near.shift": line(0),
    }
    for i in range(shape.layers):
        weights |= {
            f"{i}.norm1.scale": line(1),
            f"{i}.norm1.shift": line(0),
            f"{i}.attend": matrix(3 * d, d),
            f"{i}.attend.shift": line(0, 3 * d),
            f"{i}.mix": matrix(d, d, inner),
            f"{i}.mix.shift": line(0),
            f"{i}.norm2.scale": line(1),
            f"{i}.norm2.shift": line(0),
            f"{i}.up": matrix(wide, d),
            f"{i}.up.shift": line(0, wide),
            f"{i}.down": matrix(d, wide, inner),
            f"{i}.down.shift": line(0),
        }
    last = {"norm.scale": line(1), "norm.shift": line(0)}
    last |= {"head": np.zeros((1, 2 * d), dtype=np.float32), "head.shift": line(base_logit, 1)}
    return weights | last


def window_starts(length: int) -> NDArray[np.int64]:
    """Return where the windows of a body begin: as few as overlap enough, evenly spread."""
    if length <= WINDOW:
        return np.zeros(1, dtype=np.int64)
    windows = -(-(length - WINDOW) // (WINDOW - OVERLAP)) + 1
    return np.linspace(0, length - WINDOW, windows).astype(np.int64)


def stack(rows: Sequence[Row], starts: Sequence[NDArray[np.int64]]) -> Batch:
    """Return rows, of each the windows that begin at its starts, as one padded batch."""
    head = len(rows[0].head)
    lengths = [min(len(row.body), WINDOW) for row in rows]
    windows = [len(own) for own in starts]
    shape = (len(rows), max(windows), head + max(lengths))
    tokens, places, at = np.zeros((3, *shape), dtype=np.int64)
    padded = min(lengths) < max(lengths) or min(windows) < max(windows)
    present = np.zeros(shape, dtype=bool) if padded else None
    for i, (row, own, length) in enumerate(zip(rows, starts, lengths, strict=True)):
        tokens[i, : len(own), :head] = row.head
        places[i, : len(own), :head] = row.head_places
        inside = slice(head, head + length)
        for k, start in enumerate(own.tolist()):
            tokens[i, k, inside] = row.body[start : start + length]
            places[i, k, inside] = row.body_places[start : start + length]
            at[i, k, inside] = np.arange(1, length + 1)
        if present is not None:
            present[i, : len(own), : head + length] = True
    return Batch(tokens, places, at, present)


def forward(w: Tensors, shape: Shape, batch: Mapping[str, Any], dropout: float = 0.0) -> Any:  # noqa: ANN401 - tensors
    """Return the logit of each row's most telling window, shape (rows,), before any scaling.

    A row is as risky as its riskiest window: on long traces of agents that was as good as or
    better than the mean of windows, or than pooling over all their tokens.

    Args:
        w: The weights as tensors.
        shape: Of the network.
        batch: The fields of a Batch as tensors.
        dropout: Share of values that are dropped; above 0 in training only.
    """
    nn = torch_library().nn.functional
    rows, windows, length = batch["tokens"].shape
    lines, d, present = rows * windows, shape.width, batch["present"]
    x, mask = _embedded(w, batch).view(lines, length, d), None
    if present is not None:
        x = x * present.view(lines, length, 1)
        mask = present.view(lines, 1, 1, length).clone()
        mask[..., 0] = True  # a window of padding alone reads its first token, and is not pooled
    x = nn.dropout(_with_neighbours(w, x), dropout)
    for i in range(shape.layers):
        z = nn.layer_norm(x, (d,), w[f"{i}.norm1.scale"], w[f"{i}.norm1.shift"])
        z = nn.linear(z, w[f"{i}.attend"], w[f"{i}.attend.shift"])
        q, k, v = z.view(lines, length, 3, shape.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        z = nn.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        z = z.transpose(1, 2).reshape(lines, length, d)
        x = x + nn.dropout(nn.linear(z, w[f"{i}.mix"], w[f"{i}.mix.shift"]), dropout)
        z = nn.layer_norm(x, (d,), w[f"{i}.norm2.scale"], w[f"{i}.norm2.shift"])
        z = nn.relu(nn.linear(z, w[f"{i}.up"], w[f"{i}.up.shift"]))
        x = x + nn.dropout(nn.linear(z, w[f"{i}.down"], w[f"{i}.down.shift"]), dropout)
    x = nn.layer_norm(x, (d,), w["norm.scale"], w["norm.shift"])
    pooled = _pooled(x, None if present is None else present.view(lines, length, 1))
    logits = nn.linear(nn.dropout(pooled, dropout), w["head"], w["head.shift"]).view(rows, windows)
    if present is not None:
        logits = logits.masked_fill(~present[:, :, 0], float("-inf"))
    return logits.amax(1)


def _embedded(w: Tensors, batch: Mapping[str, Any]) -> Any:  # noqa: ANN401 - tensors
    """Return the sum of what a token is, its column, and its place in the window."""
    nn = torch_library().nn.functional
    return sum(nn.embedding(batch[name], w[name]) for name in ("tokens", "places", "at"))


def _with_neighbours(w: Tensors, x: Any) -> Any:  # noqa: ANN401 - tensors
    """Return each token with what it and its two neighbours say together."""
    torch = torch_library()
    edge = torch.zeros_like(x[:, :1])
    near = torch.cat([torch.cat([edge, x[:, :-1]], 1), x, torch.cat([x[:, 1:], edge], 1)], 2)
    return x + torch.nn.functional.relu(
        torch.nn.functional.linear(near, w["near"], w["near.shift"])
    )


def _pooled(x: Any, present: Any) -> Any:  # noqa: ANN401 - tensors
    """Return the mean and the greatest of each window's tokens."""
    torch = torch_library()
    if present is None:
        return torch.cat([x.mean(1), x.amax(1)], 1)
    mean = (x * present).sum(1) / present.sum(1).clamp(min=1)
    return torch.cat([mean, x.masked_fill(~present, LEAST).amax(1)], 1)
