"""Cuts the clip out of the film: `python make_clip.py FILM` writes big_buck_bunny.mp4 beside this file.

Owns the stretch, the size and the encoder settings of the shipped clip. Needs `pip install "lwm-jax[video]"`.
"""

import sys
from fractions import Fraction
from pathlib import Path

import av


START, SECONDS, RATE = 75.625, 45, 24
WIDTH, HEIGHT = 256, 144
QUALITY = {"crf": "19", "preset": "veryslow", "movflags": "+faststart"}


def make_clip(film: Path, clip: Path) -> int:
    """The number of frames written."""
    with av.open(str(film)) as source, av.open(str(clip), "w", options={"movflags": "+faststart"}) as target:
        stream = target.add_stream("libx264", rate=RATE, options=QUALITY)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        count = 0
        for frame in source.decode(video=0):
            if frame.time < START - 1e-6:
                continue
            small = frame.reformat(WIDTH, HEIGHT, "yuv420p", interpolation="LANCZOS")
            small.pts, small.time_base = count, Fraction(1, RATE)
            target.mux(stream.encode(small))
            count += 1
            if count == SECONDS * RATE:
                break
        target.mux(stream.encode())
    return count


if __name__ == "__main__":
    written = make_clip(Path(sys.argv[1]), Path(__file__).with_name("big_buck_bunny.mp4"))
    print(f"{written} frames")
