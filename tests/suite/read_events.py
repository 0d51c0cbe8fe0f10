"""What the real TensorBoard reads in a run's directory, unsampled, as JSON. Usage: python read_events.py RUN"""
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
events.Reload()
tags = events.Tags()
texts, layout, hparams = {}, None, {}
for tag in tags["tensors"]:
    metadata = events.SummaryMetadata(tag)
    points = events.Tensors(tag)
    if metadata.plugin_data.plugin_name == "text":
        texts[tag] = [[p.step, tensor_util.make_ndarray(p.tensor_proto).item().decode()] for p in points]
    elif metadata.plugin_data.plugin_name == "custom_scalars":
        message = layout_pb2.Layout()
        message.ParseFromString(tensor_util.make_ndarray(points[-1].tensor_proto).item())
        layout = {c.title: [[chart.title, list(chart.multiline.tag),
                             [[s.value, s.lower, s.upper] for s in chart.margin.series]] for chart in c.chart]
                  for c in message.category}
    elif metadata.plugin_data.plugin_name == "hparams":
        message = plugin_data_pb2.HParamsPluginData()
        message.ParseFromString(metadata.plugin_data.content)
        which = message.WhichOneof("data")
        if which == "session_start_info":
            hparams["values"] = {k: getattr(v, v.WhichOneof("kind")) for k, v in message.session_start_info.hparams.items()}
        elif which == "experiment":
            hparams["metrics"] = [m.name.tag for m in message.experiment.metric_infos]
        else:
            hparams["status"] = message.session_end_info.status
print(json.dumps({
    "scalars": {t: [[p.step, p.value] for p in events.Scalars(t)] for t in tags["scalars"]},
    "histograms": {t: [[p.step, p.histogram_value.num, p.histogram_value.min, p.histogram_value.max,
                        p.histogram_value.sum, sum(p.histogram_value.bucket)] for p in events.Histograms(t)] for t in tags["histograms"]},
    "texts": texts, "layout": layout, "hparams": hparams}))
