//! Which device to use.

use serde_json::{Map, Value, json};

use super::speed::rounded;

/// What to use, in words and for the file.
pub(super) struct Advice {
    pub words: String,
    pub value: Value,
}

/// What devices are compared by: the training step if all have taken one, else products.
const MEASURES: [(&str, &str, &str); 2] = [
    (
        "training",
        "tokens_per_second",
        "a training step of gpt2's size",
    ),
    ("product_f32", "gflops", "a product in f32"),
];

/// The fastest of the devices that agree with flex.
pub(super) fn advice(devices: &Map<String, Value>) -> Advice {
    let number = |found: &Value, part: &str, key: &str| found.get(part)?.get(key)?.as_f64();
    let sound = |found: &Value| {
        let parts = found.as_object().into_iter().flatten();
        found["opens"] == true
            && parts
                .into_iter()
                .all(|(_, part)| part.get("failed").is_none())
    };
    let usable: Vec<(&String, &Value)> = devices.iter().filter(|(_, found)| sound(found)).collect();
    for (part, key, what) in MEASURES {
        let speeds = usable.iter().filter_map(|(name, found)| {
            let speed = number(found, part, key)?;
            Some((*name, *found, speed))
        });
        let speeds: Vec<(&String, &Value, f64)> = speeds.collect();
        let flex = speeds.iter().find(|(name, ..)| *name == "flex");
        let fastest = speeds.iter().max_by(|one, other| one.2.total_cmp(&other.2));
        let (Some(flex), Some((name, found, speed))) = (flex, fastest) else {
            continue;
        };
        let times = speed / flex.2;
        let tried = found["training"]["by_batch"]
            .as_object()
            .map_or(0, Map::len);
        let batch = number(found, "training", "batch").map(|batch| batch as u64);
        let batch = batch.filter(|_| tried > 1);
        let mut words = if *name == "flex" && speeds.len() == 1 {
            "use flex: no other device works here".to_owned()
        } else if *name == "flex" {
            format!("use flex: {what} is fastest on it")
        } else {
            format!(
                "use {name} (--device {name}, make: DEVICE={name}): {what} is {} times as fast as on flex",
                rounded(times)
            )
        };
        if let Some(batch) = batch {
            words += &format!("; train.batch = {batch} is the fastest that was tried");
        }
        let value = json!({ "device": name, "times_flex": times, "by": part, "batch": batch });
        return Advice { words, value };
    }
    Advice {
        words: "no device works here".to_owned(),
        value: Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(devices: Value) -> Advice {
        advice(devices.as_object().unwrap())
    }

    #[test]
    fn the_fastest_device_that_agrees_is_to_be_used() {
        let flex = json!({ "opens": true, "product_f32": { "gflops": 300.0 }, "training": { "tokens_per_second": 150.0, "batch": 4, "by_batch": { "4": 150.0 } } });
        let card = json!({ "opens": true, "product_f32": { "gflops": 9000.0 }, "training": { "tokens_per_second": 2100.0, "batch": 32, "by_batch": { "4": 600.0, "32": 2100.0 } } });
        let found = on(
            json!({ "flex": flex, "tch:cuda:0": card, "metal": { "opens": false, "why": "no" } }),
        );
        let expected = "use tch:cuda:0 (--device tch:cuda:0, make: DEVICE=tch:cuda:0): a training step of gpt2's size is 14 times as fast as on flex; train.batch = 32 is the fastest that was tried";
        assert_eq!(found.words, expected);
        assert_eq!(found.value["times_flex"], 14.0);
        // One that does not agree with flex is not to be used, however fast.
        let mut wrong = card.clone();
        wrong["logits"] = json!({ "failed": "logits differ" });
        let found = on(json!({ "flex": flex, "wgpu": wrong }));
        assert_eq!(found.value["device"], "flex");
        assert!(
            found
                .words
                .starts_with("use flex: no other device works here"),
            "{}",
            found.words
        );
    }

    #[test]
    fn without_a_training_step_products_are_compared() {
        let flex = json!({ "opens": true, "product_f32": { "gflops": 300.0 } });
        let slow = json!({ "opens": true, "product_f32": { "gflops": 3.0 } });
        let found = on(json!({ "flex": flex, "wgpu": slow }));
        assert_eq!(found.words, "use flex: a product in f32 is fastest on it");
        assert_eq!(
            on(json!({ "flex": { "opens": true } })).words,
            "no device works here"
        );
    }
}
