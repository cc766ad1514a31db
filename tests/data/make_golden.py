#!/usr/bin/env python3
"""Writes golden.h: small image files made with Pillow, what Pillow reads from them, and what it resizes to."""
import io
import sys

from PIL import Image


def pattern(height, width):
    """The same picture as pattern() in golden_pattern.h."""
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            image.putpixel((x, y), ((x * 37 + y * 11) % 256, (x * x + 3 * y * y) % 256, 255 if (x // 3 + y // 2) % 2 else 20))
    return image


def smooth(mode):
    image = Image.new("RGB", (16, 12))
    for y in range(12):
        for x in range(16):
            image.putpixel((x, y), (40 + 10 * x, 220 - 12 * y, 60 + 4 * x + 6 * y))
    if mode == "CMYK":
        return Image.merge("CMYK", [*(band.point(lambda v: 255 - v) for band in image.split()), Image.new("L", image.size, 50)])
    return image.convert(mode)


def encoded(image, **options):
    out = io.BytesIO()
    image.save(out, **options)
    return out.getvalue()


def array(name, values):
    print(f"inline const std::vector<uint8_t> {name} = {{")
    text = ", ".join(str(v) for v in values)
    while text:
        cut = len(text) if len(text) <= 116 else text.rindex(",", 0, 117) + 1
        print("    " + text[:cut].strip())
        text = text[cut:].strip()
    print("};")


print("// Written by make_golden.py; do not edit.\n// clang-format off\n#pragma once\n")
print("#include <cstdint>\n#include <vector>\n\nnamespace nibble::golden {\n")
alpha = smooth("RGB").convert("RGBA")
alpha.putalpha(77)
files = {
    "jpeg_rgb": (smooth("RGB"), {"format": "JPEG", "quality": 95, "subsampling": 0}),
    "jpeg_grey": (smooth("L"), {"format": "JPEG", "quality": 95}),
    "jpeg_cmyk": (smooth("CMYK"), {"format": "JPEG", "quality": 95}),
    "jpeg_progressive": (smooth("RGB"), {"format": "JPEG", "quality": 90, "progressive": True}),
    "png_rgb": (smooth("RGB"), {"format": "PNG"}),
    "png_grey": (smooth("L"), {"format": "PNG"}),
    "png_alpha": (alpha, {"format": "PNG"}),
    "png_palette": (smooth("RGB").quantize(16), {"format": "PNG"}),
}
for name, (image, options) in files.items():
    data = encoded(image, **options)
    array(name, data)
    array(name + "_pixels", Image.open(io.BytesIO(data)).convert("RGB").tobytes())
sizes = [(13, 17, 5, 7), (7, 5, 11, 16), (20, 20, 9, 20), (3, 40, 3, 6), (1, 1, 4, 3), (75, 50, 8, 8)]
for height, width, to_height, to_width in sizes:
    small = pattern(height, width).resize((to_width, to_height), Image.BILINEAR)
    array(f"resized_{height}x{width}_to_{to_height}x{to_width}", small.tobytes())
print("\n}  // namespace nibble::golden")
