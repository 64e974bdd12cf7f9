"""How the transformer learns: AdamW over one cycle of step sizes, stopped early, resumable.

All randomness of an epoch follows from the seed and the epoch's number, and a snapshot holds
the weights, the optimiser's moments and the best weights so far: going on after a kill ends in
the same bytes as never having been killed.

Reference:
    Loshchilov and Hutter 2019 (AdamW); Smith and Topin 2018 (one cycle); Guo et al. 2017
    (temperature scaling).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.errors import TrainingError
from nethical.models.base import Parts
from nethical.models.transformer.encoder import first_weights, forward, stack, window_starts
from nethical.models.transformer.libraries import torch_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from nethical.models.base import Settings
    from nethical.models.transformer.encoder import Arrays, Batch, Shape
    from nethical.models.transformer.tokens import Streams

    Floats = NDArray[np.float64]
    Rows = NDArray[np.int64]

__all__ = ["Descent", "Examples", "Outcome", "temperature_of"]

RATE = 1e-3
WARM_SHARE = 0.2
LAST_RATE_SHARE = 0.01
DECAY = 0.05
DROPOUT = 0.1
COLUMN_DROPOUT = 0.05  # so that a missing cell is known, and reasons can leave columns out
LONGEST_GRADIENT = 1.0
PATIENCE = 2
MOST_WINDOWS = 4  # of a row in an epoch, drawn anew each time
MOST_TOKENS = 1 << 13  # at once: a larger step is summed over parts
POOL_BATCHES = 50  # within which rows of like length are put together
COMPILED_STEPS = 2000  # compiling pays from here on
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.25, 20.0


@dataclass(frozen=True)
class Examples:
    """What is learnt from.

    Args:
        streams: Of all rows.
        y: Labels, shape (n,), 0 or 1.
        weights: Weight of each row, shape (n,), without those of the classes.
        class_weights: Of class 0 and of class 1.
        train: The rows that are learnt from.
        held: The rows that decide when to stop, and the temperature; maybe none.
    """

    streams: Streams
    y: NDArray[np.int8]
    weights: Floats
    class_weights: tuple[float, float]
    train: Rows
    held: Rows

    @property
    def prior(self) -> float:
        """What class weights took from the log-odds."""
        return float(np.log(self.class_weights[0] / self.class_weights[1]))


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Args:
        weights: Of the best epoch.
        epochs_run: Passes over the rows.
        best_epoch: The one that the weights are of, from 1.
        temperature: What logits are divided by.
        device: Where it was trained.
        losses: On the held rows, after each epoch.
    """

    weights: Arrays
    epochs_run: int
    best_epoch: int
    temperature: float
    device: str
    losses: tuple[float, ...]


class Descent:
    """One training, from the first weights or a snapshot to the best epoch's weights.

    Args:
        shape: Of the network.
        examples: What is learnt from.
        settings: Epochs, batch size, snapshots.
        seed: From which all randomness follows.
    """

    def __init__(self, shape: Shape, examples: Examples, settings: Settings, seed: int) -> None:
        self._torch = torch_library()
        self._shape = shape
        self._examples = examples
        self._settings = settings
        self._seed = seed
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        self._steps = -(-len(examples.train) // settings.batch_size)
        if self._device == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self._losses: list[float] = []
        self._begin(first_weights(shape, self._rng(0)))
        self._best = self._arrays()
        self._forward: Callable[..., Any] = forward
        if self._device == "cuda" and self._steps * settings.epochs >= COMPILED_STEPS:
            self._forward = self._torch.compile(forward, dynamic=True)

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, epoch])

    def _begin(self, weights: Arrays) -> None:
        """Start an optimiser at these weights."""
        torch = self._torch
        self._weights = {
            name: torch.from_numpy(array.copy()).to(self._device).requires_grad_()
            for name, array in weights.items()
        }
        matrices = [w for name, w in self._weights.items() if _decays(name)]
        others = [w for name, w in self._weights.items() if not _decays(name)]
        groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(
            groups, lr=RATE, betas=(0.9, 0.98), weight_decay=DECAY, fused=True
        )

    def _arrays(self) -> Arrays:
        return {name: w.detach().cpu().numpy().copy() for name, w in self._weights.items()}

    def run(self, on_step: Callable[[int, int], None]) -> Outcome:
        """Train to the end and return what came of it.

        Args:
            on_step: Told the steps that are done and their greatest number.

        Raises:
            TrainingError: The weights have run away to infinity.
        """
        snapshots = self._settings.snapshots
        if snapshots is not None:
            kept = snapshots.load()
            if kept is not None:
                self._restore(kept)
        epochs = self._settings.epochs
        while len(self._losses) < epochs and not self._is_over():
            self._epoch(len(self._losses) + 1, on_step)
            self._losses.append(self._held_loss())
            if self._best_epoch() == len(self._losses):
                self._best = self._arrays()
            if snapshots is not None:
                snapshots.save(self._snapshot())
        if not all(np.isfinite(array).all() for array in self._best.values()):
            raise TrainingError(
                "training ran away: the weights are no longer finite",
                mend="look for weights of very different size, or choose a larger --batch-size",
            )
        self._begin(self._best)
        temperature = 1.0
        if len(self._examples.held):
            temperature = temperature_of(self._held_logits(), *self._held_truth())
        return Outcome(
            self._best,
            len(self._losses),
            self._best_epoch(),
            temperature,
            self._device,
            tuple(self._losses),
        )

    def _best_epoch(self) -> int:
        """Return the epoch of the lowest held loss so far, the last one without held rows."""
        if not len(self._examples.held):
            return len(self._losses)
        return int(np.argmin(self._losses)) + 1 if self._losses else 0

    def _is_over(self) -> bool:
        return len(self._losses) - self._best_epoch() >= PATIENCE

    def _epoch(self, epoch: int, on_step: Callable[[int, int], None]) -> None:
        """Pass once over the train rows."""
        torch, rng = self._torch, self._rng(epoch)
        done, total = (epoch - 1) * self._steps, self._settings.epochs * self._steps
        devices = [torch.cuda.current_device()] if self._device == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(rng.integers(2**62)))
            for rows in self._batches(rng):
                for group in self._optimiser.param_groups:
                    group["lr"] = RATE * _cycle(done / total)
                self._step(rows, rng)
                done += 1
                on_step(done, total)

    def _batches(self, rng: np.random.Generator) -> Iterator[Rows]:
        """Yield the rows of each step, of like length, in random order."""
        size = self._settings.batch_size
        order = rng.permutation(self._examples.train)
        lengths = self._examples.streams.lengths
        batches = []
        for first in range(0, len(order), size * POOL_BATCHES):
            pool = order[first : first + size * POOL_BATCHES]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        for i in rng.permutation(len(batches)).tolist():
            yield batches[i]

    def _step(self, rows: Rows, rng: np.random.Generator) -> None:
        """Move the weights once."""
        torch = self._torch
        self._optimiser.zero_grad(set_to_none=True)
        n_places = self._shape.places
        for part in self._portions(rows):
            kept = rng.random((len(part), n_places)) >= COLUMN_DROPOUT
            batch = self._batch(part, kept, rng)
            with torch.autocast(self._device, torch.bfloat16, enabled=self._device == "cuda"):
                logits = self._forward(self._weights, self._shape, batch, DROPOUT)
            y = self._examples.y[part]
            weight = self._examples.weights[part] * np.take(self._examples.class_weights, y)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logits.float(), self._tensor(y, "float32"), self._tensor(weight, "float32"), reduction="sum"
            )
            (loss / len(rows)).backward()
        torch.nn.utils.clip_grad_norm_(list(self._weights.values()), LONGEST_GRADIENT)
        self._optimiser.step()

    def _portions(self, rows: Rows) -> Iterator[Rows]:
        """Yield the rows of a step in parts that fit into memory."""
        streams = self._examples.streams
        longest = streams.head.shape[1] + np.minimum(streams.lengths[rows], 128 * MOST_WINDOWS).max()
        size = max(1, MOST_TOKENS // int(longest))
        for first in range(0, len(rows), size):
            yield rows[first : first + size]

    def _batch(
        self, rows: Rows, kept: NDArray[np.bool_] | None, rng: np.random.Generator | None
    ) -> dict[str, Any]:
        """Return rows as tensors; with a generator, only some windows of the longest."""
        streams = self._examples.streams
        read = [streams.row(row, None if kept is None else kept[i]) for i, row in enumerate(rows.tolist())]
        starts = [window_starts(len(row.body)) for row in read]
        if rng is not None:
            starts = [
                own if len(own) <= MOST_WINDOWS
                else np.sort(rng.choice(own, MOST_WINDOWS, replace=False))
                for own in starts
            ]
        return self._tensors(stack(read, starts))

    def _tensors(self, batch: Batch) -> dict[str, Any]:
        fields = {"tokens": batch.tokens, "places": batch.places, "at": batch.at}
        tensors = {n: self._torch.from_numpy(a).to(self._device) for n, a in fields.items()}
        present = batch.present
        tensors["present"] = None if present is None else self._torch.from_numpy(present).to(self._device)
        return tensors

    def _tensor(self, values: NDArray[Any], dtype: str) -> Any:  # noqa: ANN401 - a tensor
        return self._torch.from_numpy(values.astype(dtype)).to(self._device)

    def _held_truth(self) -> tuple[Floats, Floats, float]:
        """Return labels, weights and prior of the held rows."""
        held = self._examples.held
        y = self._examples.y[held].astype(np.float64)
        return y, self._examples.weights[held], self._examples.prior

    def _held_logits(self) -> Floats:
        """Return the logits of the held rows, shape (m,)."""
        held, lengths = self._examples.held, self._examples.streams.lengths
        order = np.argsort(lengths[held], kind="stable")
        logits = np.empty(len(held))
        with self._torch.inference_mode():
            for first in range(0, len(held), 32):
                at = order[first : first + 32]
                batch = self._batch(held[at], None, None)
                logits[at] = forward(self._weights, self._shape, batch).float().cpu().numpy()
        return logits

    def _held_loss(self) -> float:
        """Return the log-loss of the held rows at their best temperature, 0 without any."""
        if not len(self._examples.held):
            return 0.0
        logits = self._held_logits()
        if not np.isfinite(logits).all():
            return 1e9
        y, weights, prior = self._held_truth()
        temperature = temperature_of(logits, y, weights, prior)
        return _loss(logits / temperature + prior, y, weights)

    def _snapshot(self) -> Parts:
        """Return all that is needed to go on after this epoch."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, weight in self._weights.items():
            moments = self._optimiser.state[weight]
            arrays[f"now.{name}"] = weight.detach().cpu().numpy().copy()
            arrays[f"best.{name}"] = self._best[name]
            arrays[f"mean.{name}"] = moments["exp_avg"].cpu().numpy().copy()
            arrays[f"square.{name}"] = moments["exp_avg_sq"].cpu().numpy().copy()
        return Parts({"seed": self._seed, "losses": list(self._losses)}, arrays)

    def _restore(self, parts: Parts) -> None:
        """Go on from a snapshot."""
        if parts.document["seed"] != self._seed:
            raise TrainingError(
                "the snapshot is of a training with another seed",
                mend="train without --resume",
            )
        arrays = parts.arrays
        self._losses = list(parts.document["losses"])
        self._begin({name: arrays[f"now.{name}"] for name in self._weights})
        self._best = {name: arrays[f"best.{name}"] for name in self._weights}
        steps = float(len(self._losses) * self._steps)
        for name, weight in self._weights.items():
            self._optimiser.state[weight] = {
                "step": self._torch.tensor(steps, dtype=self._torch.float32, device=self._device),
                "exp_avg": self._tensor(arrays[f"mean.{name}"], "float32"),
                "exp_avg_sq": self._tensor(arrays[f"square.{name}"], "float32"),
            }


def _decays(name: str) -> bool:
    """Return whether a weight is pulled towards zero: matrices are, shifts and scales not."""
    return not name.endswith((".scale", ".shift"))


def _cycle(share: float) -> float:
    """Return the step size at a share of the way, as a share of the greatest."""
    if share < WARM_SHARE:
        return 0.04 + 0.96 * (1 - np.cos(np.pi * share / WARM_SHARE)) / 2
    fall = (share - WARM_SHARE) / (1 - WARM_SHARE)
    return float(LAST_RATE_SHARE + (1 - LAST_RATE_SHARE) * (1 + np.cos(np.pi * fall)) / 2)


def _loss(log_odds: Floats, y: Floats, weights: Floats) -> float:
    losses = np.logaddexp(0, log_odds) - y * log_odds
    return float((weights * losses).sum() / weights.sum())


def temperature_of(logits: Floats, y: Floats, weights: Floats, prior: float) -> float:
    """Return the temperature T at which ``logits / T + prior`` fit the labels best.

    The loss is convex in 1 / T, so halving where its slope changes sign finds the one minimum.
    """
    from scipy.special import expit

    low, high = 1 / MOST_TEMPERATURE, 1 / LEAST_TEMPERATURE
    for _ in range(50):
        middle = (low + high) / 2
        residual = expit(logits * middle + prior) - y
        if float((weights * residual * logits).sum()) > 0:
            high = middle
        else:
            low = middle
    return 2 / (low + high)
