"""Progress of a run on stderr: a bar on a terminal, else a line per epoch."""

from __future__ import annotations

import os
import sys
import time
from typing import Any


class Progress:
    """Counts samples towards `total`, starting from `done`.

    On a terminal a bar shows loss, metrics, samples/s and the time left, and an epoch's line stands above it; elsewhere
    the line, with the same figures, is all there is. `enabled=False` shows nothing.
    """

    def __init__(self, total: int, done: int, enabled: bool = True) -> None:
        self._total, self._start = total, done
        self._done = done
        self._began = time.perf_counter()
        self._enabled = enabled = enabled and bool(sys.stderr)  # None: closed
        self._bar: Any = None
        self._facts: dict[str, str] = {}
        if enabled and sys.stderr.isatty():
            from tqdm import tqdm

            # The size is given, because tqdm shows nothing on a terminal that reports none.
            self._bar = tqdm(
                total=total,
                initial=done,
                unit=" samples",
                unit_scale=True,
                ncols=_width(),
                nrows=24,
                leave=False,
            )

    def step(self, samples: int) -> None:
        self._done += samples
        if self._bar is not None:
            self._bar.update(samples)

    def show(self, epoch: str, **facts: float) -> None:
        """What stands beside the bar from now on."""
        if self._bar is not None:
            self._facts.update({name: f"{value:.4f}" for name, value in facts.items()})
            self._bar.set_description(epoch, refresh=False)
            self._bar.set_postfix(self._facts, refresh=False)

    def line(self, epoch: str, facts: dict[str, float]) -> None:
        """The line of an epoch that has ended."""
        if not self._enabled:
            return
        seconds = time.perf_counter() - self._began
        rate = (self._done - self._start) / seconds if seconds > 0 else 0.0
        left = (self._total - self._done) / rate if rate > 0 else 0.0
        words = "  ".join(f"{name} {value:.4f}" for name, value in facts.items())
        text = f"{epoch}  {words}  {rate:.0f} samples/s  {_clock(seconds)}, {_clock(left)} left"
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        if self._enabled:
            if self._bar is not None:
                self._bar.write(text, file=sys.stderr)
            else:
                print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _width() -> int:
    """Columns of the terminal behind stderr, 100 if it does not tell."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 100
    except (OSError, ValueError):
        return 100


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
