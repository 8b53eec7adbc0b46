"""RNN, LSTM and GRU in NumPy float64, one layer over whole sequences with its gradients: what contestants must agree
with."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

__all__ = ["GATES", "Results", "expected"]

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Results:
    """The output [T, B, H], and the gradients of input and weights if there are any."""

    y: np.ndarray
    dx: np.ndarray | None = None
    dw_ih: np.ndarray | None = None
    dw_hh: np.ndarray | None = None
    db_ih: np.ndarray | None = None
    db_hh: np.ndarray | None = None

    def named(self) -> dict[str, np.ndarray]:
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


def expected(kind: str, x: np.ndarray, weights: list[np.ndarray], dy: np.ndarray | None) -> Results:
    """Of x [T, B, I] with weights [g H, I], [g H, H] and two biases [g H], in torch's order of gates."""
    w_ih, w_hh, b_ih, b_hh = (w.astype(np.float64) for w in weights)
    steps, batch, _ = x.shape
    hidden = w_hh.shape[1]
    gx = x.astype(np.float64) @ w_ih.T + b_ih
    y, tape = np.zeros((steps, batch, hidden)), []
    h = c = np.zeros((batch, hidden))
    for t in range(steps):
        h, c, kept = _forward(kind, gx[t], h @ w_hh.T + b_hh, h, c)
        y[t] = h
        tape.append(kept)
    if dy is None:
        return Results(y)
    dgx = np.zeros(gx.shape)
    dgh = np.zeros(gx.shape)
    dh, dc = np.zeros((batch, hidden)), np.zeros((batch, hidden))
    for t in reversed(range(steps)):
        dgx[t], dgh[t], past, dc = _backward(kind, dh + dy[t], dc, tape[t])
        dh = dgh[t] @ w_hh + past
    before = np.concatenate([np.zeros((1, batch, hidden)), y[:-1]])
    return Results(
        y,
        dgx @ w_ih,
        np.einsum("tbg,tbi->gi", dgx, x, optimize=True),
        np.einsum("tbg,tbh->gh", dgh, before, optimize=True),
        dgx.sum((0, 1)),
        dgh.sum((0, 1)),
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _parts(a: np.ndarray, gates: int) -> list[np.ndarray]:
    return np.split(a, gates, axis=1)


def _forward(kind: str, gx: np.ndarray, gh: np.ndarray, h: np.ndarray, c: np.ndarray):
    if kind == "rnn":
        out = np.tanh(gx + gh)
        return out, c, (out,)
    if kind == "lstm":
        i, f, g, o = _parts(gx + gh, 4)
        i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
        after = f * c + i * g
        return o * np.tanh(after), after, (i, f, g, o, c, np.tanh(after))
    (xr, xu, xn), (hr, hu, hn) = _parts(gx, 3), _parts(gh, 3)
    r, u = _sigmoid(xr + hr), _sigmoid(xu + hu)
    n = np.tanh(xn + r * hn)
    return (1 - u) * n + u * h, c, (r, u, n, hn, h)


def _backward(kind: str, dh: np.ndarray, dc: np.ndarray, kept: tuple[np.ndarray, ...]):
    """Gradients of gx, of gh, of the h before past the product, of the c before."""
    if kind == "rnn":
        d = dh * (1 - kept[0] ** 2)
        return d, d, 0, dc
    if kind == "lstm":
        i, f, g, o, c, t = kept
        d = dc + dh * o * (1 - t * t)
        parts = [
            d * g * i * (1 - i),
            d * c * f * (1 - f),
            d * i * (1 - g * g),
            dh * t * o * (1 - o),
        ]
        dz = np.concatenate(parts, 1)
        return dz, dz, 0, d * f
    r, u, n, hn, h = kept
    dn = dh * (1 - u) * (1 - n * n)
    du = dh * (h - n) * u * (1 - u)
    dr = dn * hn * r * (1 - r)
    return np.concatenate([dr, du, dn], 1), np.concatenate([dr, du, dn * r], 1), dh * u, dc
