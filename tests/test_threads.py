import os
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from nethical.threads import free_cores, one_blas_thread


def blas():
    """Return the number of threads of each linear algebra library that is loaded."""
    np.linalg.inv(np.eye(2))
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_linear_algebra_runs_in_one_thread_inside_and_as_before_afterwards():
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas()
        assert before
        assert set(before) == {2}
        with one_blas_thread():
            assert set(blas()) == {1}
            with one_blas_thread():
                assert set(blas()) == {1}
            assert set(blas()) == {1}
        assert blas() == before


def test_the_threads_come_back_after_an_error():
    with threadpool_limits(limits=2, user_api="blas"):
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            raise ZeroDivisionError
        assert set(blas()) == {2}


def test_a_product_has_the_same_bytes_whatever_the_threads_around_it():
    X = np.random.default_rng(0).normal(size=(300, 200))
    products = []
    for limit in (1, 2):
        with threadpool_limits(limits=limit, user_api="blas"), one_blas_thread():
            products.append((X.T @ X).tobytes())
    assert products[0] == products[1]


def test_at_least_one_core_is_free_and_no_more_than_are_allowed():
    assert 1 <= free_cores() <= os.cpu_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_a_process_that_is_bound_to_one_core_has_one():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from nethical.threads import free_cores; print(free_cores())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "1\n"
