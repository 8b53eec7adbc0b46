"""What a run shows and writes while it goes on, and the Ctrl-C that ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nonet.train.log import JsonLog, tensorboard_writer
from nonet.train.progress import Progress
from nonet.train.run import RunFolder


class Output:
    """Log, TensorBoard and progress of one call of `Trainer.fit`; the first two only with a folder."""

    def __init__(
        self, folder: RunFolder | None, log_bytes: int, step: int, tensorboard: bool, progress: Progress
    ):
        self.progress = progress
        self._log = None if folder is None else JsonLog(folder.log, log_bytes)
        self._board: Any = None
        if folder is not None and tensorboard:
            self._board = tensorboard_writer(folder.path / "tensorboard", step)

    def write(self, record: dict[str, Any]) -> None:
        """One line of the log; numbers with a fraction go to TensorBoard too, at record["step"]."""
        if self._log is not None:
            self._log.write(record)
        if self._board is not None:
            for name, value in record.items():
                if isinstance(value, float):
                    self._board.add_scalar(name, value, record["step"])

    def log_bytes(self) -> int:
        return 0 if self._log is None else self._log.length()

    def close(self) -> None:
        self.progress.close()
        for part in (self._log, self._board):
            if part is not None:
                part.close()


class Clock:
    """Seconds of a run over all its sessions, `before` of them from earlier ones."""

    def __init__(self, before: float) -> None:
        self.before = before
        self._began = time.perf_counter()

    def session(self) -> float:
        return time.perf_counter() - self._began

    def total(self) -> float:
        return self.before + self.session()


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C inside the block into a flag, which the value given tells; the second acts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread may change what signals do
        return
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT) or signal.SIG_DFL  # None: not set from Python

    def press(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
