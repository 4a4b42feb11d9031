import itertools
import math

import numpy as np
import pytest

from cnn.detectors.anchors import DefaultBoxes, grid_anchors, parts_of
from cnn.errors import UserError

IMAGE, MAPS = (96, 130), ((12, 16), (2, 3))


def slow_anchors(size, sizes, ratios):
    height, width = size
    boxes = []
    for row, column in np.ndindex(height, width):
        for ratio, root in itertools.product(ratios, sizes):
            y, x = row * (IMAGE[0] // height), column * (IMAGE[1] // width)
            tall, wide = root * math.sqrt(ratio) / 2, root / math.sqrt(ratio) / 2
            boxes.append([y + round(-tall), x + round(-wide), y + round(tall), x + round(wide)])
    return np.array(boxes)


def test_against_slow_numpy():
    sizes, ratios = ((9, 20), (33, 70)), (0.5, 1.0, 2.0)
    anchors = grid_anchors(IMAGE, MAPS, sizes=sizes, ratios=ratios)
    for found, size, of_map in zip(anchors, MAPS, sizes, strict=True):
        np.testing.assert_array_equal(found, slow_anchors(size, of_map, ratios))
    assert [np.shape(np.arange(1188)[part]) for part in parts_of(anchors)] == [(1152,), (36,)]


def test_as_many_sizes_as_maps():
    with pytest.raises(UserError, match="anchor_sizes has 1 entries for 2 maps"):
        grid_anchors(IMAGE, MAPS, sizes=((8,),), ratios=(1.0,))


def slow_default_boxes(parts, image, maps):
    boxes = []
    for index, (height, width) in enumerate(maps):
        scale, after = parts.scales[index : index + 2]
        # As (height, width).
        shapes = [(scale, scale), (math.sqrt(scale * after),) * 2]
        for ratio in parts.ratios[index]:
            long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            shapes += [(short, long), (long, short)]
        for row, column in np.ndindex(height, width):
            if parts.strides:
                y, x = ((at + 0.5) * parts.strides[index] for at in (row, column))
            else:
                y, x = (row + 0.5) * image[0] / height, (column + 0.5) * image[1] / width
            for tall, wide in shapes:
                tall, wide = min(tall, 1) * image[0] / 2, min(wide, 1) * image[1] / 2
                boxes.append([y - tall, x - wide, y + tall, x + wide])
    return np.array(boxes)


@pytest.mark.parametrize("strides", [(), (8, 50)])
def test_default_boxes_against_slow_numpy(strides):
    parts = DefaultBoxes((0.1, 0.8, 1.1), ((2,), (2, 3)), strides)
    assert parts.per_pixel() == (4, 6)
    boxes = parts.place(IMAGE, MAPS)
    assert boxes.shape == (12 * 16 * 4 + 2 * 3 * 6, 4)
    np.testing.assert_allclose(boxes, slow_default_boxes(parts, IMAGE, MAPS), rtol=1e-5, atol=1e-4)
