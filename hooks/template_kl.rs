//! How far main model and assistant are apart at the last position of every template: KL and its relatives, pooled and by group.

use milepost::prelude::*;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Options {}

struct TemplateKl;

/// `template-kl`.
pub fn kind() -> Kind {
    Kind::new(
        "template-kl",
        "divergence of main model and assistant at the templates: KL, JS, TV, top-1 agreement, expected acceptance",
        |_: Options| TemplateKl,
    )
}

impl Hook for TemplateKl {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let all = context.divergences()?;
        let templates = context.scene().templates.prompts();
        let group = |group: Group| {
            let both = all.iter().zip(templates);
            Divergence::mean(both.filter(move |(_, t)| t.group == group).map(|(d, _)| d))
        };
        let (pooled, female, male) = (
            Divergence::mean(all.iter()),
            group(Group::Female),
            group(Group::Male),
        );
        for (name, mean) in [("mean", pooled), ("female", female), ("male", male)] {
            let Some(mean) = mean else { continue };
            context.scalar(format!("kl/{name}_nats"), mean.kl);
            // What `F.kl_div(..., reduction="batchmean")` gives on one row: divided by the vocabulary size.
            let batchmean = match name {
                "mean" => "kl/batchmean".to_owned(),
                _ => format!("kl/{name}_batchmean"),
            };
            context.scalar(batchmean, mean.kl_batchmean);
            context.scalar(format!("kl/{name}_top1_agreement"), mean.top1_agreement);
            context.scalar(
                format!("kl/{name}_acceptance_expected"),
                mean.acceptance_expected,
            );
        }
        if let Some(mean) = pooled {
            context.scalar("divergence/kl_reverse_nats", mean.kl_reverse);
            context.scalar("divergence/js_nats", mean.js);
            context.scalar("divergence/tv", mean.tv);
            context.scalar("divergence/entropy_main_nats", mean.entropy_main);
            context.scalar("divergence/entropy_assistant_nats", mean.entropy_assistant);
            context.scalar("divergence/margin_main", mean.margin_main);
        }
        let kl: Vec<f64> = all.iter().map(|divergence| divergence.kl).collect();
        let agree = all.iter().map(|d| f64::from(u8::from(d.top1_agreement)));
        context.per_template("top1_agreement", agree.collect());
        context.per_template("kl_nats", kl.clone());
        context.histogram("kl/per_template_nats", kl);
        Ok(())
    }
}
