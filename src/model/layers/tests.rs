//! The layers on flex: against PyTorch, against burn's operations at odd sizes, against differences in double precision, and their bits; and in bf16.

use burn::module::Param;
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use proptest::prelude::*;
use rand::Rng;
use serde_json::Value;

use super::causal_attention::{attend, composed as composed_attention};
use super::cross_entropy::composed as composed_cross_entropy;
use super::dense::composed as composed_dense;
use super::operation::Inputs;
use super::residual::residual;
use super::{
    Activation, Embedding, LayerNorm, Linear, Precision, TrainingPass, causal_attention,
    cross_entropy, dense,
};
use crate::model::kernels::{Heads, Mask};
use crate::random::{Purpose, stream};

/// The numbers of `make_fixtures.py`.
pub(super) fn value(seed: usize, count: usize) -> Vec<f32> {
    let numbers = (0..count).map(|index| (index * 7919 + seed * 104_729 + 13) % 1009);
    numbers
        .map(|number| number as f32 / 512.0 - 0.985_351_56)
        .collect()
}

pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    let device = Device::flex().autodiff();
    Tensor::from_data(TensorData::new(values, shape), &device).require_grad()
}

pub(super) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().unwrap()
}

/// The gradients of the sum of the outputs, each times its own number.
pub(super) fn backward<const D: usize>(output: &Tensor<D>) -> Gradients {
    let weights = value(99, output.shape().num_elements());
    let weights = TensorData::new(weights, output.shape());
    let weights = Tensor::from_data(weights, &output.device());
    (output.clone() * weights).sum().backward()
}

pub(super) fn gradient<const D: usize>(of: &Tensor<D>, gradients: &Gradients) -> Vec<f32> {
    numbers(of.grad(gradients).unwrap())
}

/// Whether all are within 1e-5 of the largest.
pub(super) fn near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected
        .iter()
        .fold(1.0, |largest: f64, one| largest.max(one.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs();
        assert!(
            off <= 1e-5 * largest,
            "{what}, {index}: {found} is not {expected}"
        );
    }
}

fn doubles(values: &Value) -> Vec<f64> {
    values
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_f64().unwrap())
        .collect()
}

fn cases(layer: &str) -> Vec<Value> {
    let text = include_str!("../../../tests/fixtures/kernels/reference.json");
    let all: Value = serde_json::from_str(text).unwrap();
    all[layer].as_array().unwrap().clone()
}

fn shape<const N: usize>(case: &Value) -> [usize; N] {
    let sizes: Vec<usize> = doubles(&case["shape"])
        .iter()
        .map(|&one| one as usize)
        .collect();
    sizes.try_into().unwrap()
}

/// Output and gradients as PyTorch has them.
fn as_pytorch(case: &Value, output: Vec<f32>, gradients: &[Vec<f32>]) {
    let what = format!("{}", case["shape"]);
    near(
        &output,
        &doubles(&case["output"]),
        &format!("output of {what}"),
    );
    for (index, found) in gradients.iter().enumerate() {
        let expected = doubles(&case["gradients"][index]);
        near(found, &expected, &format!("gradient {index} of {what}"));
    }
}

fn norm_of(weight: Tensor<1>, bias: Tensor<1>) -> LayerNorm {
    LayerNorm::of(weight, bias, 1e-5)
}

fn linear_of(weight: Tensor<2>, bias: Tensor<1>) -> Linear {
    Linear {
        weight: Param::from_tensor(weight),
        bias: Param::from_tensor(bias),
        lora: None,
    }
}

#[test]
fn layer_norm_is_pytorchs() {
    for case in cases("layer_norm") {
        let [rows, width] = shape(&case);
        let norm = norm_of(
            tensor(value(2, width), [width]),
            tensor(value(3, width), [width]),
        );
        let x = tensor(value(1, rows * width), [rows, width]);
        let y = norm.forward(x.clone());
        let gradients = backward(&y);
        let found = [
            gradient(&x, &gradients),
            gradient(&norm.weight.val(), &gradients),
            gradient(&norm.bias.val(), &gradients),
        ];
        as_pytorch(&case, numbers(y), &found);
    }
}

#[test]
fn dense_layers_are_pytorchs() {
    for case in cases("dense") {
        let [rows, inner, outer] = shape(&case);
        let activation = match case["gelu"].as_bool() {
            Some(true) => Activation::Gelu,
            _ => Activation::None,
        };
        let layer = linear_of(
            tensor(value(2, inner * outer), [inner, outer]),
            tensor(value(3, outer), [outer]),
        );
        let x = tensor(value(1, rows * inner), [rows, inner]);
        let y = dense(&layer, x.clone(), activation, &mut None);
        let gradients = backward(&y);
        let found = [
            gradient(&x, &gradients),
            gradient(&layer.weight.val(), &gradients),
            gradient(&layer.bias.val(), &gradients),
        ];
        as_pytorch(&case, numbers(y), &found);
    }
}

#[test]
fn attention_is_pytorchs() {
    for case in cases("attention") {
        let [batch, time, heads, width] = shape(&case);
        let channels = 3 * heads * width;
        let qkv = tensor(value(1, batch * time * channels), [batch, time, channels]);
        let mixed = attend(qkv.clone(), Heads::own(heads, width), None);
        let gradients = backward(&mixed);
        as_pytorch(&case, numbers(mixed), &[gradient(&qkv, &gradients)]);
    }
}

#[test]
fn the_cross_entropy_is_pytorchs() {
    for case in cases("cross_entropy") {
        let [rows, width, vocab] = shape(&case);
        let hidden = tensor(value(1, rows * width), [rows, width]);
        let table = tensor(value(2, vocab * width), [vocab, width]);
        let targets = (0..rows).map(|row| (row * 7 % vocab) as u32).collect();
        let loss = cross_entropy(hidden.clone(), table.clone(), targets, None, Precision::F32);
        let gradients = backward(&loss);
        let found = [gradient(&hidden, &gradients), gradient(&table, &gradients)];
        as_pytorch(&case, numbers(loss), &found);
    }
}

#[test]
fn the_embedding_is_pytorchs() {
    for case in cases("embedding") {
        let [rows, width] = shape(&case);
        let ids: Vec<i32> = doubles(&case["ids"]).iter().map(|&id| id as i32).collect();
        let index = TensorData::new(ids.clone(), [ids.len()]);
        let index = Tensor::from_data(index, &Device::flex().autodiff());
        let embedding = Embedding {
            weight: Param::from_tensor(tensor(value(1, rows * width), [rows, width])),
        };
        let found = embedding.rows(index);
        let gradients = backward(&found);
        let table = gradient(&embedding.weight.val(), &gradients);
        as_pytorch(&case, numbers(found), &[table]);
    }
}

/// A table that is looked up and is the head, too, gets the sum of both gradients, whichever way its head is made.
#[test]
fn a_shared_table_gets_both_gradients() {
    let ids = || {
        let ids = TensorData::new(vec![2, 0, 2], [3]);
        Tensor::from_data(ids, &Device::flex().autodiff())
    };
    let targets = || vec![1, 4, 0];
    let by_burn = tensor(value(1, 20), [5, 4]);
    let loss = composed_cross_entropy(
        by_burn.clone().select(0, ids()),
        by_burn.clone(),
        &targets(),
        None,
        Precision::F32,
    );
    let expected = widened(&gradient(&by_burn, &loss.backward()));
    let embedding = || Embedding {
        weight: Param::from_tensor(tensor(value(1, 20), [5, 4])),
    };
    let own = embedding();
    let loss = cross_entropy(
        own.rows(ids()),
        own.weight.val(),
        targets(),
        None,
        Precision::F32,
    );
    near(
        &gradient(&own.weight.val(), &loss.backward()),
        &expected,
        "own head",
    );
    let own = embedding();
    let loss = composed_cross_entropy(
        own.rows(ids()),
        own.weight.val(),
        &targets(),
        None,
        Precision::F32,
    );
    near(
        &gradient(&own.weight.val(), &loss.backward()),
        &expected,
        "burn's head",
    );
}

pub(super) fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&one| f64::from(one)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn layer_norms_of_any_size_are_burns(rows in 1usize..70, width in 1usize..70) {
        let make = || (
            norm_of(tensor(value(2, width), [width]), tensor(value(3, width), [width])),
            tensor(value(1, rows * width), [rows, width]),
        );
        let ((own, x), (other, its_x)) = (make(), make());
        let (y, its_y) = (own.forward(x.clone()), other.composed(its_x.clone()));
        let (g, its_g) = (backward(&y), backward(&its_y));
        // A row of one or two values is all rounding: its variance is next to nothing.
        if width > 2 {
            near(&numbers(y), &widened(&numbers(its_y)), "y");
            near(&gradient(&x, &g), &widened(&gradient(&its_x, &its_g)), "x");
            near(&gradient(&own.weight.val(), &g), &widened(&gradient(&other.weight.val(), &its_g)), "weight");
            near(&gradient(&own.bias.val(), &g), &widened(&gradient(&other.bias.val(), &its_g)), "bias");
        }
    }

    #[test]
    fn dense_layers_of_any_size_are_burns(rows in 1usize..140, inner in 1usize..40, outer in 1usize..40, gelu: bool) {
        let activation = if gelu { Activation::Gelu } else { Activation::None };
        let make = || (
            linear_of(tensor(value(2, inner * outer), [inner, outer]), tensor(value(3, outer), [outer])),
            tensor(value(1, rows * inner), [rows, inner]),
        );
        let ((own, x), (other, its_x)) = (make(), make());
        let (y, its_y) = (dense(&own, x.clone(), activation, &mut None), composed_dense(&other, its_x.clone(), activation, Precision::F32));
        let (g, its_g) = (backward(&y), backward(&its_y));
        near(&numbers(y), &widened(&numbers(its_y)), "y");
        near(&gradient(&x, &g), &widened(&gradient(&its_x, &its_g)), "x");
        near(&gradient(&own.weight.val(), &g), &widened(&gradient(&other.weight.val(), &its_g)), "weight");
        let bias = |layer: &Linear, g: &Gradients| gradient(&layer.bias.val(), g);
        near(&bias(&own, &g), &widened(&bias(&other, &its_g)), "bias");
    }

    #[test]
    fn attention_of_any_size_is_burns(batch in 1usize..3, time in 1usize..150, kv_heads in 1usize..4, group in 1usize..4, width in 1usize..9, dropped: bool) {
        let mask = dropped.then(|| Mask::new(77, 0.3));
        let heads = Heads { heads: kv_heads * group, kv_heads, width };
        let channels = heads.channels();
        let make = || tensor(value(1, batch * time * channels), [batch, time, channels]);
        let (qkv, its_qkv) = (make(), make());
        let mixed = attend(qkv.clone(), heads, mask);
        let its = composed_attention(its_qkv.clone(), heads, mask, Precision::F32);
        let (g, its_g) = (backward(&mixed), backward(&its));
        near(&numbers(mixed), &widened(&numbers(its)), "mixed");
        near(&gradient(&qkv, &g), &widened(&gradient(&its_qkv, &its_g)), "qkv");
    }

    #[test]
    fn cross_entropies_of_any_size_are_burns(rows in 1usize..50, width in 1usize..20, vocab in 1usize..100, weighted: bool) {
        let targets: Vec<u32> = (0..rows).map(|row| (row * 31 % vocab) as u32).collect();
        let make = || (tensor(value(1, rows * width), [rows, width]), tensor(value(2, vocab * width), [vocab, width]));
        let ((hidden, table), (its_hidden, its_table)) = (make(), make());
        let weights = weighted.then(|| value(3, rows));
        let weights = weights.as_deref();
        let loss = cross_entropy(hidden.clone(), table.clone(), targets.clone(), weights, Precision::F32);
        let its = composed_cross_entropy(its_hidden.clone(), its_table.clone(), &targets, weights, Precision::F32);
        let (g, its_g) = (backward(&loss), backward(&its));
        near(&numbers(loss), &widened(&numbers(its)), "loss");
        near(&gradient(&hidden, &g), &widened(&gradient(&its_hidden, &its_g)), "hidden");
        near(&gradient(&table, &g), &widened(&gradient(&its_table, &its_g)), "table");
    }
}

/// What is not a number stays what it is, in the rows that see it and in no other.
#[test]
fn nan_and_infinity_pass_through() {
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let spoilt = |count: usize, at: usize| {
            let mut values = value(1, count);
            values[at] = wrong;
            values
        };
        let norm = norm_of(tensor(value(2, 5), [5]), tensor(value(3, 5), [5]));
        let y = numbers(norm.forward(tensor(spoilt(15, 7), [3, 5])));
        assert!(y[..5].iter().chain(&y[10..]).all(|one| one.is_finite()));
        assert!(y[5..10].iter().all(|one| one.is_nan()));
        // The third token of four, whose key is seen by itself and the last.
        let mixed = numbers(attend(
            tensor(spoilt(24, 2 * 6 + 2), [1, 4, 6]),
            Heads::own(1, 2),
            None,
        ));
        assert!(mixed[..4].iter().all(|one| one.is_finite()));
        let table = tensor(value(2, 12), [6, 2]);
        let loss = numbers(cross_entropy(
            tensor(spoilt(4, 1), [2, 2]),
            table,
            vec![0, 5],
            None,
            Precision::F32,
        ));
        assert!(!loss[0].is_finite());
    }
    let mixed = numbers(attend(
        tensor(vec![f32::NAN; 12], [1, 2, 6]),
        Heads::own(1, 2),
        None,
    ));
    assert!(mixed.iter().all(|one| one.is_nan()));
}

/// Everything that a pass over all layers gives, as bits.
fn bits() -> Vec<u32> {
    let (rows, width, vocab) = (300, 24, 1000);
    let embedding = Embedding {
        weight: Param::from_tensor(tensor(value(1, vocab * width), [vocab, width])),
    };
    let ids: Vec<i32> = (0..rows).map(|row| row % 17).collect();
    let rows = rows as usize;
    let ids = Tensor::from_data(TensorData::new(ids, [rows]), &Device::flex().autodiff());
    let norm = norm_of(
        tensor(value(2, width), [width]),
        tensor(value(3, width), [width]),
    );
    let layer = linear_of(
        tensor(value(4, width * 3 * width), [width, 3 * width]),
        tensor(value(5, 3 * width), [3 * width]),
    );
    let x = embedding.rows(ids);
    let qkv = dense(&layer, norm.forward(x.clone()), Activation::Gelu, &mut None);
    let mixed = attend(
        qkv.reshape([3, rows / 3, 3 * width]),
        Heads::own(2, width / 2),
        Some(Mask::new(5, 0.2)),
    );
    let sum = residual(x, mixed.reshape([rows, width]), &mut None, 0.0);
    let targets = (0..rows).map(|row| (row * 13 % vocab) as u32).collect();
    let loss = cross_entropy(sum, embedding.weight.val(), targets, None, Precision::F32);
    let gradients = loss.backward();
    let found = [
        numbers(loss),
        gradient(&embedding.weight.val(), &gradients),
        gradient(&norm.weight.val(), &gradients),
        gradient(&layer.weight.val(), &gradients),
        gradient(&layer.bias.val(), &gradients),
    ];
    found.concat().into_iter().map(f32::to_bits).collect()
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(bits)
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(5));
}

/// A mask drops its share, whichever of its neighbours it drops, and the backward pass has the forward pass's mask.
#[test]
fn dropout_drops_its_share_and_the_same_again() {
    for p in [0.1, 0.5, 0.9] {
        let count = 200_000;
        let mask = Mask::new(11, p);
        let x = tensor(vec![1.0; count], [count]);
        let zeros = tensor(vec![0.0; count], [count]);
        let y = Inputs::default()
            .with(zeros)
            .with(x.clone())
            .apply(super::residual::Residual(Some(mask)));
        let y: Tensor<1> = y.unwrap();
        let gradients = y.clone().sum().backward();
        let kept = numbers(y);
        assert_eq!(kept, gradient(&x, &gradients));
        let dropped: Vec<bool> = kept.iter().map(|&one| one == 0.0).collect();
        let error = |rate: f64, count: usize| 4.5 * (rate * (1.0 - rate) / count as f64).sqrt();
        let share = |count: usize, of: usize| count as f64 / of as f64;
        let all = share(dropped.iter().filter(|one| **one).count(), count);
        assert!((all - p).abs() < error(p, count), "{p}: {all}");
        for lag in [1, 2, 3, 64, 1000] {
            let pairs = dropped
                .iter()
                .zip(&dropped[lag..])
                .filter(|(a, b)| **a && **b)
                .count();
            let both = share(pairs, count - lag);
            assert!(
                (both - p * p).abs() < 2.0 * error(p * p, count - lag),
                "{p}, {lag}: {both}"
            );
        }
        let scale = (1.0 / (1.0 - p)) as f32;
        assert!(kept.iter().all(|&one| one == 0.0 || one == scale));
        let other = Mask::new(12, p);
        let mut again = vec![1.0; count];
        other.apply(&mut again);
        assert_ne!(kept, again);
    }
}

/// The central differences of `function` at a place, in double precision.
pub(super) fn differences(function: &dyn Fn(&[f64]) -> f64, place: &[f32]) -> Vec<f64> {
    let mut place = widened(place);
    let step = 1e-5;
    let slopes = (0..place.len()).map(|index| {
        let here = place[index];
        let mut at = |value: f64| {
            place[index] = value;
            function(&place)
        };
        let slope = (at(here + step) - at(here - step)) / (2.0 * step);
        place[index] = here;
        slope
    });
    slopes.collect()
}

/// The sum that [`backward`] goes back from.
pub(super) fn weighted(output: impl IntoIterator<Item = f64>) -> f64 {
    let weights = value(99, 10_000);
    let terms = output.into_iter().zip(weights);
    terms
        .map(|(output, weight)| output * f64::from(weight))
        .sum()
}

/// Causal attention as it is defined, a number at a time. `factors` is the mask of its weights.
fn plain_attention(qkv: &[f64], shape: Heads, time: usize, factors: &[f32]) -> Vec<f64> {
    let Heads {
        heads,
        kv_heads,
        width,
    } = shape;
    let channels = (heads + 2 * kv_heads) * width;
    let texts = qkv.len() / (time * channels);
    let mut mixed = vec![0.0; texts * time * heads * width];
    for text in 0..texts {
        let at = |token: usize, part: usize, head: usize, channel: usize| {
            let place = match part {
                0 => head,
                part => heads + (part - 1) * kv_heads + head * kv_heads / heads,
            };
            qkv[(text * time + token) * channels + place * width + channel]
        };
        for head in 0..heads {
            for query in 0..time {
                let score = |key: usize| -> f64 {
                    let terms =
                        (0..width).map(|one| at(query, 0, head, one) * at(key, 1, head, one));
                    (terms.sum::<f64>() / (width as f64).sqrt()).exp()
                };
                let whole: f64 = (0..=query).map(score).sum();
                for key in 0..=query {
                    let factor = factors[((text * heads + head) * time + query) * time + key];
                    let weight = score(key) / whole * f64::from(factor);
                    for channel in 0..width {
                        mixed[((text * time + query) * heads + head) * width + channel] +=
                            weight * at(key, 2, head, channel);
                    }
                }
            }
        }
    }
    mixed
}

#[test]
fn gradients_of_attention_with_dropout_are_slopes() {
    for (batch, time, heads, kv_heads, width) in [
        (1, 1, 1, 1, 1),
        (2, 5, 2, 2, 3),
        (1, 9, 3, 3, 2),
        (2, 6, 4, 2, 3),
    ] {
        let shape = Heads {
            heads,
            kv_heads,
            width,
        };
        let mask = Mask::new(3, 0.4);
        let factors = crate::model::kernels::attention_mask(mask, batch * heads, time);
        let channels = shape.channels();
        let values = value(1, batch * time * channels);
        let qkv = tensor(values.clone(), [batch, time, channels]);
        let mixed = attend(qkv.clone(), shape, Some(mask));
        let found = gradient(&qkv, &backward(&mixed));
        near(
            &numbers(mixed),
            &plain_attention(&widened(&values), shape, time, &factors),
            "mixed",
        );
        let sum = |qkv: &[f64]| weighted(plain_attention(qkv, shape, time, &factors));
        near(&found, &differences(&sum, &values), "qkv");
    }
}

#[test]
fn gradients_of_layer_norms_are_slopes() {
    let (rows, width) = (3, 6);
    let (x, weight, bias) = (value(1, rows * width), value(2, width), value(3, width));
    let plain = |x: &[f64], weight: &[f64], bias: &[f64]| {
        let rows = x.chunks(width).flat_map(|row| {
            let mean = row.iter().sum::<f64>() / width as f64;
            let variance = row.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / width as f64;
            let normed = row
                .iter()
                .map(move |one| (one - mean) / (variance + 1e-5).sqrt());
            let scaled = normed.zip(weight.iter().zip(bias));
            scaled
                .map(|(one, (weight, bias))| one * weight + bias)
                .collect::<Vec<f64>>()
        });
        weighted(rows.collect::<Vec<f64>>())
    };
    let norm = norm_of(
        tensor(weight.clone(), [width]),
        tensor(bias.clone(), [width]),
    );
    let input = tensor(x.clone(), [rows, width]);
    let gradients = backward(&norm.forward(input.clone()));
    let (x_wide, weight_wide, bias_wide) = (widened(&x), widened(&weight), widened(&bias));
    let slopes = differences(&|x| plain(x, &weight_wide, &bias_wide), &x);
    near(&gradient(&input, &gradients), &slopes, "x");
    let slopes = differences(&|weight| plain(&x_wide, weight, &bias_wide), &weight);
    near(&gradient(&norm.weight.val(), &gradients), &slopes, "weight");
    let slopes = differences(&|bias| plain(&x_wide, &weight_wide, bias), &bias);
    near(&gradient(&norm.bias.val(), &gradients), &slopes, "bias");
}

#[test]
fn gradients_of_dense_layers_are_slopes() {
    let (rows, inner, outer) = (4, 3, 5);
    let (x, weight, bias) = (
        value(1, rows * inner),
        value(2, inner * outer),
        value(3, outer),
    );
    let plain = |x: &[f64], weight: &[f64]| {
        let rows = x.chunks(inner).flat_map(|row| {
            let columns = (0..outer).map(|column| {
                let terms = row
                    .iter()
                    .enumerate()
                    .map(|(k, one)| one * weight[k * outer + column]);
                let y = terms.sum::<f64>() + f64::from(bias[column]);
                let u = (2.0 / std::f64::consts::PI).sqrt() * (y + 0.044715 * y.powi(3));
                0.5 * y * (1.0 + u.tanh())
            });
            columns.collect::<Vec<f64>>()
        });
        weighted(rows.collect::<Vec<f64>>())
    };
    let layer = linear_of(
        tensor(weight.clone(), [inner, outer]),
        tensor(bias.clone(), [outer]),
    );
    let input = tensor(x.clone(), [rows, inner]);
    let gradients = backward(&dense(&layer, input.clone(), Activation::Gelu, &mut None));
    let (x_wide, weight_wide) = (widened(&x), widened(&weight));
    near(
        &gradient(&input, &gradients),
        &differences(&|x| plain(x, &weight_wide), &x),
        "x",
    );
    let slopes = differences(&|weight| plain(&x_wide, weight), &weight);
    near(
        &gradient(&layer.weight.val(), &gradients),
        &slopes,
        "weight",
    );
}

#[test]
fn gradients_of_the_cross_entropy_are_slopes() {
    let (rows, width, vocab) = (3, 4, 7);
    let targets = vec![6, 0, 3];
    let (hidden, table) = (value(1, rows * width), value(2, vocab * width));
    let plain = |hidden: &[f64], table: &[f64]| {
        let losses = hidden.chunks(width).zip(&targets).map(|(state, &target)| {
            let logit = |row: &[f64]| row.iter().zip(state).map(|(a, b)| a * b).sum::<f64>();
            let logits: Vec<f64> = table.chunks(width).map(logit).collect();
            logits.iter().map(|one| one.exp()).sum::<f64>().ln() - logits[target as usize]
        });
        weighted([losses.sum::<f64>()])
    };
    let (states, head) = (
        tensor(hidden.clone(), [rows, width]),
        tensor(table.clone(), [vocab, width]),
    );
    let gradients = backward(&cross_entropy(
        states.clone(),
        head.clone(),
        targets.clone(),
        None,
        Precision::F32,
    ));
    let (hidden_wide, table_wide) = (widened(&hidden), widened(&table));
    let slopes = differences(&|hidden| plain(hidden, &table_wide), &hidden);
    near(&gradient(&states, &gradients), &slopes, "hidden");
    let slopes = differences(&|table| plain(&hidden_wide, table), &table);
    near(&gradient(&head, &gradients), &slopes, "table");
}

/// A value in bfloat16, the nearest with ties to even.
fn rounded(value: f64) -> f64 {
    f64::from(half::bf16::from_f32(value as f32))
}

/// Whether these are values in bfloat16: nearly all the very ones, and the others off by a last digit, where a sum in another order was rounded the
/// other way.
fn near_in_bf16(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs();
        assert!(
            off <= expected.abs() / 128.0 + 1e-6,
            "{what}, {index}: {found} is not {expected}"
        );
    }
    let pairs = found.iter().zip(expected);
    let same = pairs.filter(|(found, expected)| f64::from(**found) == **expected);
    assert!(same.count() * 10 > found.len() * 9, "{what}");
}

/// Row `i` of `a` `[rows, inner]` times column `j` of `b` `[inner, columns]`, both rounded before and the product after.
fn plain_product(a: &[f64], b: &[f64], inner: usize) -> Vec<f64> {
    let columns = b.len() / inner;
    let rows = a.chunks(inner);
    let element = |row: &[f64], column: usize| {
        let terms = row.iter().enumerate();
        let terms = terms.map(|(k, one)| rounded(*one) * rounded(b[k * columns + column]));
        rounded(terms.sum())
    };
    rows.flat_map(|row| (0..columns).map(move |column| element(row, column)))
        .collect()
}

fn transposed(values: &[f64], columns: usize) -> Vec<f64> {
    let column = |at: usize| values.iter().skip(at).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

/// Operands and products of a dense layer are rounded, forward and backward; its sum with the bias and the bias's gradient are not.
#[test]
fn a_dense_layer_in_bf16_rounds_its_products_alone() {
    let (batch, time, inner, outer) = (3, 20, 17, 9);
    let layer = linear_of(
        tensor(value(2, inner * outer), [inner, outer]),
        tensor(value(3, outer), [outer]),
    );
    let x = tensor(value(1, batch * time * inner), [batch, time, inner]);
    let mut pass =
        TrainingPass::new(stream(1, Purpose::Dropout, 0, 0)).in_precision(Precision::Bf16);
    let y = dense(&layer, x.clone(), Activation::None, &mut Some(&mut pass));
    let gradients = backward(&y);
    let [wide_x, weight, bias, slopes] = [
        value(1, batch * time * inner),
        value(2, inner * outer),
        value(3, outer),
        value(99, batch * time * outer),
    ]
    .map(|values| widened(&values));
    let product = plain_product(&wide_x, &weight, inner);
    let found = numbers(y);
    for (index, found) in found.iter().enumerate() {
        let expected = product[index] + bias[index % outer];
        let off = (f64::from(*found) - expected).abs();
        assert!(off <= product[index].abs() / 128.0 + 1e-6, "{index}");
    }
    // Most products round to the same: then the sum is that of single precision.
    let exact = found.iter().enumerate().filter(|(index, found)| {
        let expected = product[*index] as f32 + bias[index % outer] as f32;
        **found == expected
    });
    assert!(exact.count() * 10 > found.len() * 9);
    let d_x = plain_product(&slopes, &transposed(&weight, outer), outer);
    near_in_bf16(&gradient(&x, &gradients), &d_x, "x");
    let d_weight = plain_product(&transposed(&wide_x, inner), &slopes, batch * time);
    near_in_bf16(
        &gradient(&layer.weight.val(), &gradients),
        &d_weight,
        "weight",
    );
    let d_bias: Vec<f64> = (0..outer)
        .map(|column| slopes.iter().skip(column).step_by(outer).sum())
        .collect();
    near(&gradient(&layer.bias.val(), &gradients), &d_bias, "bias");
}

/// Attention in bf16 rounds queries, keys, values, scores, weights and what they mix, and nothing else.
#[test]
fn attention_in_bf16_rounds_its_products_alone() {
    let (time, width) = (11, 4);
    let values = value(1, time * 3 * width);
    let qkv = tensor(values.clone(), [1, time, 3 * width]);
    let heads = Heads::own(1, width);
    let mixed = numbers(composed_attention(qkv, heads, None, Precision::Bf16));
    let values = widened(&values);
    let part = |row: usize, index: usize| {
        let start = (3 * row + index) * width;
        &values[start..start + width]
    };
    let mut expected = Vec::new();
    for row in 0..time {
        let score = |column: usize| {
            let pairs = part(row, 0).iter().zip(part(column, 1));
            let terms = pairs.map(|(q, k)| rounded(q / (width as f64).sqrt()) * rounded(*k));
            rounded(terms.sum())
        };
        let scores: Vec<f64> = (0..=row).map(score).collect();
        let total: f64 = scores.iter().map(|one| one.exp()).sum();
        for channel in 0..width {
            let terms = scores.iter().enumerate();
            let terms = terms.map(|(column, score)| {
                rounded(score.exp() / total) * rounded(part(column, 2)[channel])
            });
            expected.push(rounded(terms.sum()));
        }
    }
    near_in_bf16(&mixed, &expected, "mixed");
}

/// The cross-entropy in bf16 has rounded logits, that of the token that was to be said among them, and sums them in single precision.
#[test]
fn the_cross_entropy_in_bf16_rounds_its_logits_alone() {
    let (rows, width, vocab) = (40, 24, 300);
    let hidden: Vec<f32> = value(1, rows * width).iter().map(|one| 4.0 * one).collect();
    let table = value(2, vocab * width);
    let targets: Vec<u32> = (0..rows).map(|row| (row * 7 % vocab) as u32).collect();
    let loss = cross_entropy(
        tensor(hidden.clone(), [rows, width]),
        tensor(table.clone(), [vocab, width]),
        targets.clone(),
        None,
        Precision::Bf16,
    );
    let head = transposed(&widened(&table), width);
    let logits = plain_product(&widened(&hidden), &head, width);
    let losses = logits.chunks(vocab).zip(&targets).map(|(row, target)| {
        let total: f64 = row.iter().map(|one| one.exp()).sum();
        total.ln() - row[*target as usize]
    });
    let expected: f64 = losses.sum();
    let off = |loss: f64| (loss / expected - 1.0).abs();
    let found = f64::from(numbers(loss)[0]);
    assert!(off(found) < 1e-5, "{found} is not {expected}");
    let single = cross_entropy(
        tensor(hidden, [rows, width]),
        tensor(table, [vocab, width]),
        targets,
        None,
        Precision::F32,
    );
    assert!(off(f64::from(numbers(single)[0])) > 2e-5);
}

/// Where a model is nearly sure of the token that was to be said, the gradient of its logit is the little that its probability lacks of 1.
/// That is not lost, however sure the model is: the probability is never rounded to bf16 by itself.
#[test]
fn gradients_of_the_cross_entropy_are_right_where_the_model_is_sure() {
    let (rows, width, vocab) = (12, 64, 100);
    let mut rng = stream(1, Purpose::Dropout, 0, 0);
    let table: Vec<f32> = (0..vocab * width)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let targets: Vec<u32> = (0..rows).map(|row| (row * 7 % vocab) as u32).collect();
    for sure in [1.0, 4.0, 8.0, 12.0, 14.0] {
        // The logit of the target is about `sure`, those of the others are about 0, an eighth of it up or down.
        let hidden = targets.iter().flat_map(|&target| {
            let own = &table[target as usize * width..][..width];
            let square: f32 = own.iter().map(|one| one * one).sum();
            own.iter().map(move |one| one * sure / square)
        });
        let hidden: Vec<f32> = hidden.collect();
        for (precision, allowed) in [(Precision::Bf16, 0.01), (Precision::F32, 1e-3)] {
            let x = tensor(hidden.clone(), [rows, width]);
            let head = tensor(table.clone(), [vocab, width]);
            let loss = composed_cross_entropy(x.clone(), head.clone(), &targets, None, precision);
            let g = loss.backward();
            let exact = |of: f64| {
                if precision == Precision::Bf16 {
                    rounded(of)
                } else {
                    of
                }
            };
            let [wide_x, wide_head] = [&hidden, &table].map(|values| {
                let all = widened(values).into_iter().map(exact);
                all.collect::<Vec<f64>>()
            });
            let mut expected = [vec![0.0; rows * width], vec![0.0; vocab * width]];
            for (row, &target) in targets.iter().enumerate() {
                let x = &wide_x[row * width..][..width];
                let logits: Vec<f64> = (wide_head.chunks(width))
                    .map(|head| exact(x.iter().zip(head).map(|(a, b)| a * b).sum()))
                    .collect();
                let total: f64 = logits.iter().map(|one| one.exp()).sum();
                for (token, logit) in logits.iter().enumerate() {
                    let others = total - logits[target as usize].exp();
                    let slope = if token == target as usize {
                        -others / total
                    } else {
                        logit.exp() / total
                    };
                    for channel in 0..width {
                        expected[0][row * width + channel] +=
                            slope * wide_head[token * width + channel];
                        expected[1][token * width + channel] += slope * x[channel];
                    }
                }
            }
            for (found, expected) in [gradient(&x, &g), gradient(&head, &g)]
                .iter()
                .zip(&expected)
            {
                let square =
                    |of: &mut dyn Iterator<Item = f64>| of.map(|one| one * one).sum::<f64>();
                let apart = square(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - b));
                let off = (apart / square(&mut expected.iter().copied())).sqrt();
                assert!(off < allowed, "{precision:?}, sure by {sure}: off by {off}");
            }
        }
    }
}

#[test]
fn the_bits_in_bf16_do_not_depend_on_the_number_of_threads() {
    let bits = || {
        let (rows, width, vocab) = (300, 24, 1000);
        let layer = linear_of(
            tensor(value(4, width * 3 * width), [width, 3 * width]),
            tensor(value(5, 3 * width), [3 * width]),
        );
        let x = tensor(value(1, rows * width), [3, rows / 3, width]);
        let keys = stream(1, Purpose::Dropout, 0, 0);
        let mut pass = TrainingPass::new(keys).in_precision(Precision::Bf16);
        let qkv = dense(&layer, x.clone(), Activation::Gelu, &mut Some(&mut pass));
        let mixed = causal_attention(qkv, Heads::own(2, width / 2), &mut Some(&mut pass), 0.2);
        let table = tensor(value(6, vocab * width), [vocab, width]);
        let targets = (0..rows).map(|row| (row * 13 % vocab) as u32).collect();
        let hidden = mixed.reshape([rows, width]);
        let loss = cross_entropy(hidden, table.clone(), targets, None, Precision::Bf16);
        let gradients = loss.backward();
        let found = [
            numbers(loss),
            gradient(&x, &gradients),
            gradient(&table, &gradients),
            gradient(&layer.weight.val(), &gradients),
            gradient(&layer.bias.val(), &gradients),
        ];
        let bits = found.concat().into_iter().map(f32::to_bits);
        bits.collect::<Vec<u32>>()
    };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(bits)
    };
    let one = with(1);
    for threads in [2, 3, 8] {
        assert!(one == with(threads), "{threads} threads");
    }
}
