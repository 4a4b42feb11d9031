"""A process that measures what it is told to: the parent's handle, and what the child does."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import types
from multiprocessing.connection import Connection
from typing import Any, Protocol, runtime_checkable

from cnn import allocator
from cnn.benchmark.job import Job, Network, Operation, Prepared, Products
from cnn.errors import UserError

_NO_MEMORY = ("RESOURCE_EXHAUSTED", "can't allocate memory", "out of memory", "bad_alloc")


@runtime_checkable
class Side(Protocol):
    """One way of computing a job, inside a worker."""

    def prepare(self, earlier: Prepared | None) -> Prepared:
        """Makes it ready to start, without the memory of a step yet.

        Args:
            earlier: What the same side said in another process; None in the first.
        """
        ...

    def start(self) -> None:
        """Allocates, and runs until nothing is done for the first time any more."""
        ...

    def run(self, repeats: int) -> float:
        """Runs so often and waits for the end; seconds of one."""
        ...

    def peak_bytes(self) -> int | None:
        """The most memory since `start`: of the device, on a CPU of the process."""
        ...


class Worker:
    """A child process; a context manager, at whose end the child ends too.

    Args:
        cache: Directory of compiled programs, a folder a side.
        side: The first that it serves. JAX's have memory as `cnn train` has, PyTorch's as PyTorch.
    """

    def __init__(self, cache: str, side: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, cache), daemon=True)
        with contextlib.nullcontext() if side == "torch" else allocator.huge_pages_for_children():
            self._process.start()
        other.close()

    def machine(self) -> dict[str, Any]:
        """What JAX computes on; see `devices.describe`."""
        return self._ask("machine")

    def open(self, name: str, side: str, job: Job) -> None:
        """Makes a side of a job, under a name for `call`; a name's former one is dropped."""
        self._ask("open", name, side, job)

    def call(self, name: str, method: str, *args: Any) -> Any:
        """The result of a method of the named side.

        Raises:
            UserError: If it raised one, ran out of memory, or if the process is no more.
        """
        return self._ask("call", name, method, args)

    def is_alive(self) -> bool:
        """Whether it can still be asked."""
        return self._process.is_alive()

    def _ask(self, *message: Any) -> Any:
        try:
            self._connection.send(message)
            good, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise UserError(_epitaph(self._process.exitcode)) from error
        if not good:
            raise UserError(answer)
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self._connection.close()
        if error is not None:
            self._process.terminate()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _epitaph(code: int | None) -> str:
    if code is not None and code < 0:
        reason = ", most likely for lack of memory; try a smaller batch" if code == -9 else ""
        return f"its process was ended by signal {-code}{reason}"
    return f"its process ended with code {code}; what it said is above"


def _serve(connection: Connection, cache: str) -> None:
    # Ctrl-C reaches every process of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Several processes share a GPU, and memory that is only reserved is not used.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    sides: dict[str, Any] = {}
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, _answer(sides, cache, *message))
        except UserError as error:
            answer = (False, str(error))
        except (MemoryError, RuntimeError) as error:
            text = str(error)
            if isinstance(error, RuntimeError) and not any(word in text for word in _NO_MEMORY):
                raise
            answer = (False, "there is not enough memory; try a smaller --batch_size")
        connection.send(answer)


def _answer(sides: dict[str, Any], cache: str, what: str, *args: Any) -> Any:
    if what == "machine":
        from cnn.benchmark import devices

        return devices.describe()
    if what == "open":
        name, side, job = args
        sides.pop(name, None)
        sides[name] = _make(side, job, cache)
        return None
    name, method, values = args
    return getattr(sides[name], method)(*values)


def _make(side: str, job: Job, cache: str) -> Side:
    """The implementation, imported only where it is used: torch has no need of JAX's memory."""
    if side == "torch":
        from cnn.benchmark import pytorch

        if isinstance(job, Network):
            return pytorch.TorchNetwork(job)
        assert isinstance(job, Operation)
        return pytorch.TorchOperation(job)
    from cnn.benchmark import devices, network, operation

    if side == "flax" or not devices.serve_library():
        # Where both formulations are one program, a side must not find what the other compiled.
        devices.keep_programs(os.path.join(cache, side))
    if isinstance(job, Network):
        return network.JaxNetwork(job, stock=side == "flax")
    if isinstance(job, Products):
        return operation.JaxProducts(job)
    return operation.JaxOperation(job, stock=side == "flax")
