//! What stands inside a network, and the loss of each token, against transformers and PyTorch (tests/fixtures/inside) and against the ordinary
//! passes.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use burn::tensor::{Device, Tensor, TensorData};
use milepost::clock::Length;
use milepost::hook::Context;
use milepost::model::{Activations, Layer, Network, Part, Role, next_token_loss};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use crate::harness::{fixture, ids, numbers};
use crate::small_run::{Each, go, plan, spec};

static REFERENCE: LazyLock<Value> = LazyLock::new(|| {
    let path = fixture("../inside/reference.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

static MODEL: LazyLock<Network> =
    LazyLock::new(|| Network::load(&fixture("main"), &Device::flex()).unwrap());

fn look_into(texts: &[Vec<u32>], layers: &[Layer]) -> Vec<Vec<Activations>> {
    MODEL.look_into(texts, layers, &|| Ok(())).unwrap()
}

/// The largest difference of two columns of the same length.
fn apart(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let apart = pairs.map(|(found, expected)| (f64::from(*found) - expected).abs());
    apart.fold(0.0, |largest, one| {
        // A NaN is no small difference.
        if one <= largest { largest } else { one }
    })
}

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// What a value of a layer may be off by.
fn tolerance(layer: Layer) -> f64 {
    match layer {
        Layer::Block {
            part: Part::AttentionWeights,
            ..
        } => 1e-6,
        _ => 1e-5,
    }
}

#[test]
fn every_layer_agrees_with_transformers() {
    let texts = REFERENCE["texts"].as_array().unwrap();
    let all = MODEL.layers();
    let names: BTreeSet<String> = all.iter().map(Layer::to_string).collect();
    let tokens: Vec<Vec<u32>> = texts.iter().map(|text| ids(&text["ids"])).collect();
    let mut largest = [0.0f64; 2];
    for (found, text) in look_into(&tokens, &all).iter().zip(texts) {
        let expected = text["layers"].as_object().unwrap();
        assert_eq!(names, expected.keys().cloned().collect());
        assert_eq!(found.len(), expected.len());
        for (found, layer) in found.iter().zip(&all) {
            assert_eq!(found.layer, *layer);
            let expected = &expected[&layer.to_string()];
            let shape: Vec<f64> = found.shape.iter().map(|&size| size as f64).collect();
            assert_eq!(shape, numbers(&expected["shape"]), "{layer}");
            let off = apart(&found.values, &numbers(&expected["values"]));
            assert!(off <= tolerance(*layer), "{layer}: off by {off:e}");
            let kind = &mut largest[usize::from(found.shape.len() == 3)];
            *kind = kind.max(off);
        }
    }
    println!("off by {largest:?} at most, states and attention");
}

#[test]
fn hidden_layers_are_those_of_transformers() {
    let found: Vec<String> = (MODEL.hidden_layers().iter())
        .map(Layer::to_string)
        .collect();
    assert_eq!(serde_json::json!(found), REFERENCE["hidden_states"]);
}

#[test]
fn losses_of_tokens_agree_with_pytorch() {
    let cases = REFERENCE["losses"].as_array().unwrap();
    let mut texts: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["ids"])).collect();
    // Nothing is said before a single token.
    texts.push(vec![5]);
    let rows: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let found = MODEL.token_losses(&rows).unwrap();
    assert_eq!(found.last(), Some(&Vec::new()));
    for ((found, case), row) in found.iter().zip(cases).zip(&rows) {
        let off = apart(found, &numbers(&case["expected"]));
        assert!(off <= 1e-5, "off by {off:e}");
        let (sum, count) = next_token_loss(&MODEL, &[row], None);
        assert_eq!(count, found.len());
        let sum = f64::from(sum.into_scalar::<f32>());
        let of_tokens: f64 = doubles(found).iter().sum();
        assert!((of_tokens / sum - 1.0).abs() < 1e-6, "{of_tokens} {sum}");
    }
}

#[test]
fn what_does_not_fit_is_one_message() {
    let refused = |texts: &[Vec<u32>], layers: &[Layer]| {
        let found = MODEL.look_into(texts, layers, &|| Ok(()));
        found.unwrap_err().to_string()
    };
    let (text, layers) = (vec![1, 2], [Layer::FinalNorm]);
    assert_eq!(
        refused(std::slice::from_ref(&text), &[Part::Mlp.of(2)]),
        "there is no layer `block.2.mlp`: the model has 2 blocks, counted from 0"
    );
    assert_eq!(
        refused(&[text.clone(), vec![]], &layers),
        "text 1 has no tokens"
    );
    assert_eq!(
        refused(&[text.clone(), vec![0; 49]], &layers),
        "text 1 has 49 tokens; the model has positions for 48"
    );
    let message = "text 1 has token 97; the model has a vocabulary of 97 tokens";
    assert_eq!(refused(&[text.clone(), vec![3, 97]], &layers), message);
    let losses = MODEL.token_losses(&[&text, &[3, 97]]);
    assert_eq!(losses.unwrap_err().to_string(), message);
}

/// Texts of two lengths are two batches.
#[test]
fn it_is_asked_before_each_batch_whether_to_go_on() {
    let (asked, taken) = (Cell::new(0), Cell::new(0));
    let go_on = || {
        asked.set(asked.get() + 1);
        anyhow::ensure!(asked.get() < 2, "enough");
        Ok(())
    };
    let texts = [vec![1, 2, 3], vec![1], vec![2]];
    let found = MODEL.look_into_each(&texts, &[Layer::FinalNorm], &go_on, &mut |text, _| {
        assert_ne!(text, 0, "the longer one comes last");
        taken.set(taken.get() + 1);
        Ok(())
    });
    assert_eq!(found.unwrap_err().to_string(), "enough");
    assert_eq!(taken.get(), 2);
}

#[test]
fn hooks_share_what_stands_inside_at_the_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let found = Arc::new(Mutex::new(Vec::new()));
    let hook = |name: &'static str| {
        let found = found.clone();
        spec(
            name,
            &["start"],
            Each(move |context: &mut Context| {
                let (layers, model) = ([Part::Mlp.of(0)], &context.pair().assistant);
                let inside = context.inside(Role::Assistant, &layers)?;
                let alone = model.look_into(&context.scene().prompts, &layers, &|| Ok(()))?;
                assert_eq!(*inside, alone);
                found.lock().unwrap().push(inside);
                Ok(())
            }),
        )
    };
    let hooks = vec![hook("one"), hook("other")];
    let (outcome, _) = go(plan(&folder.path().join("run"), 2, Length::Steps(1), hooks));
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let found = found.lock().unwrap();
    assert!(Arc::ptr_eq(&found[0], &found[1]) && !found[0].is_empty());
}

#[test]
fn a_look_into_a_model_keeps_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let found = Arc::new(Mutex::new(None));
    let theirs = found.clone();
    let mut late = spec(
        "late",
        &["start"],
        Each(move |context: &mut Context| {
            std::thread::sleep(Duration::from_millis(1100));
            let inside = context.inside(Role::Main, &[Layer::FinalNorm]);
            *theirs.lock().unwrap() = inside.err().map(|error| error.to_string());
            Ok(())
        }),
    );
    late.deadline = Some(1);
    let folder = folder.path().join("run");
    go(plan(&folder, 2, Length::Steps(1), vec![late]));
    let said = found.lock().unwrap().clone();
    assert_eq!(
        said.as_deref(),
        Some("the hook's deadline of 1 s has passed")
    );
}

/// What each row of attention weights is, whatever the model.
fn check_attention(activations: &Activations) {
    let time = activations.shape[2];
    for (index, row) in activations.rows().enumerate() {
        let (seen, hidden) = row.split_at(index % time + 1);
        let sum: f64 = doubles(seen).iter().sum();
        assert!((sum - 1.0).abs() <= 1e-6, "{sum}");
        assert!(seen.iter().all(|&p| p >= 0.0));
        assert!(hidden.iter().all(|&p| p == 0.0), "{hidden:?}");
    }
}

/// The residual stream is the sum of what went into it, and gives the logits of the ordinary pass.
fn check_stream(text: &[u32], all: &[Activations]) {
    let of = |layer: Layer| {
        let found = all.iter().find(|one| one.layer == layer).unwrap();
        doubles(&found.values)
    };
    let mut stream = of(Layer::Embeddings);
    for block in 0..2 {
        for part in [Part::Attention, Part::Mlp] {
            for (stream, added) in stream.iter_mut().zip(of(part.of(block))) {
                *stream += added;
            }
        }
        let after = all
            .iter()
            .find(|one| one.layer == Part::Output.of(block))
            .unwrap();
        assert!(apart(&after.values, &stream) <= 1e-5);
    }
    let [time, width] = all.last().unwrap().shape[..] else {
        panic!("the final norm gives [time, D]");
    };
    let values = |logits: TensorData| logits.iter::<f32>().collect::<Vec<f32>>();
    let ids = TensorData::new(text.iter().map(|&id| id as i32).collect(), [1, time]);
    let ordinary = MODEL.logits(Tensor::from_data(ids, &Device::flex()));
    let last = TensorData::new(all.last().unwrap().values.clone(), [time, width]);
    let last = MODEL.head(Tensor::from_data(last, &Device::flex()));
    let off = apart(
        &values(last.into_data()),
        &doubles(&values(ordinary.into_data())),
    );
    assert!(off <= 1e-5, "logits off by {off:e}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn texts_and_layers_do_not_depend_on_what_else_is_asked_for(
        texts in prop::collection::vec(prop::collection::vec(0u32..97, 1..12), 1..7),
        asked in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        let layers = MODEL.layers();
        let all = look_into(&texts, &layers);
        let asked: Vec<usize> = asked.iter().map(|one| one.index(layers.len())).collect();
        let some: Vec<Layer> = asked.iter().map(|&index| layers[index]).collect();
        for ((text, all), some) in texts.iter().zip(&all).zip(look_into(&texts, &some)) {
            prop_assert_eq!(some.len(), asked.len());
            for (some, &index) in some.iter().zip(&asked) {
                prop_assert_eq!(some, &all[index]);
            }
            let alone = look_into(std::slice::from_ref(text), &layers).remove(0);
            for (alone, all) in alone.iter().zip(all) {
                prop_assert_eq!(&alone.shape, &all.shape);
                let off = apart(&alone.values, &doubles(&all.values));
                prop_assert!(off <= tolerance(all.layer), "{}: {off:e}", all.layer);
                if all.shape.len() == 3 {
                    check_attention(all);
                }
            }
            check_stream(text, all);
        }
    }
}
