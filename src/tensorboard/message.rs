//! Messages for TensorBoard's plugins: texts, the table of runs, the layout of custom charts.

use protobuf::well_known_types::Value;
use protobuf::{Message, ProtobufResult, RepeatedField};
use tensorboard_proto::api::{DataType, Experiment, HParamInfo, MetricInfo, MetricName, Status};
use tensorboard_proto::layout;
use tensorboard_proto::plugin_hparams::{HParamsPluginData, SessionEndInfo, SessionStartInfo};
use tensorboard_proto::summary::{Summary, Summary_Value, SummaryMetadata};
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::tensor_shape::TensorShapeProto;
use tensorboard_proto::types;

/// The value of a run's parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum HparamValue {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// Yes or no.
    Bool(bool),
}

/// The charts of TensorBoard's custom scalars page, by category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The title and the charts of each category.
    pub categories: Vec<(String, Vec<Chart>)>,
}

/// One chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chart {
    /// Several tags as lines.
    Lines {
        /// Its title.
        title: String,
        /// The tags.
        tags: Vec<String>,
    },
    /// A tag with a band around it.
    Band {
        /// Its title.
        title: String,
        /// The tag in the middle.
        value: String,
        /// The tag of the lower end.
        lower: String,
        /// The tag of the upper end.
        upper: String,
    },
}

impl Chart {
    /// Its title.
    pub fn title(&self) -> &str {
        match self {
            Self::Lines { title, .. } | Self::Band { title, .. } => title,
        }
    }

    /// The tags that are drawn as lines.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = match self {
            Self::Lines { tags, .. } => tags.as_slice(),
            Self::Band { value, .. } => std::slice::from_ref(value),
        };
        tags.iter().map(String::as_str)
    }

    /// The same chart, with `title` and `tag` applied to its title and its tags.
    pub fn map(&self, title: impl Fn(&str) -> String, tag: impl Fn(&str) -> String) -> Self {
        let named = title;
        match self {
            Self::Lines { title, tags } => Self::Lines {
                title: named(title),
                tags: tags.iter().map(|one| tag(one)).collect(),
            },
            Self::Band {
                title,
                value,
                lower,
                upper,
            } => Self::Band {
                title: named(title),
                value: tag(value),
                lower: tag(lower),
                upper: tag(upper),
            },
        }
    }
}

/// A summary of one value of a plugin.
fn plugin_summary(tag: &str, plugin: &str, content: Vec<u8>, tensor: TensorProto) -> Summary {
    let mut metadata = SummaryMetadata::new();
    metadata
        .mut_plugin_data()
        .set_plugin_name(plugin.to_owned());
    metadata.mut_plugin_data().set_content(content);
    let mut value = Summary_Value::new();
    value.set_tag(tag.to_owned());
    value.set_metadata(metadata);
    value.set_tensor(tensor);
    let mut summary = Summary::new();
    summary.set_value(RepeatedField::from(vec![value]));
    summary
}

/// A string tensor without dimensions. TensorBoard draws a table around a text that has dimensions.
fn string_tensor(bytes: Vec<u8>) -> TensorProto {
    let mut tensor = TensorProto::new();
    tensor.set_dtype(types::DataType::DT_STRING);
    tensor.set_string_val(RepeatedField::from(vec![bytes]));
    tensor.set_tensor_shape(TensorShapeProto::new());
    tensor
}

/// The summary of a text in Markdown.
pub(super) fn text(tag: &str, markdown: &str) -> Summary {
    let tensor = string_tensor(markdown.as_bytes().to_vec());
    plugin_summary(tag, "text", Vec::new(), tensor)
}

/// The two summaries with the run's parameters and the tags of metrics. `seconds` is the time of the start, since 1970.
pub(super) fn hparams(
    hparams: &[(String, HparamValue)],
    metrics: &[String],
    seconds: f64,
) -> ProtobufResult<[Summary; 2]> {
    let mut experiment = Experiment::new();
    let mut start = SessionStartInfo::new();
    experiment.set_time_created_secs(seconds);
    start.set_start_time_secs(seconds);
    for (name, value) in hparams {
        let mut info = HParamInfo::new();
        info.set_name(name.clone());
        let mut wrapped = Value::new();
        match value {
            HparamValue::Number(number) => {
                info.set_field_type(DataType::DATA_TYPE_FLOAT64);
                wrapped.set_number_value(*number);
            }
            HparamValue::Text(text) => {
                info.set_field_type(DataType::DATA_TYPE_STRING);
                wrapped.set_string_value(text.clone());
            }
            HparamValue::Bool(yes) => {
                info.set_field_type(DataType::DATA_TYPE_BOOL);
                wrapped.set_bool_value(*yes);
            }
        }
        experiment.mut_hparam_infos().push(info);
        start.mut_hparams().insert(name.clone(), wrapped);
    }
    for metric in metrics {
        let mut name = MetricName::new();
        name.set_tag(metric.clone());
        let mut info = MetricInfo::new();
        info.set_name(name);
        experiment.mut_metric_infos().push(info);
    }
    let mut about = HParamsPluginData::new();
    about.set_experiment(experiment);
    let mut begun = HParamsPluginData::new();
    begun.set_session_start_info(start);
    Ok([
        hparams_summary("_hparams_/experiment", &about)?,
        hparams_summary("_hparams_/session_start_info", &begun)?,
    ])
}

/// The summary of how the run ended, for the table of runs.
pub(super) fn session_end(success: bool, seconds: f64) -> ProtobufResult<Summary> {
    let mut end = SessionEndInfo::new();
    end.set_end_time_secs(seconds);
    end.set_status(if success {
        Status::STATUS_SUCCESS
    } else {
        Status::STATUS_FAILURE
    });
    let mut data = HParamsPluginData::new();
    data.set_session_end_info(end);
    hparams_summary("_hparams_/session_end_info", &data)
}

fn hparams_summary(tag: &str, data: &HParamsPluginData) -> ProtobufResult<Summary> {
    // The plugin reads only the metadata, but a tensor must be there.
    let mut tensor = TensorProto::new();
    tensor.set_dtype(types::DataType::DT_FLOAT);
    tensor.set_tensor_shape(TensorShapeProto::new());
    tensor.set_float_val(vec![0.0]);
    Ok(plugin_summary(
        tag,
        "hparams",
        data.write_to_bytes()?,
        tensor,
    ))
}

/// The summary with the layout of the custom scalars page.
pub(super) fn custom_layout(layout: &Layout) -> ProtobufResult<Summary> {
    let mut message = layout::Layout::new();
    for (title, charts) in &layout.categories {
        let mut category = layout::Category::new();
        category.set_title(title.clone());
        category.set_chart(charts.iter().map(chart).collect());
        message.mut_category().push(category);
    }
    let tensor = string_tensor(message.write_to_bytes()?);
    let tag = "custom_scalars__config__";
    Ok(plugin_summary(tag, "custom_scalars", Vec::new(), tensor))
}

fn chart(chart: &Chart) -> layout::Chart {
    let mut message = layout::Chart::new();
    match chart {
        Chart::Lines { title, tags } => {
            message.set_title(title.clone());
            let exact = tags.iter().map(|tag| exactly(tag));
            message.mut_multiline().set_tag(exact.collect());
        }
        Chart::Band {
            title,
            value,
            lower,
            upper,
        } => {
            message.set_title(title.clone());
            let mut series = layout::MarginChartContent_Series::new();
            series.set_value(value.clone());
            series.set_lower(lower.clone());
            series.set_upper(upper.clone());
            message.mut_margin().mut_series().push(series);
        }
    }
    message
}

/// The regular expression that matches only `tag`. The page accepts nothing but regular expressions.
fn exactly(tag: &str) -> String {
    let mut expression = "^".to_owned();
    for character in tag.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            expression.push('\\');
        }
        expression.push(character);
    }
    expression + "$"
}
