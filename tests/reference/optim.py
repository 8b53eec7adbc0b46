"""Optimizers in NumPy float64, one parameter at a time, written from the papers' update rules."""

from __future__ import annotations

from typing import Any

import numpy as np


class Reference:
    """Holds one parameter and its state; step(g) moves it."""

    def __init__(self, kind: str, p: np.ndarray, **h: Any):
        self.kind = kind
        self.p = p.astype(np.float64)
        self.h = h
        self.t = 0
        self.product = 1.0
        self.b: np.ndarray | None = None
        self.m = np.zeros(p.shape)
        self.v = np.full(p.shape, float(h.get("initial_accumulator_value", 0)))
        self.w = np.zeros(p.shape)

    def step(self, g: np.ndarray) -> None:
        h = self.h
        self.t += 1
        g = -g.astype(np.float64) if h.get("maximize") else g.astype(np.float64)
        decay = h.get("weight_decay", 0.01 if self.kind == "AdamW" else 0)
        if self.kind == "AdamW" or h.get("decoupled_weight_decay"):
            self.p = self.p * (1 - h["lr"] * decay)
        else:
            g = g + decay * self.p
        getattr(self, self.kind.lower())(g)

    def sgd(self, g: np.ndarray) -> None:
        mu = self.h.get("momentum", 0)
        if mu:
            self.b = g if self.b is None else mu * self.b + (1 - self.h.get("dampening", 0)) * g
            g = g + mu * self.b if self.h.get("nesterov") else self.b
        self.p = self.p - self.h["lr"] * g

    def moments(self, g: np.ndarray) -> tuple[float, float]:
        b1, b2 = self.h.get("betas", (0.9, 0.999))
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g * g
        return 1 - b1**self.t, 1 - b2**self.t

    def adam(self, g: np.ndarray) -> None:
        c1, c2 = self.moments(g)
        self.w = np.maximum(self.w, self.v)
        v = self.w if self.h.get("amsgrad") else self.v
        self.p = self.p - self.h["lr"] * (self.m / c1) / (np.sqrt(v / c2) + self.h.get("eps", 1e-8))

    adamw = adam

    def rmsprop(self, g: np.ndarray) -> None:
        a, mu = self.h.get("alpha", 0.99), self.h.get("momentum", 0)
        self.v = a * self.v + (1 - a) * g * g
        v = self.v
        if self.h.get("centered"):
            self.m = a * self.m + (1 - a) * g
            v = v - self.m**2
        self.w = mu * self.w + g / (np.sqrt(v) + self.h.get("eps", 1e-8))
        self.p = self.p - self.h["lr"] * self.w

    def adagrad(self, g: np.ndarray) -> None:
        self.v = self.v + g * g
        rate = self.h["lr"] / (1 + (self.t - 1) * self.h.get("lr_decay", 0))
        self.p = self.p - rate * g / (np.sqrt(self.v) + self.h.get("eps", 1e-10))

    def nadam(self, g: np.ndarray) -> None:
        b1 = self.h.get("betas", (0.9, 0.999))[0]
        mu, following = (
            b1 * (1 - 0.5 * 0.96 ** (t * self.h.get("momentum_decay", 4e-3))) for t in (self.t, self.t + 1)
        )
        self.product *= mu
        _, c2 = self.moments(g)
        step = (1 - mu) / (1 - self.product) * g + following / (1 - self.product * following) * self.m
        self.p = self.p - self.h["lr"] * step / (np.sqrt(self.v / c2) + self.h.get("eps", 1e-8))

    def radam(self, g: np.ndarray) -> None:
        b2 = self.h.get("betas", (0.9, 0.999))[1]
        c1, c2 = self.moments(g)
        most = 2 / (1 - b2) - 1
        rho = most - 2 * self.t * b2**self.t / c2
        step = self.m / c1
        if rho > 5:
            r = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
            step = step * r * np.sqrt(c2) / (np.sqrt(self.v) + self.h.get("eps", 1e-8))
        self.p = self.p - self.h["lr"] * step

    def adadelta(self, g: np.ndarray) -> None:
        rho, eps = self.h.get("rho", 0.9), self.h.get("eps", 1e-6)
        self.v = rho * self.v + (1 - rho) * g * g
        step = np.sqrt(self.w + eps) / np.sqrt(self.v + eps) * g
        self.w = rho * self.w + (1 - rho) * step * step
        self.p = self.p - self.h["lr"] * step

    def adamax(self, g: np.ndarray) -> None:
        b1, b2 = self.h.get("betas", (0.9, 0.999))
        self.m = b1 * self.m + (1 - b1) * g
        self.w = np.maximum(b2 * self.w, np.abs(g) + self.h.get("eps", 1e-8))
        self.p = self.p - self.h["lr"] / (1 - b1**self.t) * self.m / self.w
