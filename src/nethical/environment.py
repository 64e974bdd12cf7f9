"""What a result may depend on beside the data and the plan: versions, platform, threads."""

from __future__ import annotations

import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from nethical import __version__

if TYPE_CHECKING:
    from nethical.plan import Plan

__all__ = ["environment", "versions"]

LIBRARIES = ("numpy", "scipy", "pyarrow", "lightgbm", "scikit-learn", "cryptography")
OPTIONAL_LIBRARIES = ("torch", "tokenizers")


def environment(plan: Plan) -> dict[str, Any]:
    """Return what the result may depend on beside the data and the plan."""
    return {
        "nethical": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}".lower(),
        "libc": "-".join(platform.libc_ver()),
        "threads": plan.threads,
        "libraries": versions(),
    }


@cache
def versions() -> dict[str, str]:
    """Return the version of each library that a result may depend on."""
    found = {name: version(name) for name in LIBRARIES}
    for name in OPTIONAL_LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
