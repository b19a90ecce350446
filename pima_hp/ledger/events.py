"""The bytes of a TensorBoard event file, built of TensorBoard's own messages and without TensorFlow."""

import io
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from pima_hp.ledger.names import Value
from pima_hp.run import MAIN_SETTINGS

_TYPES = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING, float: api_pb2.DATA_TYPE_FLOAT64}
_FIELDS = {bool: "bool_value", str: "string_value", float: "number_value"}


def file_bytes(began: float, events: Iterable[Any]) -> bytes:
    """Return an event file of these events; those without a time are of its beginning.

    A record is its length, its content and a checksum of each, as TensorBoard's own `RecordWriter` writes it, which
    computes the checksums in Python.
    """
    stream = io.BytesIO()
    for event in (Event(file_version="brain.Event:2"), *events):
        if not event.wall_time:
            timed = Event(wall_time=began)
            timed.MergeFrom(event)  # a copy: the same event may begin several files
            event = timed
        content = event.SerializeToString(deterministic=True)
        length = struct.pack("<Q", len(content))
        stream.write(length + _checksum(length) + content + _checksum(content))
    return stream.getvalue()


def _checksum(content: bytes) -> bytes:
    """Return the masked CRC-32C of TensorFlow's record files."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def scalars(wall_time: float, step: int, values: Mapping[str, float]) -> Any:
    """Return one event with these numbers by their tags; NaN is left out."""
    numbers = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if value == value]
    return Event(wall_time=wall_time, step=step, summary=Summary(value=numbers))


def session_start(hparams: Mapping[str, Value]) -> Any:
    """Return what makes a folder a row of the HParams tab: its settings.

    The row has the name of the folder. A name of its own would make one row of folders in several studies.
    """
    data = HParamsPluginData()
    data.session_start_info.SetInParent()  # also where there is no setting to show
    for name, value in hparams.items():
        setattr(data.session_start_info.hparams[name], _FIELDS[type(value)], value)
    return _plugin_event(metadata.SESSION_START_INFO_TAG, data)


def session_end(*, succeeded: bool) -> Any:
    """Return how a run ended, for the HParams tab."""
    status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
    data = HParamsPluginData(session_end_info={"status": status})
    return _plugin_event(metadata.SESSION_END_INFO_TAG, data)


def experiment(sessions: Iterable[Mapping[str, Value]], metrics: Mapping[str, str]) -> Any:
    """Return which columns the HParams tab has: without it, every curve would be one.

    Args:
        sessions: the settings of every row.
        metrics: tag -> what is written above its column.
    """
    columns: dict[str, dict[Value, None]] = {}
    for hparams in sessions:
        for name, value in hparams.items():
            columns.setdefault(name, {})[value] = None
    data = HParamsPluginData()
    for name, values in columns.items():
        # TensorBoard shows five columns at first: those that "differ", by name
        first = name in MAIN_SETTINGS
        info = data.experiment.hparam_infos.add(name=name, type=_TYPES[type(next(iter(values)))], differs=first)
        if info.type != api_pb2.DATA_TYPE_FLOAT64 and len(values) > 1:  # words are chosen from a list
            info.domain_discrete.extend(sorted(values))
    for tag, title in metrics.items():
        data.experiment.metric_infos.add(name={"tag": tag}, display_name=title)
    return _plugin_event(metadata.EXPERIMENT_TAG, data)


def _plugin_event(tag: str, data: Any) -> Any:
    described = metadata.create_summary_metadata(data)
    data.version = metadata.PLUGIN_DATA_VERSION
    described.plugin_data.content = data.SerializeToString(deterministic=True)  # else maps differ between processes
    value = Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)
    return Event(summary=Summary(value=[value]))
