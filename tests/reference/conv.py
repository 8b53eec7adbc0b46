"""Convolution of images in float64, one kernel position at a time, and its gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Pair = tuple[int, int]


def _positions(
    x: np.ndarray, w: np.ndarray, stride: Pair, padding: Pair, dilation: Pair
) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
    """Kernel positions (i, j) and the pixels of the padded image under them, one per output pixel."""
    kernel = w.shape[2:]
    out = [
        (x.shape[2 + a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)
    ]
    for i, j in np.ndindex(*kernel):
        first = (i * dilation[0], j * dilation[1])
        window = [slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, out, stride, strict=True)]
        yield i, j, (slice(None), slice(None), slice(None), *window)


def _grouped(x: np.ndarray, padding: Pair, groups: int) -> np.ndarray:
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    return padded.reshape(n, groups, c // groups, h + 2 * padding[0], w + 2 * padding[1])


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    xg = _grouped(x, padding, groups)
    wg = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    y = sum(
        np.einsum("ngchw,goc->ngohw", xg[at], wg[..., i, j])
        for i, j, at in _positions(x, w, stride, padding, dilation)
    )
    y = y.reshape(x.shape[0], w.shape[0], *y.shape[3:])
    return y if b is None else y + b[:, None, None]


def gradients(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[np.ndarray, ...]:
    xg = _grouped(x, padding, groups)
    wg = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    dg = dy.reshape(dy.shape[0], groups, w.shape[0] // groups, *dy.shape[2:])
    dx, dw = np.zeros_like(xg), np.zeros_like(wg)
    for i, j, at in _positions(x, w, stride, padding, dilation):
        dx[at] += np.einsum("ngohw,goc->ngchw", dg, wg[..., i, j])
        dw[..., i, j] = np.einsum("ngohw,ngchw->goc", dg, xg[at])
    n, c, height, width = x.shape
    dx = dx[..., padding[0] : padding[0] + height, padding[1] : padding[1] + width].reshape(
        n, c, height, width
    )
    return dx, dw.reshape(w.shape), dy.sum((0, 2, 3))


def _adjoint(
    x: np.ndarray, w: np.ndarray, stride: Pair, padding: Pair, more: Pair, groups: int, dilation: Pair
) -> np.ndarray:
    """An image of the size that a transposed convolution gives: the input of the convolution that it transposes."""
    size = [
        (x.shape[2 + a] - 1) * stride[a] - 2 * padding[a] + dilation[a] * (w.shape[2 + a] - 1) + more[a] + 1
        for a in (0, 1)
    ]
    return np.zeros((x.shape[0], w.shape[1] * groups, *size))


def conv_transpose2d(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    output_padding: Pair = (0, 0),
    groups: int = 1,
    dilation: Pair = (1, 1),
) -> np.ndarray:
    """Every input pixel adds its multiple of the kernel to the output."""
    y = _adjoint(x, w, stride, padding, output_padding, groups, dilation)
    n, o, height, width = y.shape
    # Room at the end for kernels that reach beyond the output.
    wide = np.zeros(
        (n, groups, o // groups, height + 2 * padding[0] + dilation[0], width + 2 * padding[1] + dilation[1])
    )
    xg = x.reshape(n, groups, x.shape[1] // groups, *x.shape[2:])
    wg = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    with np.errstate(invalid="ignore"):
        for i, j in np.ndindex(*w.shape[2:]):
            rows, columns = (
                slice(f * d, f * d + (m - 1) * s + 1, s)
                for f, d, m, s in zip((i, j), dilation, x.shape[2:], stride, strict=True)
            )
            wide[..., rows, columns] += np.einsum("ngchw,gco->ngohw", xg, wg[..., i, j])
    y = wide[..., padding[0] : padding[0] + height, padding[1] : padding[1] + width].reshape(y.shape)
    return y if b is None else y + b[:, None, None]


def transpose_gradients(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    output_padding: Pair = (0, 0),
    groups: int = 1,
    dilation: Pair = (1, 1),
) -> tuple[np.ndarray, ...]:
    dg = _grouped(dy, padding, groups)
    dg = np.pad(dg, ((0, 0),) * 3 + ((0, dilation[0]), (0, dilation[1])))
    xg = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    wg = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    dx, dw = np.zeros_like(xg), np.zeros_like(wg)
    for i, j in np.ndindex(*w.shape[2:]):
        rows, columns = (
            slice(f * d, f * d + (m - 1) * s + 1, s)
            for f, d, m, s in zip((i, j), dilation, x.shape[2:], stride, strict=True)
        )
        part = dg[..., rows, columns]
        dx += np.einsum("ngohw,gco->ngchw", part, wg[..., i, j])
        dw[..., i, j] = np.einsum("ngchw,ngohw->gco", xg, part)
    return dx.reshape(x.shape), dw.reshape(w.shape), dy.sum((0, 2, 3))
