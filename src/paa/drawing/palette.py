"""The colour of each class, the same in every image and plot, that colour-blind people can tell apart."""

from __future__ import annotations

Colour = tuple[int, int, int]

# Okabe & Ito (2008), less black; those that stand out on most images come first.
_BASE: tuple[Colour, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (86, 180, 233),
    (240, 228, 66),
)
_SHADES = (0.0, 0.45, -0.4)


def class_colour(label: int) -> Colour:
    """Return a class's RGB colour: seven hues, then the same lighter, then darker; from class 21 on they repeat."""
    shade = _SHADES[label // len(_BASE) % len(_SHADES)]
    red, green, blue = (_shaded(channel, shade) for channel in _BASE[label % len(_BASE)])
    return red, green, blue


def text_colour(background: Colour) -> Colour:
    """Return black or white, whichever is easier to read on this colour."""
    red, green, blue = background
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else (255, 255, 255)


def _shaded(channel: int, shade: float) -> int:
    """Return the channel moved by this share of the distance towards white (shade > 0) or black (shade < 0)."""
    return round(channel + (255 - channel) * shade if shade > 0 else channel * (1 + shade))
