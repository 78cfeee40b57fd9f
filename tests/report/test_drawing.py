import numpy as np
import pytest

from paa.detections import Detections
from paa.drawing.boxes import _label_place
from paa.drawing.palette import class_colour
from paa.report.drawing import Comparison, contact_sheet

NAMES = ("cat", "dog", "a very long class name that cannot fit")


def detections(boxes, scores, labels):
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64), NAMES
    )


def grey(height=200, width=300):
    return np.full((height, width, 3), 128, np.uint8)


def where(image, label):
    return np.argwhere((np.asarray(image) == class_colour(label)).all(axis=2))


def test_a_box_is_drawn_where_it_is_and_the_input_is_left_alone():
    image = grey()
    drawn = detections([[50, 80, 150, 180]], [0.9], [1]).plot(image)
    assert (image == 128).all()
    assert drawn.size == (300, 200)
    pixels = where(drawn, 1)
    assert pixels[:, 1].min() == 50
    assert pixels.max(axis=0).tolist() == [179, 149]
    assert (np.asarray(drawn)[90:170, 60:140] == 128).all()
    assert (np.asarray(drawn)[60:80, 50:90] == class_colour(1)).all(axis=2).mean() > 0.3  # the label, above


def test_nothing_to_draw_leaves_the_image():
    np.testing.assert_array_equal(np.asarray(detections([], [], []).plot(grey())), grey())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 400), (400, 7), (30, 30), (2000, 3000)])
def test_any_size_of_image_and_any_box(height, width):
    boxes = [[-50, -50, 10, 10], [width - 1, height - 1, width + 90, height + 9], [5, 5, 5, 5], [0, 0, width, height]]
    found = detections(boxes, [0.9, 0.8, 0.7, 0.6], [0, 1, 2, 0])
    assert found.plot(grey(height, width)).size == (width, height)


def test_labels_stay_inside_and_do_not_hide_each_other_where_there_is_room():
    rng = np.random.default_rng(0)
    placed = []
    for i in range(40):
        x, y = 100 * (i % 8), 100 * (i // 8)
        x1, y1 = x + rng.uniform(0, 20), y + rng.uniform(0, 20)
        place = _label_place((x1, y1, x1 + 70, y1 + 70), (60, 14), (800, 500), placed)
        assert place[0] >= 0
        assert place[2] < 800
        assert place[1] >= 0
        assert place[3] < 500
        placed.append(place)
    for i, a in enumerate(placed):
        for b in placed[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_two_equal_boxes_both_show_their_labels():
    box = (50.0, 50.0, 150.0, 150.0)
    first = _label_place(box, (60, 14), (300, 300), [])
    second = _label_place(box, (60, 14), (300, 300), [first])
    assert first == (50, 36, 110, 50)
    assert second == (50, 50, 110, 64)


@pytest.mark.parametrize(("count", "columns"), [(1, 2), (2, 2), (5, 2), (5, 3), (0, 2)])
def test_a_sheet_is_as_wide_as_asked_and_shows_every_image_twice(count, columns):
    rows = [
        Comparison(
            grey(100 + 60 * i, 160),
            np.array([[20, 20, 60, 60]], np.float32),
            np.array([0]),
            detections([[22, 22, 64, 64], [80, 80, 120, 95]], [0.9, 0.1], [1, 0]),
            title=f"image {i}",
        )
        for i in range(count)
    ]
    sheet = contact_sheet(rows, NAMES, columns=columns, width=1000)
    assert sheet.width == 1000
    if not count:
        return
    ground = np.asarray(sheet)
    shown = min(columns, count)
    side = (1000 - 12 * (shown + 1)) // shown
    for column in range(shown):
        left = 12 + column * (side + 12)
        truth, found = ground[:, left : left + side // 2 - 2], ground[:, left + side // 2 + 2 : left + side]
        assert len(where(truth, 0))
        assert not len(where(truth, 1))
        assert len(where(found, 1))
        assert not len(where(found, 0))


def test_a_sheet_of_long_images_is_no_longer_than_its_lines():
    rows = [Comparison(grey(9000, 10), np.zeros((0, 4), np.float32), np.zeros(0, int), detections([], [], []))] * 3
    assert contact_sheet(rows, NAMES, columns=1, width=400).height < 3 * (3 * 200 + 40)
