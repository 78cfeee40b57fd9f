import itertools

from paa.drawing.palette import class_colour, text_colour


def luminance(colour):
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_twenty_one_classes_look_different_and_more_repeat():
    colours = [class_colour(label) for label in range(21)]
    for a, b in itertools.combinations(colours, 2):
        assert max(abs(x - y) for x, y in zip(a, b)) >= 20
    assert [class_colour(label + 21) for label in range(21)] == colours


def test_text_can_be_read_on_every_colour():
    """WCAG asks for a contrast of 3 for large or bold text."""
    for label in range(21):
        ground, text = sorted([luminance(class_colour(label)), luminance(text_colour(class_colour(label)))])
        assert (text + 0.05) / (ground + 0.05) >= 3
