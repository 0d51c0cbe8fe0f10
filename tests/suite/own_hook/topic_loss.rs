//! The main model's training loss of each topic of the text, in the steps that `at` names.

use std::collections::BTreeMap;

use milepost::prelude::*;

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {}

struct TopicLoss;

/// `topic-loss`.
pub fn kind() -> Kind {
    let about = "the main model's training loss by topic, in nats a token";
    Kind::new("topic-loss", about, |_: Options| TopicLoss)
        .on(Event::GradientsReady)
        .inline()
        .reports(&["topic_loss/*"])
}

impl Hook for TopicLoss {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let losses = context.batch_losses(Role::Main)?;
        let mut topics: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (row, losses) in context.batch()?.rows().zip(losses.iter()) {
            for part in row.documents() {
                let (sum, count) = topics.entry(part.topic.unwrap_or("none")).or_default();
                // The first token of a row is not predicted, so loss i is that of token i + 1.
                for token in part.tokens.filter(|token| *token > 0) {
                    *sum += f64::from(losses[token - 1]);
                    *count += 1.0;
                }
            }
        }
        for (topic, (sum, count)) in topics.into_iter().filter(|(_, (_, count))| *count > 0.0) {
            context.scalar(format!("topic_loss/{topic}_nats"), sum / count);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, probabilities};

    use super::*;

    #[test]
    fn the_losses_are_those_of_slow_sums() -> Result<()> {
        let texts = [
            ("One two three.", Some("short")),
            ("Four five six seven.", None),
        ];
        let bench = Bench::new()?.documents(&texts, 4)?;
        let reported = bench.run(&kind(), "", [3])?;
        let model = bench.pair_at(2).main;
        let held_out = &bench.scene().held_out;
        let boundary = bench.scene().tokenizer.encode(texts[0].0)?.len();
        let mut sums = [(0.0, 0.0); 2];
        for block in 0..held_out.len() {
            let row = held_out.get(block);
            for (place, next) in probabilities(&model, row).iter().zip(&row[1..]).enumerate() {
                let (probabilities, next) = next;
                // Of the token after this place.
                let of = usize::from(4 * block + place + 1 >= boundary);
                sums[of].0 -= probabilities[*next as usize].ln();
                sums[of].1 += 1.0;
            }
        }
        for (topic, (sum, count)) in ["short", "none"].into_iter().zip(sums) {
            let found = reported.scalar(&format!("topic_loss/{topic}_nats"), 3)?;
            assert!((found - sum / count).abs() < 1e-4, "{topic}: {found}");
        }
        Ok(())
    }
}
