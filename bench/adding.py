"""The adding problem: whether a recurrent network remembers over hundreds of steps (Hochreiter & Schmidhuber 1997).

python -m nonet.bench.adding [--cells rnn,lstm,gru] [--length 200] [--steps 3000] [--hidden 64] [--batch 50] [--seed 0]

A sequence has a number in [0, 1) and a mark per step; two steps are marked, one in each half, and the sum of their
numbers is wanted at the end. Whoever says 1 always has a mean squared error of 1/6 = 0.167. Prints the error on 2000
fresh sequences as training goes on, and the norms of the gradients of the output with regard to the first and the last
tenth of the steps: in a network that forgets, the former vanish.
"""

from __future__ import annotations

import argparse

import numpy as np

import nonet
from nonet import nn
from nonet.nn import functional

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def sequences(rng: np.random.Generator, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs float32 [count, length, 2] and sums [count, 1]."""
    x = np.zeros((count, length, 2), np.float32)
    x[:, :, 0] = rng.random((count, length))
    rows, half = np.arange(count), length // 2
    first, second = rng.integers(0, half, count), rng.integers(half, length, count)
    x[rows, first, 1] = x[rows, second, 1] = 1
    return x, (x[rows, first, 0] + x[rows, second, 0])[:, None]


class Adder(nn.Module):
    """A recurrent layer, and a linear map of its last output."""

    def __init__(self, cell: str, hidden: int, length: int) -> None:
        self.rnn = CELLS[cell](2, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)
        if cell == "lstm":  # units that remember for 1 to `length` steps at first (Tallec & Ollivier 2018)
            times = np.log(np.linspace(1, length - 1, hidden, dtype=np.float32))
            with self.rnn.bias_ih_l0.mutable() as bias:
                bias[:hidden], bias[hidden : 2 * hidden] = -times, times

    def forward(self, x: nonet.Tensor) -> nonet.Tensor:
        out, _ = self.rnn(x)
        return self.head(out[:, out.shape[1] - 1])


def reach(model: Adder, x: np.ndarray) -> tuple[float, float]:
    """Norms of the gradient of the outputs' sum with regard to the first and to the last tenth of the steps."""
    inputs = nonet.tensor(x, requires_grad=True)
    model(inputs).sum().backward()
    gradient = np.asarray(inputs.grad)
    tenth = x.shape[1] // 10
    return float(np.linalg.norm(gradient[:, :tenth])), float(np.linalg.norm(gradient[:, -tenth:]))


def train(cell: str, args: argparse.Namespace) -> float:
    """Trains one network and returns its last error."""
    nonet.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    model = Adder(cell, args.hidden, args.length)
    optimizer = nonet.optim.Adam(model.parameters(), lr=args.lr)
    test, wanted = sequences(np.random.default_rng(2**32), 2000, args.length)
    error = float("nan")
    for step in range(1, args.steps + 1):
        x, y = sequences(rng, args.batch, args.length)
        loss = functional.mse_loss(model(nonet.tensor(x)), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % max(1, args.steps // 10) == 0 or step == args.steps:
            with nonet.no_grad():
                error = functional.mse_loss(model(nonet.tensor(test)), wanted).item()
            early, late = reach(model, test[:100])
            print(
                f"{cell} step {step}: error {error:.5f}, gradients {early:.2e} (first), {late:.2e} (last)",
                flush=True,
            )
    return error


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cells", default="rnn,lstm,gru")
    parser.add_argument("--lr", type=float, default=2e-3)
    for name, default in (("length", 200), ("steps", 3000), ("hidden", 64), ("batch", 50), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    for cell in args.cells.split(","):
        print(f"{cell}: mean squared error {train(cell, args):.5f}")


if __name__ == "__main__":
    main()
