"""The set `shapes`: the bundled digits, pasted in colours and sizes of their own on pictures with a coloured ground.

Generated, the same on every machine: training scenes show digits of the training part of `load_digits`, test scenes
those of its test part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nonet.data.dataset import ArrayDataset
from nonet.data.digits import load_digits
from nonet.data.errors import check_int
from nonet.data.scenes import Scene, Scenes
from nonet.data.streams import generator
from nonet.data.transforms import upsample

SHAPES_SIZE = 64
_MOST = 4  # digits in a scene
_SIDES = (14, 28)  # of a pasted digit, before it is cut to its ink
_INK = 0.4  # share of a pixel that is ink from which on it belongs to the digit
_OVERLAP = 0.1  # of the smaller of two boxes, at most


def load_shapes(train: int = 1500, test: int = 300) -> Scenes:
    """So many scenes of 64 x 64 pixels with one to four digits each, which may touch but hardly overlap.

    Pixels are ground (0) or digit (1); boxes hold the ink of a digit, their classes are 0 to 9. Scene i is the same
    for every `train` and `test` above i. ValueError for fewer than one scene.
    """
    check_int("load_shapes", "train", train, 1)
    check_int("load_shapes", "test", test, 1)
    digits = load_digits()
    parts = [
        tuple(_scene(generator("shapes", part, batch=i), digits_of) for i in range(count))
        for part, (count, digits_of) in enumerate(((train, digits.train), (test, digits.test)))
    ]
    return Scenes("shapes", parts[0], parts[1], ("ground", "digit"), digits.classes)


# All draws are `rng.random`, whose numbers, unlike those of other methods, have been the same in all NumPys so far.
def _scene(rng: np.random.Generator, digits: ArrayDataset) -> Scene:
    canvas = _ground(rng)
    mask = np.zeros((SHAPES_SIZE, SHAPES_SIZE), np.uint8)
    boxes: list[tuple[float, ...]] = []
    wanted = 1 + int(rng.random() * _MOST)
    for _ in range(3 * wanted):  # tries, of which some find no room
        if len(boxes) == wanted:
            break
        side = int(_SIDES[0] + rng.random() * (_SIDES[1] - _SIDES[0] + 1))
        index = int(rng.random() * len(digits))
        top, left = (int(rng.random() * (SHAPES_SIZE - side + 1)) for _ in range(2))
        ink = upsample(digits.inputs[index, 0], side) / np.float32(16)
        rows, columns = (np.flatnonzero((ink > _INK).any(axis=axis)) for axis in (1, 0))
        box = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
        colour = rng.random(3)
        if any(_overlap(box, other) > _OVERLAP for other in boxes):
            continue
        boxes.append((*(float(v) for v in box), float(digits.targets[index])))
        place = np.s_[top : top + side, left : left + side]
        # A colour on the other side of grey than the ground's mean there, so that every digit can be seen.
        dark = canvas[(slice(None), *place)].mean() > 0.5
        paint = (colour * 0.35 if dark else 1 - colour * 0.35).astype(np.float32)[:, None, None]
        canvas[(slice(None), *place)] += (paint - canvas[(slice(None), *place)]) * ink
        mask[place] |= ink > _INK
    image = np.rint(canvas * 255).astype(np.uint8)
    return Scene(image, mask, np.array(boxes, np.float32).reshape(-1, 5))


def _ground(rng: np.random.Generator) -> NDArray[np.float32]:
    """A slope between two colours, with a little noise."""
    first, second = rng.random((2, 3, 1, 1))
    angle = rng.random() * 2 * np.pi
    y, x = np.mgrid[:SHAPES_SIZE, :SHAPES_SIZE] / (SHAPES_SIZE - 1) - 0.5
    slope = (0.5 + 0.7 * (np.cos(angle) * x + np.sin(angle) * y)).clip(0, 1)
    noise = (rng.random((3, SHAPES_SIZE, SHAPES_SIZE)) - 0.5) * 0.2
    return (0.15 + 0.7 * (first + (second - first) * slope) + noise).clip(0, 1).astype(np.float32)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0) * max(height, 0) / smaller
