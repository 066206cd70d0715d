"""Cuts the frames that the shipped tokenizer is judged on: `python make_held_out.py FILM.mp4`, beside this file.

One frame a second of 400 s to 488 s, 72 pixels, without loss (FFV1): the film's own pixels, so that scores on them
are scores on the film.
"""

import sys
from pathlib import Path

import av
import numpy as np

from lwm_core.vision.video import Sampling, read_video


def main(film: Path) -> None:
    """Writes `held-out.mkv`, and reads it again to be sure of every pixel."""
    frames, out = read_video(film, Sampling(72, fps=1.0, start=400.0, stop=488.0)).pixels, Path(__file__).parent
    with av.open(str(out / "held-out.mkv"), "w") as container:
        container.metadata["title"] = "Big Buck Bunny, (c) 2008 Blender Foundation, CC BY 3.0; cut and scaled down"
        stream = container.add_stream("ffv1", rate=1)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(format="bgr0")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    assert np.array_equal(read_video(out / "held-out.mkv", Sampling(72)).pixels, frames)
    print(f"{len(frames)} frames")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
