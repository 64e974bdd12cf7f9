"""How the transformer learns: AdamW over one cycle of step sizes, stopped early, resumable.

The weights that are judged and kept are a running mean over steps. All randomness of an epoch
follows from the seed and the epoch's number, and a snapshot holds weights, means, moments and
the best so far: going on after a kill ends in the same bytes as never having been killed.

Reference:
    Loshchilov and Hutter 2019 (AdamW); Smith and Topin 2018 (one cycle); Polyak and Juditsky
    1992 (averaging); Guo et al. 2017 (temperature scaling).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.errors import TrainingError
from nethical.models.base import Parameter, Parts, filled
from nethical.models.transformer.encoder import (
    WINDOW,
    first_weights,
    forward,
    stack,
    window_starts,
)
from nethical.models.transformer.libraries import torch_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from nethical.models.base import Settings
    from nethical.models.transformer.encoder import Arrays, Batch, Shape
    from nethical.models.transformer.tokens import Streams

    Floats = NDArray[np.float64]
    Rows = NDArray[np.int64]

__all__ = ["AUTO", "SPACE", "Descent", "Examples", "Outcome", "temperature_of"]

AUTO = "auto"  # what suits the number of rows
SPACE = (
    # The greatest step size, at width 128; a narrower network takes longer steps.
    Parameter("learning_rate", 1e-3, 1e-4, 1e-2, is_log=True),
    # At width 128; a narrower network remembers less anyway.
    Parameter("dropout", 0.2, 0.0, 0.5),
    Parameter("width", AUTO, choices=(AUTO, 32, 64, 128)),
    Parameter("layers", AUTO, choices=(AUTO, 1, 2, 3, 4)),
)
FIRST_SHARE, WARM_SHARE, LAST_SHARE = 0.04, 0.2, 0.01
DECAY = 0.05
BETAS = (0.9, 0.98)
MEAN_DECAY = 0.99  # of the running mean of the weights
TOKEN_DROPOUT = 0.1  # at width 128
COLUMN_DROPOUT = 0.05  # so that a missing cell is known, and reasons can leave columns out
LONGEST_GRADIENT = 1.0
PATIENCE, PATIENT_STEPS = 2, 200  # epochs without a better one, and the steps they must make
MOST_WINDOWS = 4  # of a row in an epoch, drawn anew each time
MOST_TOKENS = 1 << 13  # at once: a larger step is summed over portions
POOL_STEPS = 50  # within which rows of like length are put together
HELD_ROWS = 32  # at once
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.25, 20.0
RUNAWAY_LOSS = 1e9


@dataclass(frozen=True)
class Examples:
    """What is learnt from.

    Args:
        streams: Of all rows.
        y: Labels, shape (n,), 0 or 1.
        weights: Weight of each row, shape (n,), without those of the classes.
        class_weights: Of class 0 and of class 1, shape (2,).
        train: The rows that are learnt from.
        held: The rows that decide when to stop, and the temperature; maybe none.
    """

    streams: Streams
    y: NDArray[np.int8]
    weights: Floats
    class_weights: Floats
    train: Rows
    held: Rows

    @property
    def prior(self) -> float:
        """What class weights took from the log-odds."""
        return float(np.log(self.class_weights[0] / self.class_weights[1]))

    @property
    def base_logit(self) -> float:
        """The log-odds of all rows under class weights."""
        ones = float(self.weights[self.y == 1].sum())
        return float(np.log(ones / self.weights[self.y == 0].sum())) - self.prior


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
        settings: Epochs, batch size, snapshots, parameters.
        seed: From which all randomness follows.
    """

    def __init__(self, shape: Shape, examples: Examples, settings: Settings, seed: int) -> None:
        self._torch = torch_library()
        self._shape = shape
        self._examples = examples
        self._settings = settings
        values: dict[str, Any] = dict(filled(SPACE, settings.parameters))
        self._rate = values["learning_rate"] / shape.breadth
        self._dropout = values["dropout"] * shape.breadth
        self._seed = seed
        self._steps = -(-len(examples.train) // settings.batch_size)
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        if self._device == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        first = first_weights(shape, self._rng(0), examples.base_logit)
        self._best = first
        self._losses: list[float] = []
        self._temperatures: list[float] = []
        self._begin(first, first)

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, epoch])

    def _begin(self, weights: Arrays, means: Arrays) -> None:
        """Start an optimiser at these weights, and at these running means of them."""
        self._weights = {n: self._tensor(array).requires_grad_() for n, array in weights.items()}
        self._means = {name: self._tensor(array) for name, array in means.items()}
        shifts = [w for n, w in self._weights.items() if n.endswith((".scale", ".shift"))]
        matrices = [w for n, w in self._weights.items() if not n.endswith((".scale", ".shift"))]
        groups = [{"params": matrices}, {"params": shifts, "weight_decay": 0.0}]
        self._optimiser = self._torch.optim.AdamW(
            groups, lr=self._rate, betas=BETAS, weight_decay=DECAY, fused=True
        )

    def run(self, on_step: Callable[[int, int], None]) -> Outcome:
        """Train to the end and return what came of it.

        Args:
            on_step: Told the steps that are done and their greatest number.

        Raises:
            TrainingError: The weights have run away to infinity.
        """
        snapshots = self._settings.snapshots
        kept = None if snapshots is None else snapshots.load()
        if kept is not None:
            self._restore(kept)
        while len(self._losses) < self._settings.epochs and not self._is_over():
            self._epoch(len(self._losses) + 1, on_step)
            self._judge()
            if snapshots is not None:
                snapshots.save(self._snapshot())
        if not all(np.isfinite(array).all() for array in self._best.values()):
            raise TrainingError(
                "training ran away: the weights are no longer finite",
                mend="look for row weights of very different size, or use a larger --batch-size",
            )
        best = self._best_epoch()
        temperature = self._temperatures[best - 1] if best else 1.0
        losses = tuple(self._losses)
        return Outcome(self._best, len(losses), best, temperature, self._device, losses)

    def _best_epoch(self) -> int:
        """Return the epoch of the lowest held loss, the last one without held rows; 0 before."""
        if not self._losses or not len(self._examples.held):
            return len(self._losses)
        return int(np.argmin(self._losses)) + 1

    def _is_over(self) -> bool:
        waited = len(self._losses) - self._best_epoch()
        return waited >= PATIENCE and waited * self._steps >= PATIENT_STEPS

    def _epoch(self, epoch: int, on_step: Callable[[int, int], None]) -> None:
        """Pass once over the train rows."""
        torch, rng = self._torch, self._rng(epoch)
        done, total = (epoch - 1) * self._steps, self._settings.epochs * self._steps
        devices = [torch.cuda.current_device()] if self._device == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(rng.integers(2**62)))
            for rows in self._batches(rng):
                for group in self._optimiser.param_groups:
                    group["lr"] = self._rate * _cycle(done / total)
                self._step(rows, rng)
                done += 1
                self._follow(done)
                on_step(done, total)

    def _batches(self, rng: np.random.Generator) -> Iterator[Rows]:
        """Yield the rows of each step, of like length, in random order."""
        size = self._settings.batch_size
        order = rng.permutation(self._examples.train)
        lengths = self._examples.streams.lengths
        batches = []
        for first in range(0, len(order), size * POOL_STEPS):
            pool = order[first : first + size * POOL_STEPS]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        for i in rng.permutation(len(batches)).tolist():
            yield batches[i]

    def _step(self, rows: Rows, rng: np.random.Generator) -> None:
        """Move the weights once."""
        torch = self._torch
        self._optimiser.zero_grad(set_to_none=True)
        for portion in self._portions(rows):
            batch = self._blurred(portion, rng)
            y = self._examples.y[portion]
            weight = self._examples.weights[portion] * self._examples.class_weights[y]
            with torch.autocast(self._device, torch.bfloat16, enabled=self._device == "cuda"):
                logits = forward(self._weights, self._shape, batch, self._dropout)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logits.float(), self._tensor(y), self._tensor(weight), reduction="sum"
            )
            (loss / len(rows)).backward()
        torch.nn.utils.clip_grad_norm_(list(self._weights.values()), LONGEST_GRADIENT)
        self._optimiser.step()

    def _follow(self, steps: int) -> None:
        """Move the running means towards the weights, faster in the beginning."""
        share = 1 - min(MEAN_DECAY, (1 + steps) / (10 + steps))
        with self._torch.no_grad():
            self._torch._foreach_lerp_(
                list(self._means.values()), list(self._weights.values()), share
            )

    def _portions(self, rows: Rows) -> Iterator[Rows]:
        """Yield the rows of a step in portions that fit into memory."""
        streams = self._examples.streams
        longest = min(int(streams.lengths[rows].max()), WINDOW * MOST_WINDOWS)
        size = max(1, MOST_TOKENS // (streams.head.shape[1] + longest))
        for first in range(0, len(rows), size):
            yield rows[first : first + size]

    def _blurred(self, rows: Rows, rng: np.random.Generator) -> dict[str, Any]:
        """Return rows as tensors, without some columns, tokens, and windows of the longest."""
        kept = rng.random((len(rows), self._shape.places)) >= COLUMN_DROPOUT
        pairs = zip(rows.tolist(), kept, strict=True)
        read = [self._examples.streams.row(row, own) for row, own in pairs]
        starts = [window_starts(len(row.body)) for row in read]
        starts = [
            own
            if len(own) <= MOST_WINDOWS
            else np.sort(rng.choice(own, MOST_WINDOWS, replace=False))
            for own in starts
        ]
        batch = stack(read, starts)
        lost = (batch.at > 0) & (rng.random(batch.at.shape) < TOKEN_DROPOUT * self._shape.breadth)
        batch.tokens[lost] = 0
        return self._tensors(batch)

    def _tensors(self, batch: Batch) -> dict[str, Any]:
        return batch.tensors(lambda array: self._torch.from_numpy(array).to(self._device))

    def _tensor(self, values: NDArray[Any]) -> Any:  # noqa: ANN401 - a tensor
        """Return a copy of values as a float32 tensor."""
        return self._torch.from_numpy(values.astype(np.float32, copy=True)).to(self._device)

    def _judge(self) -> None:
        """Add the log-loss of the held rows at their best temperature, and keep the best."""
        examples, loss, temperature = self._examples, 0.0, 1.0
        if len(examples.held):
            y, weights = examples.y[examples.held], examples.weights[examples.held]
            logits = self._held_logits()
            loss = RUNAWAY_LOSS
            if np.isfinite(logits).all() and weights.any():
                temperature = temperature_of(logits, y, weights, examples.prior)
                log_odds = logits / temperature + examples.prior
                losses = np.logaddexp(0, log_odds) - y * log_odds
                loss = float(np.average(losses, weights=weights))
        self._losses.append(loss)
        self._temperatures.append(temperature)
        if self._best_epoch() == len(self._losses):
            self._best = _arrays(self._means)

    def _held_logits(self) -> Floats:
        """Return the logits of the held rows, shape (m,)."""
        held, streams = self._examples.held, self._examples.streams
        order = np.argsort(streams.lengths[held], kind="stable")
        logits = np.empty(len(held))
        with self._torch.inference_mode():
            for first in range(0, len(held), HELD_ROWS):
                at = order[first : first + HELD_ROWS]
                read = [streams.row(row) for row in held[at].tolist()]
                batch = self._tensors(stack(read, [window_starts(len(row.body)) for row in read]))
                logits[at] = forward(self._means, self._shape, batch).cpu().numpy()
        return logits

    def _snapshot(self) -> Parts:
        """Return all that is needed to go on after this epoch."""
        states = {name: self._optimiser.state[weight] for name, weight in self._weights.items()}
        groups = {
            "now": _arrays(self._weights),
            "mean": _arrays(self._means),
            "best": self._best,
            "moment1": _arrays({name: state["exp_avg"] for name, state in states.items()}),
            "moment2": _arrays({name: state["exp_avg_sq"] for name, state in states.items()}),
        }
        arrays = {f"{g}.{name}": array for g, own in groups.items() for name, array in own.items()}
        document = {
            "seed": self._seed,
            "losses": list(self._losses),
            "temperatures": list(self._temperatures),
        }
        return Parts(document, arrays)

    def _restore(self, parts: Parts) -> None:
        """Go on from a snapshot."""
        if parts.document["seed"] != self._seed:
            raise TrainingError(
                "the snapshot is of a training with another seed", mend="train without --resume"
            )

        def group(name: str) -> Arrays:
            return {weight: parts.arrays[f"{name}.{weight}"] for weight in self._weights}

        self._losses = list(parts.document["losses"])
        self._temperatures = list(parts.document["temperatures"])
        self._best = group("best")
        self._begin(group("now"), group("mean"))
        first, second = group("moment1"), group("moment2")
        steps = np.array(float(len(self._losses) * self._steps))
        for name, weight in self._weights.items():
            self._optimiser.state[weight] = {
                "step": self._tensor(steps),
                "exp_avg": self._tensor(first[name]),
                "exp_avg_sq": self._tensor(second[name]),
            }


def _arrays(tensors: dict[str, Any]) -> Arrays:
    """Return copies of tensors as arrays."""
    return {name: w.detach().cpu().numpy().copy() for name, w in tensors.items()}


def _cycle(share: float) -> float:
    """Return the step size at a share of the way, as a share of the greatest."""
    if share < WARM_SHARE:
        first, last, way = FIRST_SHARE, 1.0, share / WARM_SHARE
    else:
        first, last, way = 1.0, LAST_SHARE, (share - WARM_SHARE) / (1 - WARM_SHARE)
    return float(last + (first - last) * (1 + np.cos(np.pi * way)) / 2)


def temperature_of(logits: Floats, y: NDArray[Any], weights: Floats, prior: float) -> float:
    """Return the temperature T at which ``logits / T + prior`` fit the labels best.

    The loss is convex in 1 / T, so halving where its slope changes sign finds the one minimum.

    Args:
        logits: Shape (n,).
        y: Labels, shape (n,), 0 or 1.
        weights: Shape (n,).
        prior: What is added to tempered logits.

    Returns:
        A temperature in [LEAST_TEMPERATURE, MOST_TEMPERATURE].
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
