"""The law of the synthetic task ``sessions``: rare sessions leave the usual course of work.

A usual session walks along the steps of ``FOLLOWS``. In a deviating one, one to three steps are
such as never follow the step before them; each single action occurs in usual sessions too, so
only the order tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.synthetic_tasks import World

__all__ = ["sessions"]

FOLLOWS: Mapping[str, tuple[str, ...]] = {
    "plan": ("list_files", "search", "call_api"),
    "list_files": ("read_file", "search"),
    "search": ("read_file", "list_files", "call_api"),
    "read_file": ("read_file", "edit_file", "search", "summarise"),
    "edit_file": ("run_tests", "edit_file"),
    "run_tests": ("edit_file", "read_file", "commit"),
    "call_api": ("summarise", "read_file"),
    "summarise": ("send_message", "plan"),
    "commit": ("send_message", "plan"),
    "send_message": ("plan", "read_inbox"),
    "read_inbox": ("plan", "search"),
}
SHORTEST, LONGEST = 10, 30
DEVIATING_SHARE = 0.08
MOST_DEVIATIONS = 3
LOG_ODDS = 5.0  # either way: how surely a deviation means harm, and its absence none


def sessions(world: World) -> tuple[dict[str, pa.Array], NDArray[np.float64]]:
    """Return the actions of each session, and the log-odds that it is harmful."""
    import pyarrow as pa

    names = list(FOLLOWS)
    allowed = np.array([[after in FOLLOWS[before] for after in names] for before in names])
    n, rng = world.n_rows, world.rng
    length = rng.integers(SHORTEST, LONGEST + 1, size=n)
    share = DEVIATING_SHARE * np.exp(world.knobs.covariate_shift / 2)
    deviates = rng.random(n) < min(share, 1.0)
    # Each deviation is at a place of its own; a shuffled order of places gives distinct ones.
    places = rng.permuted(np.tile(np.arange(1, SHORTEST), (n, 1)), axis=1)[:, :MOST_DEVIATIONS]
    used = np.arange(MOST_DEVIATIONS) < rng.integers(1, MOST_DEVIATIONS + 1, size=n)[:, None]
    leaves = np.zeros((n, LONGEST), dtype=bool)
    rows, columns = np.nonzero(used & deviates[:, None])
    leaves[rows, places[rows, columns]] = True
    steps = np.empty((n, LONGEST), dtype=np.int64)
    steps[:, 0] = rng.choice([names.index("plan"), names.index("read_inbox")], size=n)
    for i in range(1, LONGEST):
        open_steps = allowed[steps[:, i - 1]] ^ leaves[:, i][:, None]
        steps[:, i] = np.argmax(rng.random((n, len(names))) * open_steps, axis=1)
    inside = np.arange(LONGEST) < length[:, None]
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
    actions = pa.array(names, pa.string()).take(pa.array(steps[inside]))
    log_odds = np.where(deviates, LOG_ODDS, -LOG_ODDS)
    return {"actions": pa.ListArray.from_arrays(pa.array(offsets), actions)}, log_odds
