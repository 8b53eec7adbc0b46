from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op, each_isa, each_place, use_isa, use_place, use_threads
from nonet.ops import boxes as ops
from reference import boxes as reference

rng = np.random.default_rng(0)


def random(*lead: int) -> np.ndarray:
    """Boxes of which many overlap."""
    corner = rng.random((*lead, 2)) * 4
    return np.concatenate([corner, corner + 0.2 + 3 * rng.random((*lead, 2))], -1).astype(np.float32)


MATRIX = [(ops.box_iou, "iou", 0.0), (ops.generalized_box_iou, "generalized", 0.0)]
MATRIX += [(ops.distance_box_iou, "distance", 1e-7)]


@pytest.mark.parametrize(("op", "kind", "eps"), MATRIX)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 5), (9, 33), (0, 4), (4, 0), (2, 16)])
def test_matrix(op, kind, eps, n, m):
    # A few roundings of numbers up to 1, and of differences of coordinates up to 8.
    check_op(
        op,
        lambda a, b: reference.overlap(a[:, None], b[None], kind, eps),
        [random(n), random(m)],
        rtol=0,
        atol=64 * EPS,
        grad_rtol=1e-4,
        grad_atol=1e-4,
        dtypes=("float32", "bfloat16") if n * m < 20 else ("float32",),
    )


@pytest.mark.parametrize(
    ("op", "kind"), [(ops.generalized_box_iou_loss, "generalized"), (ops.distance_box_iou_loss, "distance")]
)
@pytest.mark.parametrize("lead", [(1,), (2, 3), (67,), ()])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses(op, kind, lead, reduction):
    reduce = {"none": lambda x: x, "mean": np.mean, "sum": np.sum}[reduction]
    count = int(np.prod(lead))
    check_op(
        lambda a, b: op(a, b, reduction),
        lambda a, b: reduce(1 - reference.overlap(a, b, kind, 1e-7)),
        [random(*lead), random(*lead)],
        rtol=0,
        atol=64 * EPS * (count if reduction == "sum" else 1),
        grad_rtol=1e-4,
        grad_atol=1e-4,
    )


@each_place
def test_boxes_apart_and_alike(place):
    """No intersection has no gradient of its own; equal coordinates share theirs."""
    with use_place(place) as device:
        a = nonet.tensor([[0.0, 0, 1, 1], [0, 0, 2, 2]], device=device, requires_grad=True)
        b = nonet.tensor([[2.0, 0, 3, 1], [0, 0, 2, 2]], device=device, requires_grad=True)
        y = ops.generalized_box_iou_loss(a, b, eps=0.0)
        np.testing.assert_allclose(y.detach().cpu().numpy(), [1 + 1 / 3, 0], atol=1e-6)
        y.backward(nonet.tensor([1.0, 1.0], device=device))
        assert np.isfinite(a.grad.cpu().numpy()).all() and np.isfinite(b.grad.cpu().numpy()).all()
        # Growing towards the other box helps, growing away from it does harm.
        np.testing.assert_allclose(a.grad.cpu().numpy()[0], [1 / 9, 0, -1 / 3, 0], atol=1e-6)
        np.testing.assert_allclose(b.grad.cpu().numpy()[0], [1 / 3, 0, -1 / 9, 0], atol=1e-6)
        empty = nonet.tensor([[1.0, 1, 1, 1]], device=device)
        assert np.isnan(ops.box_iou(empty, empty).cpu().numpy()).all()
        assert ops.box_iou(empty, a.detach()).cpu().numpy().tolist() == [[0, 0]]


def test_mean_of_no_boxes_is_zero():
    none = nonet.tensor(np.zeros((0, 4)), requires_grad=True)
    loss = ops.generalized_box_iou_loss(none, np.zeros((0, 4)), "mean")
    loss.backward()
    assert loss.item() == 0 and none.grad.shape == (0, 4)


@each_isa
def test_same_bytes_for_any_number_of_threads(isa):
    a, b = random(301), random(1003)
    with use_isa(isa):
        results = set()
        for threads in (1, 2, 3):
            with use_threads(threads):
                x, y = nonet.tensor(a, requires_grad=True), nonet.tensor(b, requires_grad=True)
                out = ops.generalized_box_iou(x, y)
                out.backward(out.detach())
                results.add((out.numpy().tobytes(), x.grad.numpy().tobytes(), y.grad.numpy().tobytes()))
    assert len(results) == 1


@each_place
@pytest.mark.parametrize("n", [0, 1, 2, 17, 64, 65, 200])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_nms(n, threshold, place):
    boxes, scores = random(n), rng.random(n).astype(np.float32)
    scores[n // 2 :: 3] = 0.5  # ties: the first one wins
    classes = rng.integers(0, 3, n)
    with use_place(place) as device:
        b, s, c = (nonet.tensor(v, device=device) for v in (boxes, scores, classes))
        got = ops.nms(b, s, threshold)
        assert got.dtype == "int64" and got.device == device
        np.testing.assert_array_equal(got.cpu().numpy(), reference.nms(boxes, scores, threshold))
        got = ops.batched_nms(b, s, c, threshold)
        np.testing.assert_array_equal(got.cpu().numpy(), reference.nms(boxes, scores, threshold, classes))


def test_nms_of_equal_boxes_and_strange_scores():
    boxes = np.tile(np.float32([[0, 0, 2, 2]]), (40, 1))
    assert ops.nms(boxes, np.arange(40, dtype=np.float32), 0.5).numpy().tolist() == [39]
    assert ops.nms(boxes, np.arange(40, dtype=np.float32), 1.0).numpy().tolist() == list(range(39, -1, -1))
    scores = np.float32([1, np.inf, -np.inf])
    apart = np.float32([[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]])
    assert ops.nms(apart, scores, 0.5).numpy().tolist() == [1, 0, 2]


def test_area_convert_and_clip():
    boxes = np.float32([[1, 2, 4, 8], [0, 0, 1, 1]])
    assert ops.box_area(boxes).numpy().tolist() == [18, 1]
    sizes = ops.box_convert(boxes, "xyxy", "xywh")
    assert sizes.numpy().tolist() == [[1, 2, 3, 6], [0, 0, 1, 1]]
    centers = ops.box_convert(sizes, "xywh", "cxcywh")
    assert centers.numpy().tolist() == [[2.5, 5, 3, 6], [0.5, 0.5, 1, 1]]
    for fmt, values in (("xywh", sizes), ("cxcywh", centers), ("xyxy", boxes)):
        np.testing.assert_array_equal(ops.box_convert(values, fmt, "xyxy").numpy(), boxes)
    np.testing.assert_array_equal(ops.box_convert(boxes, "xyxy", "cxcywh").numpy(), centers.numpy())
    clipped = ops.clip_boxes_to_image(np.float32([[-1, -2, 9, 3]]), (5, 6))
    assert clipped.numpy().tolist() == [[0, 0, 6, 3]]


BAD = [
    (
        lambda: ops.box_iou(np.zeros((2, 5)), np.zeros((2, 4))),
        ValueError,
        r"boxes1 must have shape \[..., 4\], got \[2, 5\]",
    ),
    (
        lambda: ops.box_iou(np.zeros(4), np.zeros((2, 4))),
        ValueError,
        r"boxes must have shape \[N, 4\], got \[4\] and \[2, 4\]",
    ),
    (
        lambda: ops.generalized_box_iou_loss(np.zeros((3, 4)), np.zeros((2, 4))),
        ValueError,
        r"boxes2 must have the shape of boxes1, \[3, 4\], got \[2, 4\]",
    ),
    (
        lambda: ops.generalized_box_iou_loss(np.zeros((2, 4)), np.zeros((2, 4)), "max"),
        ValueError,
        "generalized_box_iou_loss: reduction must be none, mean or sum, got 'max'",
    ),
    (
        lambda: ops.nms(np.zeros((2, 4)), np.zeros(3), 0.5),
        ValueError,
        r"scores must have shape \[N\] = \[2\], got \[3\]",
    ),
    (
        lambda: ops.nms(np.zeros((2, 2, 4)), np.zeros(2), 0.5),
        ValueError,
        r"nms: boxes must have shape \[N, 4\]",
    ),
    (
        lambda: ops.batched_nms(np.zeros((2, 4)), np.zeros(2), np.zeros(1), 0.5),
        ValueError,
        r"classes must have shape \[N\]",
    ),
    (
        lambda: ops.box_area(np.zeros((2, 3))),
        ValueError,
        r"box_area: boxes must have shape \[..., 4\], got \[2, 3\]",
    ),
    (
        lambda: ops.box_convert(np.zeros((2, 4)), "xyxy", "yx"),
        ValueError,
        "formats are xyxy, xywh and cxcywh, got 'yx'",
    ),
    (
        lambda: ops.nms(np.zeros((2, 4), np.int64), np.zeros(2), 0.5),
        TypeError,
        "boxes must be float32 or bfloat16",
    ),
    (
        lambda: ops.box_iou(np.zeros((2, 4)), nonet.zeros(2, 4, dtype="bfloat16")),
        TypeError,
        "boxes2 must be float32 like boxes1, got bfloat16",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
