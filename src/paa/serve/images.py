"""From the bytes that a client sends to an image."""

from __future__ import annotations

from paa.data.images.read import decode_image
from paa.data.images.remarks import collected_remarks
from paa.data.images.rgb import Rgb


def decode_upload(data: bytes, name: str) -> Rgb:
    """Return the image in what was sent, as `decode_image` does; name: what messages call it."""
    with collected_remarks():  # clients' images are not spoken of in the server's log
        return decode_image(data, name)
