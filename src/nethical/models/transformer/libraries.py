"""torch and tokenizers, which only this type needs: imported when used, and named when absent."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nethical.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["exact", "tokenizers_library", "torch_library"]


def torch_library() -> Any:  # noqa: ANN401 - a module
    """Return torch.

    Raises:
        TrainingError: It is not installed.
    """
    return _library("torch")


def tokenizers_library() -> Any:  # noqa: ANN401 - a module
    """Return tokenizers.

    Raises:
        TrainingError: It is not installed.
    """
    return _library("tokenizers")


def _library(name: str) -> Any:  # noqa: ANN401 - a module
    try:
        return import_module(name)
    except ImportError as error:
        raise TrainingError(
            "the simple_transformer needs torch and tokenizers, which are not installed",
            mend="run `pip install -e '.[transformer]'` in the folder of nethical",
        ) from error


@contextmanager
def exact(torch: Any) -> Iterator[None]:  # noqa: ANN401 - a module
    """Compute in full float32 on one CPU thread by deterministic kernels; put all back after."""
    threads = torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(True)  # noqa: FBT003 - positional only in torch
    torch.utils.deterministic.fill_uninitialized_memory = False  # for debugging, and slow
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns_only)
        torch.utils.deterministic.fill_uninitialized_memory = fills
