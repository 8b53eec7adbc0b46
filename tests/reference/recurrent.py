"""Recurrent layers in float64, step by step, with their gradients (back-propagation through time)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3, "gru_reset_before": 3}


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


@dataclass
class Weights:
    """Of one layer and direction; a bias or a projection may be None. `d` gathers their gradients."""

    w_ih: np.ndarray
    w_hh: np.ndarray
    b_ih: np.ndarray | None = None
    b_hh: np.ndarray | None = None
    w_hr: np.ndarray | None = None
    d: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, name: str, value: np.ndarray) -> None:
        self.d[name] = self.d.get(name, 0) + value


def cell(kind: str, x: Any, h: Any, c: Any, w: Weights) -> tuple[Any, Any, Any]:
    """(h', c', what the gradient needs) of one step: x [B, I], h [B, S], c [B, H]."""
    size = w.w_hh.shape[0] // GATES[kind]
    gx = x @ w.w_ih.T + (0 if w.b_ih is None else w.b_ih)
    b_hh = 0 if w.b_hh is None else w.b_hh
    if kind == "gru_reset_before":
        gh = h @ w.w_hh[: 2 * size].T
        z = gx[:, : 2 * size] + gh + (0 if w.b_hh is None else w.b_hh[: 2 * size])
        r, u = sigmoid(z[:, :size]), sigmoid(z[:, size:])
        rh = r * h
        n = np.tanh(
            gx[:, 2 * size :] + rh @ w.w_hh[2 * size :].T + (0 if w.b_hh is None else w.b_hh[2 * size :])
        )
        return (1 - u) * n + u * h, c, (x, h, r, u, n, rh)
    gh = h @ w.w_hh.T + b_hh
    if kind in ("tanh", "relu"):
        out = np.tanh(gx + gh) if kind == "tanh" else np.maximum(gx + gh, 0)
        return out, c, (x, h, out)
    if kind == "lstm":
        z = gx + gh
        i, f, o = (sigmoid(z[:, k * size : (k + 1) * size]) for k in (0, 1, 3))
        g = np.tanh(z[:, 2 * size : 3 * size])
        new = f * c + i * g
        m = o * np.tanh(new)
        return (m if w.w_hr is None else m @ w.w_hr.T), new, (x, h, c, i, f, g, o, new, m)
    r, u = sigmoid(gx[:, :size] + gh[:, :size]), sigmoid(gx[:, size : 2 * size] + gh[:, size : 2 * size])
    q = gh[:, 2 * size :]
    n = np.tanh(gx[:, 2 * size :] + r * q)
    return (1 - u) * n + u * h, c, (x, h, r, u, n, q)


def cell_gradient(kind: str, dh: Any, dc: Any, saved: Any, w: Weights) -> tuple[Any, Any, Any]:
    """(dx, dh, dc) ahead of the step; adds the gradients of the weights to w.d."""
    x, h = saved[:2]
    size = w.w_hh.shape[0] // GATES[kind]
    if kind == "gru_reset_before":
        r, u, n, rh = saved[2:]
        dn = dh * (1 - u) * (1 - n * n)
        du = dh * (h - n) * u * (1 - u)
        drh = dn @ w.w_hh[2 * size :]
        dr = drh * h * r * (1 - r)
        dgx = np.concatenate([dr, du, dn], 1)
        before = dh * u + drh * r + dgx[:, : 2 * size] @ w.w_hh[: 2 * size]
        w.add("w_hh", np.concatenate([dgx[:, : 2 * size].T @ h, dn.T @ rh]))
        w.add("b_hh", dgx.sum(0))
    elif kind == "gru":
        r, u, n, q = saved[2:]
        dn = dh * (1 - u) * (1 - n * n)
        du = dh * (h - n) * u * (1 - u)
        dr = dn * q * r * (1 - r)
        dgx = np.concatenate([dr, du, dn], 1)
        dgh = np.concatenate([dr, du, dn * r], 1)
        before = dh * u + dgh @ w.w_hh
        w.add("w_hh", dgh.T @ h)
        w.add("b_hh", dgh.sum(0))
    elif kind == "lstm":
        c, i, f, g, o, new, m = saved[2:]
        if w.w_hr is not None:
            w.add("w_hr", dh.T @ m)
            dh = dh @ w.w_hr
        t = np.tanh(new)
        dnew = dc + dh * o * (1 - t * t)
        dgx = np.concatenate(
            [
                dnew * g * i * (1 - i),
                dnew * c * f * (1 - f),
                dnew * i * (1 - g * g),
                dh * t * o * (1 - o),
            ],
            1,
        )
        dc = dnew * f
        before = dgx @ w.w_hh
        w.add("w_hh", dgx.T @ h)
        w.add("b_hh", dgx.sum(0))
    else:
        out = saved[2]
        dgx = dh * (1 - out * out) if kind == "tanh" else np.where(out > 0, dh, 0)
        before = dgx @ w.w_hh
        w.add("w_hh", dgx.T @ h)
        w.add("b_hh", dgx.sum(0))
    w.add("w_ih", dgx.T @ x)
    w.add("b_ih", dgx.sum(0))
    return dgx @ w.w_ih, before, dc


class Recurrent:
    """All layers and directions over x [T, B, I] with lengths [B]; states [L D, B, size]."""

    def __init__(self, kind: str, weights: Sequence[Weights], bidirectional: bool = False) -> None:
        self.kind = kind
        self.weights = list(weights)
        self.directions = 2 if bidirectional else 1
        self.layers = len(self.weights) // self.directions

    def forward(self, x: Any, lengths: Any = None, h0: Any = None, c0: Any = None) -> tuple[Any, Any, Any]:
        steps, batch = x.shape[:2]
        self.lengths = np.full(batch, steps) if lengths is None else np.asarray(lengths)
        w = self.weights[0]
        shapes = [(len(self.weights), batch, w.w_hh.shape[1])]
        shapes += [(len(self.weights), batch, w.w_hh.shape[0] // GATES[self.kind])]
        hn, cn = (np.zeros(s) if v is None else v.copy() for v, s in zip((h0, c0), shapes, strict=True))
        self.tape: list[list[Any]] = []
        for layer in range(self.layers):
            ys = []
            for d in range(self.directions):
                k = layer * self.directions + d
                y, saved = np.zeros((steps, batch, shapes[0][2])), []
                for t in range(steps) if d == 0 else reversed(range(steps)):
                    on = (t < self.lengths)[:, None]
                    h, c, kept = cell(
                        self.kind, np.where(on, x[t], 0), hn[k].copy(), cn[k].copy(), self.weights[k]
                    )
                    hn[k], cn[k] = np.where(on, h, hn[k]), np.where(on, c, cn[k])
                    y[t] = np.where(on, h, 0)
                    saved.append((t, on, kept))
                ys.append(y)
                self.tape.append(saved)
            x = np.concatenate(ys, 2)
        return x, hn, cn

    def backward(self, dy: Any, dhn: Any = 0.0, dcn: Any = 0.0) -> tuple[Any, Any, Any]:
        """(dx, dh0, dc0); the weights' gradients are in their d."""
        w = self.weights[0]
        batch, size = dy.shape[1], w.w_hh.shape[0] // GATES[self.kind]
        dh0 = np.zeros((len(self.weights), batch, w.w_hh.shape[1])) + dhn
        dc0 = np.zeros((len(self.weights), batch, size)) + dcn
        for layer in reversed(range(self.layers)):
            dx = np.zeros((*dy.shape[:2], self.weights[layer * self.directions].w_ih.shape[1]))
            for d, part in enumerate(np.split(dy, self.directions, 2)):
                k = layer * self.directions + d
                for t, on, kept in reversed(self.tape[k]):
                    dh = np.where(on, dh0[k] + part[t], 0)
                    dc = np.where(on, dc0[k], 0)
                    step, dh, dc = cell_gradient(self.kind, dh, dc, kept, self.weights[k])
                    dx[t] += step
                    dh0[k], dc0[k] = np.where(on, dh, dh0[k]), np.where(on, dc, dc0[k])
            dy = dx
        return dy, dh0, dc0
