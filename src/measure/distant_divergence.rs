//! Divergences computed where the logits are, in single precision. Of each row a few numbers are read.
//!
//! p and q are the softmax of the rows of the main model and of the assistant, and d = ln p - ln q. What is small because p and q are nearly
//! the same would be lost as a difference of large numbers. So each divergence is a sum of terms that are never negative and have the
//! same sum, since p and q both add up to 1:
//!
//! | divergence | term |
//! |---|---|
//! | KL(p, q) | p (exp(-d) - 1 + d) |
//! | KL(q, p) | q (exp(d) - 1 - d) |
//! | Jensen-Shannon | m ((1 + t) ln(1 + t) + (1 - t) ln(1 - t)) / 2 |
//! | total variation | m abs(t) |
//!
//! with m = (p + q) / 2 and t = (p - q) / (p + q) = tanh(d / 2).

use burn::tensor::{FloatDType, Tensor};

use super::divergence::Divergence;

/// How many numbers there are of a row.
const NUMBERS: usize = 14;

/// The numbers that [`divergences`] makes divergences of, `[rows, NUMBERS]`, from both models' logits `[rows, vocab]`.
pub(super) fn numbers(main: Tensor<2>, assistant: Tensor<2>) -> Tensor<2> {
    let (p, q) = (Softmax::of(main), Softmax::of(assistant));
    // The logarithms themselves would be rounded to what fits their size.
    let ratio = (p.sum.clone() - q.sum.clone()) / q.sum.clone();
    let d = p.below.clone() - q.below.clone() - ratio.log1p();
    let (p_logs, q_logs) = (p.logs(), q.logs());
    let mean = (p.values.clone() + q.values.clone()) * 0.5;
    let t = (d.clone() * 0.5).tanh().abs();
    let [kl, kl_reverse] = excesses(&p.values, &q.values, &d);
    let sums = [
        kl,
        kl_reverse,
        mean.clone() * spread(d.abs(), t.clone()),
        mean * t,
        p.values * p_logs,
        q.values * q_logs,
    ];
    let mut numbers: Vec<Tensor<2>> = sums.map(|terms| terms.sum_dim(1)).into();
    numbers.extend([p.token, p.highest, p.lowest, p.second, p.sum]);
    numbers.extend([q.token, q.highest, q.lowest]);
    Tensor::cat(numbers, 1)
}

/// A row's softmax, and what else is asked of its logits: `[rows, vocab]` or `[rows, 1]`.
struct Softmax {
    /// The logits less the highest.
    below: Tensor<2>,
    /// The probabilities.
    values: Tensor<2>,
    token: Tensor<2>,
    highest: Tensor<2>,
    /// The highest logit of the other tokens, less the highest; far below any where there are none.
    second: Tensor<2>,
    lowest: Tensor<2>,
    /// The sum of the exponentials of `below`.
    sum: Tensor<2>,
}

impl Softmax {
    fn of(logits: Tensor<2>) -> Self {
        let [_, vocab] = logits.dims();
        let lowest = logits.clone().min_dim(1);
        let (highest, token) = logits.clone().max_dim_with_indices(1);
        let below = logits - highest.clone();
        let exps = below.clone().exp();
        let sum = exps.clone().sum_dim(1);
        let columns = Tensor::arange(0..vocab as i64, (&token.device(), token.dtype()));
        let is_top = columns.reshape([1, vocab]).equal(token.clone());
        let second = below.clone().mask_fill(is_top, f32::MIN).max_dim(1);
        Self {
            below,
            values: exps / sum.clone(),
            token: token.cast(FloatDType::F32),
            highest,
            second,
            lowest,
            sum,
        }
    }

    /// The logarithms of the probabilities.
    fn logs(&self) -> Tensor<2> {
        self.below.clone() - self.sum.clone().log()
    }
}

/// p (exp(-d) - 1 + d) and q (exp(d) - 1 - d), by series where d is small: exp(-d) - 1 + d is the difference, and exp(d) - 1 - d the sum, of
/// cosh d - 1 and sinh d - d.
fn excesses(p: &Tensor<2>, q: &Tensor<2>, d: &Tensor<2>) -> [Tensor<2>; 2] {
    let square = d.clone().square();
    let even = (square.clone() * (1.0 / 30.0) + 1.0) * square.clone() * (1.0 / 12.0) + 1.0;
    let even = even * square.clone() * 0.5;
    let odd = (square.clone() * (1.0 / 42.0) + 1.0) * square.clone() * (1.0 / 20.0) + 1.0;
    let odd = odd * square * d.clone() * (1.0 / 6.0);
    let is_small = d.clone().abs().lower_elem(0.25);
    let gap = q.clone() - p.clone();
    [
        (gap.clone() + p.clone() * d.clone())
            .mask_where(is_small.clone(), p.clone() * (even.clone() - odd.clone())),
        (-gap - q.clone() * d.clone()).mask_where(is_small, q.clone() * (even + odd)),
    ]
}

/// ((1 + t) ln(1 + t) + (1 - t) ln(1 - t)) / 2 of t = tanh(d / 2), by its series where t is small. Neither `d` nor `t` is negative.
fn spread(d: Tensor<2>, t: Tensor<2>) -> Tensor<2> {
    // t^2 + t^4/6 + t^6/15 + ...: the k-th term has the divisor k (2k - 1).
    let square = t.clone().square();
    let mut series = square.clone() * (1.0 / 28.0);
    for divisor in [15.0, 6.0, 1.0] {
        series = (series + 1.0 / divisor) * square.clone();
    }
    // 1 - t, without what is lost in the difference. It is never 0, so that its logarithm is finite.
    let rest = (d.clamp_max(60.0).exp() + 1.0).recip() * 2.0;
    let large = (t.clone() + 1.0) * t.clone().log1p() + rest.clone() * rest.log();
    large.mask_where(t.lower_elem(0.2), series) * 0.5
}

/// The divergences of rows, of their numbers. None where a logit is not finite.
pub(super) fn divergences(numbers: &[f32], vocab: usize) -> Option<Vec<Divergence>> {
    let rows = numbers.chunks_exact(NUMBERS);
    rows.map(|row| divergence(row, vocab)).collect()
}

fn divergence(row: &[f32], vocab: usize) -> Option<Divergence> {
    let &[
        kl,
        kl_reverse,
        js,
        tv,
        p_log_p,
        q_log_q,
        p_token,
        p_highest,
        p_lowest,
        p_second,
        p_sum,
        q_token,
        q_highest,
        q_lowest,
    ]: &[f32; NUMBERS] = row.try_into().ok()?;
    let logits = [p_highest, p_lowest, q_highest, q_lowest];
    if !logits.iter().all(|logit| logit.is_finite()) {
        return None;
    }
    let kl = f64::from(kl);
    let tv = f64::from(tv);
    Some(Divergence {
        kl,
        kl_batchmean: kl / vocab as f64,
        kl_reverse: f64::from(kl_reverse),
        js: f64::from(js),
        tv,
        acceptance_expected: 1.0 - tv,
        top1_agreement: p_token == q_token,
        entropy_main: -f64::from(p_log_p),
        entropy_assistant: -f64::from(q_log_q),
        margin_main: -f64::from(p_second).exp_m1() / f64::from(p_sum),
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::readback::values;

    /// Logits from a rule, spread by `spread`.
    fn logits(seed: usize, count: usize, spread: f32) -> Vec<f32> {
        let values = (0..count).map(|at| ((at + seed) * 7919 + seed * 31) % 10_007);
        values
            .map(|value| (value as f32 / 5003.0 - 1.0) * spread)
            .collect()
    }

    /// Of pairs that differ by little and by much, peaked and flat, against double precision.
    #[test]
    fn they_are_those_of_double_precision_however_near_the_models_are() {
        let (device, vocab) = (Device::flex(), 2000);
        for spread in [0.1, 3.0, 30.0] {
            for apart in [0.0, 1e-4, 1e-2, 0.3, 1.0, 8.0] {
                let main = logits(1, vocab, spread);
                let moves = logits(2, vocab, apart);
                let assistant: Vec<f32> = main.iter().zip(moves).map(|(a, b)| a + b).collect();
                let tensor = |logits: &Vec<f32>| -> Tensor<2> {
                    Tensor::from_data(TensorData::new(logits.clone(), [1, vocab]), &device)
                };
                let found = numbers(tensor(&main), tensor(&assistant));
                let found = divergences(&values(found), vocab).unwrap()[0];
                let own = Divergence::between(&main, &assistant).unwrap();
                let what = format!("spread {spread}, apart {apart}");
                // What d is off by: logits less the highest are rounded to a part in 2^24, and so are the sums of exponentials.
                let off = 1.2e-7 * f64::from(spread + apart) + 2e-7;
                for (found, own, moves) in [
                    (found.kl, own.kl, 4.0 * own.kl.sqrt()),
                    (
                        found.kl_reverse,
                        own.kl_reverse,
                        4.0 * own.kl_reverse.sqrt(),
                    ),
                    (found.js, own.js, 4.0 * own.js.sqrt()),
                    (found.tv, own.tv, 1.0),
                ] {
                    let tolerance = 2e-6 * own + moves * off + off * off;
                    assert!(
                        (found - own).abs() <= tolerance,
                        "{what}: {found} is not {own}"
                    );
                }
                for (found, own) in [
                    (found.entropy_main, own.entropy_main),
                    (found.entropy_assistant, own.entropy_assistant),
                    (found.margin_main, own.margin_main),
                    (found.acceptance_expected, own.acceptance_expected),
                ] {
                    assert!(
                        (found - own).abs() <= 4e-6 * own.max(1.0),
                        "{what}: {found} is not {own}"
                    );
                }
                assert_eq!(found.top1_agreement, own.top1_agreement, "{what}");
            }
        }
    }

    #[test]
    fn a_logit_that_is_not_finite_has_no_divergence() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let tensor = |logits: [f32; 3]| Tensor::from_data([logits], &Device::flex());
            for (main, assistant) in [([1.0, wrong, 0.0], [0.0; 3]), ([0.0; 3], [0.0, 1.0, wrong])]
            {
                let found = values(numbers(tensor(main), tensor(assistant)));
                assert!(divergences(&found, 3).is_none(), "{wrong}");
            }
        }
    }
}
