"""The bytes of a TensorBoard event file, built of TensorBoard's own messages and without TensorFlow.

Equal content gives equal bytes: an event's wall time is its epoch, in seconds from 1970.
"""

import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

HParam = bool | float | str
_TYPES = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING, float: api_pb2.DATA_TYPE_FLOAT64}
_FIELDS = {bool: "bool_value", str: "string_value", float: "number_value"}


def file_bytes(events: Iterable[Any]) -> bytes:
    """An event file of these events, or of events that are bytes already.

    A record is its length, its content and a checksum of each, as TensorBoard's own `RecordWriter` writes it, which
    computes the checksums in Python.
    """
    stream = io.BytesIO()
    for event in (Event(wall_time=0.0, file_version="brain.Event:2"), *events):
        content = event if isinstance(event, bytes) else event.SerializeToString(deterministic=True)
        length = struct.pack("<Q", len(content))
        stream.write(length + _checksum(length) + content + _checksum(content))
    return stream.getvalue()


def _checksum(content: bytes) -> bytes:
    """The masked CRC-32C of TensorFlow's record files."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def curve_events(curves: Mapping[str, NDArray[np.float64]]) -> list[Any]:
    """One event per epoch (step 1 is the first) with all curves, each of shape (E,); NaN leaves a gap."""
    tags, values = tuple(curves), np.stack(list(curves.values()), axis=1)  # (E, curves)
    gaps = np.isnan(values.min(axis=1))
    with np.errstate(over="ignore"):
        singles = values.astype("<f4")
    return [
        scalar_event(dict(zip(tags, row, strict=True)), step)
        if gaps[step - 1]
        else _filled(tags, step, singles[step - 1])
        for step, row in enumerate(values.tolist(), 1)
    ]


def _filled(tags: tuple[str, ...], step: int, values: NDArray[np.float32]) -> bytes:
    """The bytes of `scalar_event`: those of an event of zeros, with the numbers put in their places."""
    content, places = _zeros(tags, step)
    filled = bytearray(content)
    for place, value in zip(places, values, strict=True):
        filled[place : place + 4] = value.tobytes()
    return bytes(filled)


@lru_cache(maxsize=1024)
def _zeros(tags: tuple[str, ...], step: int) -> tuple[bytes, list[int]]:
    content = scalar_event(dict.fromkeys(tags, 0.0), step).SerializeToString(deterministic=True)
    places, place = [], 0
    for tag in map(str.encode, tags):
        place = content.index(tag, place) + len(tag) + 1  # a number follows its tag and the byte of its field
        places.append(place)
    return content, places


def scalar_event(scalars: Mapping[str, float], step: int) -> Any:
    """One event with these numbers; NaN is left out."""
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items() if value == value]
    return Event(wall_time=float(step), step=step, summary=Summary(value=values))


def session_event(hparams: Mapping[str, HParam]) -> Any:
    """What makes a folder a row of the HParams tab: its settings.

    The row has the name of the folder. A name of its own would make one row of folders in several studies.
    """
    data = HParamsPluginData()
    data.session_start_info.SetInParent()  # also where there is no setting to show
    for name, value in hparams.items():
        setattr(data.session_start_info.hparams[name], _FIELDS[type(value)], value)
    return _plugin_event(metadata.SESSION_START_INFO_TAG, data)


def session_end_event(*, succeeded: bool) -> Any:
    """How a run ended, for the HParams tab."""
    data = HParamsPluginData()
    data.session_end_info.status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
    return _plugin_event(metadata.SESSION_END_INFO_TAG, data)


def experiment_event(sessions: Iterable[Mapping[str, HParam]], metrics: Sequence[str]) -> Any:
    """Which columns the HParams tab has: without it, every curve would be one."""
    columns: dict[str, set[HParam]] = {}
    for hparams in sessions:
        for name, value in hparams.items():
            columns.setdefault(name, set()).add(value)
    data = HParamsPluginData()
    for name, values in columns.items():
        info = data.experiment.hparam_infos.add(name=name, type=_TYPES[type(next(iter(values)))])
        if info.type != api_pb2.DATA_TYPE_FLOAT64 and len(values) > 1:  # words are chosen from a list
            info.domain_discrete.extend(sorted(values))
    data.experiment.metric_infos.extend(api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics)
    return _plugin_event(metadata.EXPERIMENT_TAG, data)


def _plugin_event(tag: str, data: Any) -> Any:
    described = metadata.create_summary_metadata(data)
    data.version = metadata.PLUGIN_DATA_VERSION
    described.plugin_data.content = data.SerializeToString(deterministic=True)  # else maps differ between processes
    value = Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=0.0, summary=Summary(value=[value]))
