//! `study.json`.

use serde_json::{Value, json};

use super::{AboutArm, ArmOutcome, Beyond, Outcome, Summary, words};
use crate::report::pooling::{Estimate, Pooled};
use crate::report::{LeftOut, PooledAttribution, PooledHeatMap};

/// A study as `study.json` has it.
pub fn json(study: &Summary) -> Value {
    json!({
        "words": words(study),
        "baseline": study.baseline,
        "seeds": study.seeds,
        "arms": study.arms.iter().map(about).collect::<Vec<_>>(),
        "placebos": study.placebos.iter().map(|placebo| json!({
            "arm": placebo.arm,
            "runs": placebo.runs,
            "moved": placebo.moved,
        })).collect::<Vec<_>>(),
        "contrasts": study.outcomes.iter().map(outcome).collect::<Vec<_>>(),
        "left_out": study.left_out.iter().map(LeftOut::as_json).collect::<Vec<_>>(),
        "caveats": study.caveats,
    })
}

fn about(arm: &AboutArm) -> Value {
    let accounts = arm.text.iter().flat_map(|text| &text.accounts);
    json!({
        "arm": arm.name,
        "sets": arm.sets,
        "text": accounts.map(|account| account.sentence()).collect::<Vec<_>>(),
        "attributions": arm.attributions.iter().map(PooledAttribution::as_json).collect::<Vec<_>>(),
        "heat_maps": arm.heat_maps.iter().map(PooledHeatMap::as_json).collect::<Vec<_>>(),
    })
}

fn outcome(outcome: &Outcome) -> Value {
    let names = &outcome.contrast.names;
    json!({
        "contrast": names.name,
        "groups": names.groups,
        "smallest_effect_of_interest": outcome.margin,
        "arms": outcome.arms.iter().map(arm).collect::<Vec<_>>(),
    })
}

fn arm(arm: &ArmOutcome) -> Value {
    let less = |compared: &Option<Result<Beyond, String>>| {
        compared.as_ref().map(|compared| match compared {
            Ok(compared) => beyond(compared),
            Err(why) => json!({ "not_compared": why }),
        })
    };
    let mut beyond_baseline = less(&arm.beyond);
    if let (Some(Value::Object(fields)), Some(Ok(compared))) = (&mut beyond_baseline, &arm.beyond) {
        fields.insert("finding".to_owned(), json!(compared.finding().name()));
    }
    json!({
        "arm": arm.name,
        "change": match &arm.change {
            Ok(pooled) => change(pooled),
            Err(why) => json!({ "not_pooled": why }),
        },
        "beyond_baseline": beyond_baseline,
        "beyond_no_training": less(&arm.beyond_placebo),
    })
}

fn change(pooled: &Pooled) -> Value {
    let runs = pooled.changes.iter().map(|(name, gap)| {
        json!({
            "run": name,
            "before": gap.before.difference,
            "after": gap.after.difference,
            "change": gap.change.difference,
        })
    });
    json!({
        "runs": runs.collect::<Vec<_>>(),
        "left_out": pooled.left_out.iter().map(|(name, lacking)| json!({ "run": name, "reason": lacking.reason() })).collect::<Vec<_>>(),
        "over_seeds": estimate(&pooled.over_seeds),
        "over_seeds_identities_templates": estimate(&pooled.over_all),
    })
}

fn beyond(beyond: &Beyond) -> Value {
    let by_seed = beyond.seeds.iter().zip(&beyond.by_seed);
    json!({
        "by_seed": by_seed.map(|(seed, value)| json!({ "seed": seed, "difference": value })).collect::<Vec<_>>(),
        "over_seeds": estimate(&beyond.over_seeds),
        "over_seeds_identities_templates": estimate(&beyond.over_all),
        "adjusted_p_value": beyond.adjusted_p_value,
        "equivalence_p_value": beyond.equivalence_p_value,
        "adjusted_equivalence_p_value": beyond.adjusted_equivalence_p_value,
    })
}

fn estimate(one: &Estimate) -> Value {
    json!({ "value": one.value, "low": one.low, "high": one.high, "p_value": one.p_value })
}
