"""The bytes of a TensorBoard event file, built with TensorBoard's own records and without TensorFlow.

Equal content gives equal bytes: an event's wall time is its epoch, in seconds from 1970.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

HParam = bool | float | str
_TYPES = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING, float: api_pb2.DATA_TYPE_FLOAT64}
_FIELDS = {bool: "bool_value", str: "string_value", float: "number_value"}


def file_bytes(events: Iterable[Any]) -> bytes:
    """An event file of these events."""
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for event in (Event(wall_time=0.0, file_version="brain.Event:2"), *events):
        writer.write(event.SerializeToString(deterministic=True))
    return stream.getvalue()


def curve_events(curves: Mapping[str, NDArray[np.float64]]) -> list[Any]:
    """One event an epoch (step 1 is the first) with all curves, each of shape (E,); NaN leaves a gap."""
    rows = zip(*(curve.tolist() for curve in curves.values()), strict=True)
    return [scalar_event(dict(zip(curves, row, strict=True)), step) for step, row in enumerate(rows, 1)]


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


def session_end_event(*, completed: bool) -> Any:
    """How a run ended, for the HParams tab."""
    data = HParamsPluginData()
    data.session_end_info.status = api_pb2.STATUS_SUCCESS if completed else api_pb2.STATUS_FAILURE
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
