import importlib
import inspect
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from nethical.engine import base, local
from nethical.errors import DataError, TrainingError, UsageError

FOLDER = Path(__file__).parent
sys.path.append(str(FOLDER))  # spawned workers look where this process does
tasks = importlib.import_module("engine_tasks")


@pytest.fixture(autouse=True)
def no_process_stays():
    yield
    assert multiprocessing.active_children() == []


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(is_so, seconds=20.0):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)


# --- results -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_come_in_the_order_of_the_tasks(workers):
    assert list(local.run(tasks.square, range(11), workers=workers)) == [n * n for n in range(11)]


def test_a_late_result_is_waited_for_while_others_are_done():
    found = list(local.run(tasks.slow_first, range(5), workers=3))
    assert [number for number, _ in found] == [0, 1, 2, 3, 4]
    pids = {pid for _, pid in found}
    assert len(pids) == 3
    assert os.getpid() not in pids


def test_one_worker_is_this_process():
    assert {pid for _, pid in local.run(tasks.slow_first, [4, 5], workers=1)} == {os.getpid()}
    assert list(local.run(lambda n: n + 1, [1, 2], workers=1)) == [2, 3]


@pytest.mark.parametrize("workers", [1, 3])
def test_no_tasks_have_no_results(workers):
    assert list(local.run(tasks.square, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [0, -1])
def test_less_than_one_worker_is_refused_at_once(workers):
    with pytest.raises(UsageError, match="workers") as caught:
        local.run(tasks.square, [1], workers=workers)
    assert caught.value.mend


def test_the_module_is_run_as_an_engine_is():
    asked = inspect.signature(base.Engine.run).parameters
    given = inspect.signature(local.run).parameters
    assert ["self", *given] == list(asked)
    assert all(given[name].kind == asked[name].kind for name in given)
    assert list(local.run(partial(max, 3), [1, 5], workers=2)) == [3, 5]


def test_many_workers_give_the_bytes_of_one():
    one = list(local.run(tasks.product, range(8), workers=1))
    assert list(local.run(tasks.product, range(8), workers=4)) == one


def test_each_worker_computes_with_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    for libraries, told in local.run(tasks.threads_of, range(2), workers=2):
        assert libraries
        assert set(libraries) == {1}
        assert told == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_tasks_are_taken_a_few_ahead_of_the_results_only():
    taken = []

    def numbers():
        for number in range(30):
            taken.append(number)
            yield number

    ahead = []
    for number, _ in enumerate(local.run(tasks.square, numbers(), workers=2)):
        ahead.append(len(taken) - number)
    assert max(ahead) <= 2 * 2 + 1
    assert len(taken) == 30


# --- lost workers ------------------------------------------------------------------------------


def test_a_task_whose_worker_died_is_done_again_up_to_twice(tmp_path):
    given = [(str(tmp_path), number, {1: 2, 4: 1}.get(number, 0)) for number in range(7)]
    assert list(local.run(tasks.die, given, workers=3)) == list(range(7))
    assert len(list(tmp_path.iterdir())) == 3


def test_a_task_that_costs_three_workers_is_given_up(tmp_path):
    given = [(str(tmp_path), number, 9 if number == 2 else 0) for number in range(50)]
    found = []
    with pytest.raises(
        TrainingError, match="task 3 was lost 3 times, at last by SIGKILL"
    ) as caught:
        found.extend(local.run(tasks.die, given, workers=2))
    assert found == [0, 1]
    assert "memory" in caught.value.mend
    assert len(list(tmp_path.iterdir())) == 3


def test_a_worker_that_leaves_is_a_lost_one():
    with pytest.raises(TrainingError, match="with exit code 7") as caught:
        list(local.run(tasks.leave, [7], workers=2))
    assert "__name__" in caught.value.mend


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_killed_at_random_change_no_result(tmp_path, seed):
    rng, killed, over = random.Random(seed), [], threading.Event()

    def kill():
        while not over.is_set():
            time.sleep(rng.uniform(0.02, 0.12))
            for place in rng.sample(found := sorted(tmp_path.glob("*.pid")), len(found)):
                if killed.count(place.name) == 2:
                    continue  # a third time would be one too many
                try:
                    pid = int(place.read_text())
                    os.kill(pid, signal.SIGKILL)
                except (FileNotFoundError, ProcessLookupError):
                    continue
                place.unlink(missing_ok=True)
                killed.append(place.name)
                break

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        given = [(str(tmp_path), number) for number in range(12)]
        assert list(local.run(tasks.be_a_target, given, workers=3)) == list(range(12))
    finally:
        over.set()
        killer.join()
    assert len(killed) >= 3


def test_a_worker_killed_in_the_middle_of_its_answer_is_a_lost_one(tmp_path):
    again = 0
    for attempt in range(10):  # on a busy machine the answer may have been read already
        place = tmp_path / str(attempt)
        place.mkdir()
        results = local.run(tasks.return_much, [(str(place), n) for n in range(3)], workers=2)
        assert next(results) == b""
        wait_until(lambda place=place: list(place.glob("1.*")))
        time.sleep(0.3)  # the answer is on its way, and nobody reads it
        os.kill(int(next(place.glob("1.*")).suffix[1:]), signal.SIGKILL)
        assert [len(found) for found in results] == [5_000_000, 10_000_000]
        again = len(list(place.glob("1.*")))
        if again == 2:
            break
    assert again == 2


# --- what a task raises ------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_what_a_task_raises_stands_where_its_result_would(workers):
    found = []
    with pytest.raises(DataError, match="row 3 is odd") as caught:
        found.extend(local.run(tasks.fail_at_three, range(100), workers=workers))
    assert found == [0, 1, 2]
    assert (caught.value.what, caught.value.mend) == ("row 3 is odd", "mend row 3")
    if workers > 1:
        assert "in fail_at_three" in caught.value.__notes__[0]


def test_an_exception_of_odd_arguments_is_raised_as_it_is():
    with pytest.raises(tasks.NeedyError, match="5: so it is") as caught:
        list(local.run(tasks.fail_needily, [5], workers=2))
    assert caught.value.reason == "so it is"


def test_what_cannot_travel_is_an_error_that_says_so():
    with pytest.raises(RuntimeError, match="ValueError"):
        list(local.run(tasks.fail_untold, [1], workers=2))
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        list(local.run(tasks.untold, [1], workers=2))


def test_what_the_tasks_themselves_raise_comes_through():
    def odd():
        yield 1
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(local.run(tasks.square, odd(), workers=2))


# --- the end -----------------------------------------------------------------------------------


def test_a_closed_iterator_leaves_no_process():
    results = local.run(tasks.slow_first, range(100), workers=2)
    assert next(results)[0] == 0
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    results.close()
    assert not any(is_alive(process.pid) for process in workers)


PROGRAM = """
import sys
sys.path.append({folder!r})
import engine_tasks
from nethical.engine import local
if __name__ == "__main__":
    list(local.run(engine_tasks.leave_a_mark, [({marks!r}, n) for n in range(9)], workers=2))
"""


@pytest.fixture
def program(tmp_path):
    """A program of two workers in the middle of long tasks, and their process ids."""
    script = tmp_path / "program.py"
    (tmp_path / "marks").mkdir()
    script.write_text(PROGRAM.format(folder=str(FOLDER), marks=str(tmp_path / "marks")))
    process = subprocess.Popen(
        [sys.executable, script], stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    marks = tmp_path / "marks"
    wait_until(lambda: len([p for p in marks.glob("*.pid") if p.read_text()]) == 2)
    yield process, [int(place.read_text()) for place in marks.glob("*.pid")]
    process.kill()
    process.communicate()


def test_ctrl_c_ends_the_workers_and_only_this_process_speaks(program):
    process, workers = program
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert told.count("KeyboardInterrupt") == 1
    assert not any(map(is_alive, workers))


def test_workers_end_with_a_process_that_is_killed(program):
    process, workers = program
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(is_alive, workers)), seconds=5)
