"""One TensorBoard event file, written by TensorBoard's own writer.

Owns the form of its records. Each start makes a file of its own; what earlier ones hold beyond the step that a run goes
on from is taken back by a record that TensorBoard knows (a session that starts at that step).
"""

import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast


class EventFile:
    """A new event file in `folder`; points after step `after` in older ones are taken back."""

    def __init__(self, folder: Path, after: int = 0):
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2
            from tensorboard.plugins.hparams import summary_v2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise ImportError(
                "The observer 'tensorboard' needs the package tensorboard: pip install 'lwm-jax[tensorboard]'."
            ) from error
        # Generated modules, whose messages no type checker sees.
        self._event, self._summary, self._tensor, self._types = cast(
            tuple[Any, Any, Any, Any], (event_pb2, summary_pb2, tensor_pb2, types_pb2)
        )
        self._hparams = summary_v2
        older = _newest_second(folder)
        if older is not None:  # files are read in the order of the seconds in their names
            time.sleep(max(0.0, older + 1 - time.time()))
        self._writer = EventFileWriter(str(folder))
        if older is not None:
            start = self._event.SessionLog(status=self._event.SessionLog.START)
            self._writer.add_event(self._event.Event(wall_time=time.time(), step=after + 1, session_log=start))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._add([self._summary.Summary.Value(tag=name, simple_value=v) for name, v in values.items()], step)

    def text(self, name: str, text: str, step: int) -> None:
        """Markdown, shown under "Text"."""
        data = self._summary.SummaryMetadata.PluginData(plugin_name="text")
        tensor = self._tensor.TensorProto(
            dtype=self._types.DT_STRING,
            string_val=[text.encode()],
            tensor_shape={"dim": [{"size": 1}]},
        )
        metadata = self._summary.SummaryMetadata(plugin_data=data)
        self._add([self._summary.Summary.Value(tag=f"{name}/text_summary", metadata=metadata, tensor=tensor)], step)

    def settings(self, values: Mapping[str, Any]) -> None:
        """What runs are compared by, under "HParams"."""
        self._write(self._hparams.hparams_pb(dict(values)), 0)

    def picture(self, name: str, path: Path, step: int) -> None:
        """A PNG file, under "Images"."""
        data = path.read_bytes()
        width, height = struct.unpack(">II", data[16:24])  # of the header, which comes first
        image = self._summary.Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=data)
        self._add([self._summary.Summary.Value(tag=name, image=image)], step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _add(self, values: list[Any], step: int) -> None:
        self._write(self._summary.Summary(value=values), step)

    def _write(self, summary: Any, step: int) -> None:
        self._writer.add_event(self._event.Event(wall_time=time.time(), step=step, summary=summary))


def _newest_second(folder: Path) -> int | None:
    """When the newest event file in a folder was begun; None where there is none."""
    names = [path.name.split(".") for path in folder.glob("events.out.tfevents.*")]
    seconds = [int(name[3]) for name in names if len(name) > 3 and name[3].isdigit()]
    return max(seconds, default=None)
