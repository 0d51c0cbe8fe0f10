//! The intervention `data-weight`: gives the text of a topic another weight in the loss.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {
    topic: String,
    weight: f64,
}

struct DataWeight(Options);

/// The kind `data-weight`.
pub fn kind() -> InterventionKind {
    InterventionKind::new(
        "data-weight",
        "weighs the predictions in documents of a topic; the loss of a step is then a weighted mean",
        DataWeight,
    )
    .option("topic", "the topic, as the data names it")
    .option("weight", "its weight, above 0; other topics weigh 1")
    .at(Some("start"))
}

impl Intervention for DataWeight {
    fn prepare(&mut self, facts: &RunFacts) -> Result<()> {
        let Options { topic, weight } = &self.0;
        OptionError::unless(
            facts.topics.contains(topic),
            "topic",
            if facts.topics.is_empty() {
                "this text has no topics".to_owned()
            } else {
                format!("must be one of {}", facts.topics.join(", "))
            },
        )?;
        OptionError::unless(
            *weight > 0.0 && weight.is_finite(),
            "weight",
            "must be above 0; a step that weighs nothing has no loss",
        )?;
        Ok(())
    }

    fn intervene(&mut self, control: &mut Control) -> Result<()> {
        let Options { topic, weight } = &self.0;
        if control.in_force().weights.get(topic).unwrap_or(&1.0) != weight {
            control.weigh(topic, *weight, "it was due");
        }
        Ok(())
    }
}
