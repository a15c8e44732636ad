"""Animations: GIFs of pictures that were saved."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from gan_jax.files import write_atomic

MAX_FRAMES = 60
_STRIP = 16  # pixels of a caption
_MILLISECONDS = 8000  # of a GIF


def save_animation(frames: Sequence[Path], path: Path, *, captions: Sequence[str] = (), holds: bool = True) -> bool:
    """Save pictures as a looping GIF of eight seconds, at most `MAX_FRAMES` of them, evenly chosen.

    captions: a line under each picture, or none. holds: the last one is held for two seconds. Pictures that cannot be read are
    named and left out; those of another size than the last are left out. Returns whether any was left to save.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES)).round().astype(int))
    opened = [_open_frame(frames[index], captions[index] if captions else "", path.name) for index in chosen]
    whole = [image for image in opened if image is not None]
    images = [image for image in whole if image.size == whole[-1].size]  # a resume may have another number of samples
    if not images:
        return False
    each = _MILLISECONDS // len(images)
    durations = [each] * (len(images) - 1) + [max(each, 2000) if holds else each]
    write_atomic(
        path,
        lambda file: images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0),
    )
    return True


def _open_frame(path: Path, caption: str, animation: str) -> Image.Image | None:
    """Open a picture as one with a palette and its caption below; print a line and return None where it cannot be read."""
    try:
        with Image.open(path) as image:
            return _with_caption(image, caption).convert("P", palette=Image.Palette.ADAPTIVE)
    except Exception as error:  # Pillow raises anything on damaged bytes
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else (str(error) or type(error).__name__)
        print(f"{path}: damaged ({reason}); left out of {animation}", file=sys.stderr, flush=True)
        return None


def _with_caption(image: Image.Image, caption: str) -> Image.Image:
    """Return the picture as grey or RGB, with a white strip for the caption below, if there is one."""
    image = image.convert("L" if image.mode == "L" else "RGB")
    if not caption:
        return image
    below = Image.new(image.mode, (image.width, image.height + _STRIP), "white")
    below.paste(image)
    ImageDraw.Draw(below).text((4, image.height + 1), caption, fill="black", font=ImageFont.load_default(_STRIP - 4))
    return below
