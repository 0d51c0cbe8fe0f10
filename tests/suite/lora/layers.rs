//! Adapters beside any layers of any family, with dropout and in half precision.

use burn::tensor::{Int, Tensor, TensorData};
use milepost::model::{Lora, Network, Precision, TrainingPass, next_token_loss};
use milepost::train::Learner;
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{
    REFERENCE, accumulate, base, fresh, load, logits, near, on_flex, parameters, settings, slices,
    some_base,
};
use crate::harness::rows;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Adapters of any rank beside any of the layers: those are there and no others, and merged they compute the same.
    #[test]
    fn any_rank_and_layers(
        network in prop::sample::select(vec!["gpt2/assistant", "families/qwen2", "families/mistral", "families/neox_odd", "families/smollm3"]),
        r in 1usize..9, chosen in any::<u8>(), whole_names: bool, use_rslora: bool, seed: u64,
    ) {
        let model = base(network, &on_flex());
        let all = model.all_linear();
        let chosen: Vec<String> = all.iter().enumerate()
            .filter(|(index, _)| chosen >> index & 1 == 1 || all.len() == index + 1)
            .map(|(_, name)| name.clone()).collect();
        let suffix = Lora { alpha: 3.0, use_rslora, ..settings(r, &[]) };
        let lora = Lora { target_modules: chosen.clone(), ..suffix.clone() };
        // A name may be as long as that of the layer.
        let layers = model.adapted_by(&lora);
        let lora = if whole_names { Lora { target_modules: layers.clone(), ..suffix } } else { lora };
        prop_assert_eq!(&model.adapted_by(&lora), &layers);
        let expected = if use_rslora { 3.0 / (r as f64).sqrt() } else { 3.0 / r as f64 };
        prop_assert!((lora.scale() - expected).abs() < 1e-12);
        let mut adapted = fresh(model.clone(), &lora, seed);
        let named = parameters(&adapted);
        let of = |part: &str| named.keys().filter(|name| name.ends_with(part)).count();
        prop_assert_eq!([of(".lora_A.weight"), of(".lora_B.weight")], [layers.len(); 2]);
        prop_assert_eq!(named.len(), parameters(&model).len() + 2 * layers.len());
        for name in named.keys().filter(|name| name.contains(".lora_")) {
            prop_assert!(chosen.iter().any(|layer| name.contains(&format!(".{layer}.lora_"))), "{}", name);
        }
        // Moved away from nothing, by a step of training.
        let mut learner = Learner::new(fresh(base(network, &on_flex().autodiff()), &lora, seed), 0.0);
        let rows = [vec![1, 2, 3, 4, 5, 6], vec![7, 3, 2, 9, 1, 0]];
        for _ in 0..2 {
            accumulate(&mut learner, &rows);
            learner.gather();
            learner.step(0.03);
        }
        adapted = learner.model;
        let (found, merged) = (logits(&adapted, &rows), logits(&adapted.clone().merged(), &rows));
        near(&merged, &found, 1e-5, network);
        prop_assert!(found != logits(&model, &rows));
    }
}

#[test]
fn targets_that_stand_for_no_layer_are_refused() {
    for (network, targets) in [
        ("gpt2/main", ["wte", "q_proj", "lm_head", "attn", "_attn"]),
        (
            "families/llama",
            ["embed_tokens", "c_attn", "lm_head", "self_attn", "proj"],
        ),
        (
            "families/neox",
            ["embed_in", "embed_out", "attention", "norm", "h_to_4h"],
        ),
    ] {
        for target in targets {
            let model = base(network, &on_flex());
            let known = model.all_linear()[0].clone();
            let lora = settings(2, &[&known, target]);
            let refused = model
                .with_fresh_adapters(&lora, some_base(), &mut ChaCha8Rng::seed_from_u64(0))
                .unwrap_err();
            assert_eq!(refused.key, "target_modules");
            let refused = refused.to_string();
            assert!(
                refused.contains(&format!("`{target}`")) && refused.contains(&known),
                "{refused}"
            );
        }
    }
}

/// Masks are functions of the pass alone. What they are of a layer is tested beside it.
#[test]
fn dropout_of_adapters_is_seeded() {
    let model = load("llama", &on_flex()).with_dropout(0.0);
    let tokens = [[3, 1, 4, 1, 5, 9]];
    let tokens = || {
        let ids: Vec<i32> = tokens.iter().flatten().copied().collect();
        Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 6]), &on_flex())
    };
    let hidden = |model: &Network, seed: Option<u64>| {
        let mut pass = seed.map(|seed| TrainingPass::new(ChaCha8Rng::seed_from_u64(seed)));
        let hidden = model.hidden(tokens(), pass.as_mut());
        hidden.into_data().try_into_vec::<f32>().unwrap()
    };
    // Without dropout of its own nothing is drawn.
    assert_eq!(hidden(&model, Some(1)), hidden(&model, None));
    let dropping = model.clone().with_adapter_dropout(0.5);
    assert_eq!(dropping.adapters().unwrap().dropout, 0.5);
    assert_eq!(hidden(&dropping, None), hidden(&model, None));
    assert_eq!(hidden(&dropping, Some(1)), hidden(&dropping, Some(1)));
    assert_ne!(hidden(&dropping, Some(1)), hidden(&dropping, Some(2)));
    assert_ne!(hidden(&dropping, Some(1)), hidden(&model, None));
}

#[test]
fn half_precision_differs_by_its_rounding() {
    let model = load("llama", &on_flex().autodiff());
    let batch = rows(&REFERENCE["adapters"]["llama"]["ids"]);
    let loss = |precision: Precision| {
        let mut pass = TrainingPass::new(ChaCha8Rng::seed_from_u64(0)).in_precision(precision);
        let (sum, count) = next_token_loss(&model, &slices(&batch), Some(&mut pass));
        f64::from(sum.into_scalar::<f32>()) / count as f64
    };
    let single = loss(Precision::F32);
    for (precision, bound) in [(Precision::Bf16, 2e-2), (Precision::F16, 2e-3)] {
        let apart = (loss(precision) / single - 1.0).abs();
        assert!(apart > 0.0 && apart < bound, "{precision:?} {apart}");
    }
}
