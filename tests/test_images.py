"""What a model is shown of an image, beside what a viewer shows, on each kind that the two are known to differ on."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from verl.utils.dataset.vision_utils import process_image

from verl_stepgrpo import DataError
from verl_stepgrpo.data.prompts.images import (
    MAX_RATIO,
    decoded,
    encoded,
    mended,
    name_of,
    opened,
    scaled,
    seen,
)

SIZE = (84, 56)


def strokes() -> np.ndarray:
    """A black frame on white."""
    grey = np.full((SIZE[1], SIZE[0]), 255, np.uint8)
    grey[8:48, 10:14] = grey[8:48, 70:74] = grey[8:12, 10:74] = 0
    return grey


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, format=format, **options)
    return content.getvalue()


def on_transparency(mode: str) -> Image.Image:
    """The frame in black, with nothing behind it."""
    grey = strokes()
    ink = Image.fromarray(np.zeros_like(grey)).convert("L" if mode == "LA" else "RGB")
    ink.putalpha(Image.fromarray(255 - grey))
    return ink


def palette() -> bytes:
    """The frame in one colour of a palette, all others of it transparent and nearly black."""
    image = Image.fromarray((strokes() > 0).astype(np.uint8), mode="P")
    image.putpalette([0, 0, 0, 10, 10, 10])
    return saved(image, transparency=1)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(strokes()).convert("RGB"), "JPEG", exif=exif, quality=95)


SAME = {
    "RGB": saved(Image.fromarray(strokes()).convert("RGB")),
    "L": saved(Image.fromarray(strokes())),
    "1": saved(Image.fromarray(strokes()).convert("1")),
    "P": saved(Image.fromarray(strokes()).convert("P")),
    "CMYK": saved(Image.fromarray(strokes()).convert("CMYK"), "TIFF"),
    "RGBA": saved(on_transparency("RGBA")),
    "opaque LA": saved(Image.fromarray(strokes()).convert("LA")),
    "16 bits, all below 256": saved(Image.fromarray(strokes().astype(np.uint16))),
}
OTHERS = {
    "LA": saved(on_transparency("LA")),
    "P with transparency": palette(),
    "16 bits": saved(Image.fromarray((strokes().astype(np.uint16) // 2 + 20) * 200)),
    "EXIF": turned(),
}


class TestKinds:
    @pytest.mark.parametrize("kind", [*SAME, *OTHERS])
    def test_a_model_is_shown_what_verl_shows_it(self, kind: str) -> None:
        content = (SAME | OTHERS)[kind]
        entry = {"bytes": content}
        verls = process_image({"bytes": content}, image_patch_size=14)
        assert np.array_equal(np.asarray(scaled(entry, patch_size=14)), np.asarray(verls))
        assert seen(opened(entry)).resize(verls.size).tobytes() == verls.tobytes()

    @pytest.mark.parametrize("kind", SAME)
    def test_an_image_that_a_viewer_shows_alike_stays(self, kind: str) -> None:
        assert mended(decoded(SAME[kind])) is None

    @pytest.mark.parametrize("kind", OTHERS)
    def test_another_is_redrawn_so_that_verl_shows_what_a_viewer_does(self, kind: str) -> None:
        image = decoded(OTHERS[kind])
        redrawn = mended(image)
        assert redrawn is not None
        verls = process_image({"bytes": encoded(redrawn.image, image.format)}, image_patch_size=14)
        frame = Image.fromarray(strokes())
        frame = frame.transpose(Image.Transpose.ROTATE_270) if kind == "EXIF" else frame
        shown, wanted = (np.asarray(i.convert("L").resize(verls.size)) > 128 for i in (verls, frame))
        if kind == "16 bits":  # of another brightness
            shown = np.asarray(verls.convert("L")) > 60
        assert (shown == wanted).mean() > 0.97
        assert np.ptp(np.asarray(verls)) > 90, "flat"

    def test_one_that_was_redrawn_stays_then(self) -> None:
        for content in OTHERS.values():
            image = decoded(content)
            redrawn = mended(image)
            assert redrawn is not None
            assert mended(decoded(encoded(redrawn.image, image.format))) is None

    def test_white_on_transparency_is_named(self) -> None:
        image = on_transparency("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.putalpha(image.getchannel("A"))
        with pytest.raises(DataError, match="nothing is to be seen"):
            mended(decoded(saved(white)))
        with pytest.raises(DataError, match="numbers from 0 to 1000"):
            mended(decoded(saved(Image.fromarray(np.linspace(0, 1000, 100, dtype=np.float32)[None]), "TIFF")))

    def test_a_file_that_datasets_decodes_is_shown_as_that_does(self) -> None:
        """verl then takes the image itself, upright and without its transparency."""
        entry = {"bytes": OTHERS["EXIF"], "by_datasets": True}
        assert mended(opened(entry), entry) is None
        flat = {"bytes": SAME["RGBA"], "by_datasets": True}
        assert mended(opened(flat), flat) is not None
        assert np.ptp(np.asarray(scaled(flat, patch_size=14))) == 0

    def test_verl_refuses_just_what_is_refused_for_its_shape(self) -> None:
        for width, refused in ((10 * MAX_RATIO, False), (10 * MAX_RATIO + 1, True)):
            entry = {"bytes": saved(Image.new("RGB", (width, 10), "red"))}
            for read in (lambda e: mended(opened(e)), lambda e: scaled(e, patch_size=14), process_image):
                if refused:
                    with pytest.raises(ValueError, match=r"aspect ratio|times the other"):
                        read(dict(entry))
                else:
                    read(dict(entry))


class TestPlaces:
    def test_each_way_to_name_an_image_is_read_as_verl_does(self, tmp_path: Path) -> None:
        content = SAME["RGB"]
        path = tmp_path / "a.png"
        path.write_bytes(content)
        data = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        for source in (str(path), f"file://{path}", data):
            entry = {"image": source, "max_pixels": 28 * 28 * 4}
            verls = process_image(dict(entry), image_patch_size=14)
            assert scaled(entry, patch_size=14).tobytes() == verls.tobytes(), source

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "an image cannot be opened: it is empty"),
            (b"<html></html>", "it is of no format that is known; it begins with b'<html></html>'"),
            (SAME["RGB"][:100], "an image cannot be opened: "),
        ],
    )
    def test_what_cannot_be_opened_is_said_in_a_sentence(self, content: bytes, said: str) -> None:
        with pytest.raises(DataError) as error:
            opened({"bytes": content})
        assert said in str(error.value)
        assert "0x" not in str(error.value)

    def test_a_name_is_short_whatever_it_holds(self, tmp_path: Path) -> None:
        assert len(name_of({"image": "data:image/png;base64," + "A" * 9999})) < 100
        path = str(tmp_path / ("long" * 30) / "none.png")
        with pytest.raises(DataError, match=f"{path} cannot be opened: No such file"):
            opened({"image": path})
