//! Divergences between the next-token distributions of main model and assistant, in log space and double precision.

/// How far `p` (main model) and `q` (assistant) are apart at one position. Logarithms are natural: divergences are in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// KL(main || assistant) = sum p (ln p - ln q).
    pub kl: f64,
    /// `kl / |V|`: what PyTorch's `F.kl_div(log q, p, reduction="batchmean")` gives on a 1-D tensor.
    pub kl_batchmean: f64,
    /// KL(assistant || main).
    pub kl_reverse: f64,
    /// Jensen-Shannon divergence, at most ln 2.
    pub js: f64,
    /// Total variation distance, half the sum of |p - q|.
    pub tv: f64,
    /// sum min(p, q) = 1 - tv: expected acceptance of one sampled draft token (Leviathan et al. 2023, arXiv 2211.17192).
    pub acceptance_expected: f64,
    /// Whether both would choose the same token; of equal logits the lowest index counts.
    pub top1_agreement: bool,
    /// -sum p ln p.
    pub entropy_main: f64,
    /// -sum q ln q.
    pub entropy_assistant: f64,
    /// The main model's highest probability minus its second highest.
    pub margin_main: f64,
}

/// Means of [`Divergence`] over several positions; `top1_agreement` is a share.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[allow(
    missing_docs,
    reason = "each field is the mean of the field of that name"
)]
pub struct MeanDivergence {
    pub kl: f64,
    pub kl_batchmean: f64,
    pub kl_reverse: f64,
    pub js: f64,
    pub tv: f64,
    pub acceptance_expected: f64,
    pub top1_agreement: f64,
    pub entropy_main: f64,
    pub entropy_assistant: f64,
    pub margin_main: f64,
}

/// Why two rows of logits have no divergence.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DivergenceError {
    /// The vocabularies differ, or are empty.
    #[error("logits of {0} and {1} tokens cannot be compared")]
    Length(usize, usize),
    /// A logit is NaN or infinite.
    #[error("logit {index} of the {model} model is {value}")]
    NotFinite {
        /// `main` or `assistant`.
        model: &'static str,
        /// The token.
        index: usize,
        /// The value.
        value: f32,
    },
}

impl Divergence {
    /// The divergence between two rows of logits over one vocabulary.
    ///
    /// # Errors
    /// When the rows differ in length or hold NaN or infinity.
    pub fn between(main: &[f32], assistant: &[f32]) -> Result<Self, DivergenceError> {
        if main.len() != assistant.len() || main.is_empty() {
            return Err(DivergenceError::Length(main.len(), assistant.len()));
        }
        let (p_shift, p_top, p_second) = normaliser("main", main)?;
        let (q_shift, q_top, _) = normaliser("assistant", assistant)?;
        let (mut kl, mut kl_reverse, mut js, mut tv) = (0.0, 0.0, 0.0, 0.0);
        let (mut entropy_main, mut entropy_assistant) = (0.0, 0.0);
        for (&a, &b) in main.iter().zip(assistant) {
            let (log_p, log_q) = (f64::from(a) - p_shift, f64::from(b) - q_shift);
            let (p, q) = (log_p.exp(), log_q.exp());
            kl += p * (log_p - log_q);
            kl_reverse += q * (log_q - log_p);
            tv += (p - q).abs();
            entropy_main -= p * log_p;
            entropy_assistant -= q * log_q;
            if log_p != log_q {
                let log_m = log_mean(log_p, log_q);
                js += p * (log_p - log_m) + q * (log_q - log_m);
            }
        }
        let tv = 0.5 * tv;
        let p = |index: usize| (f64::from(main[index]) - p_shift).exp();
        Ok(Self {
            kl,
            kl_batchmean: kl / main.len() as f64,
            kl_reverse,
            js: 0.5 * js,
            tv,
            acceptance_expected: 1.0 - tv,
            top1_agreement: p_top == q_top,
            entropy_main,
            entropy_assistant,
            margin_main: p(p_top) - p_second.map_or(0.0, p),
        })
    }

    /// Means over several positions; None when there are none.
    pub fn mean<'a>(all: impl Iterator<Item = &'a Self>) -> Option<MeanDivergence> {
        let mut mean = MeanDivergence::default();
        let mut count = 0.0;
        for one in all {
            count += 1.0;
            mean.kl += one.kl;
            mean.kl_batchmean += one.kl_batchmean;
            mean.kl_reverse += one.kl_reverse;
            mean.js += one.js;
            mean.tv += one.tv;
            mean.acceptance_expected += one.acceptance_expected;
            mean.top1_agreement += f64::from(u8::from(one.top1_agreement));
            mean.entropy_main += one.entropy_main;
            mean.entropy_assistant += one.entropy_assistant;
            mean.margin_main += one.margin_main;
        }
        if count == 0.0 {
            return None;
        }
        for field in [
            &mut mean.kl,
            &mut mean.kl_batchmean,
            &mut mean.kl_reverse,
            &mut mean.js,
            &mut mean.tv,
            &mut mean.acceptance_expected,
            &mut mean.top1_agreement,
            &mut mean.entropy_main,
            &mut mean.entropy_assistant,
            &mut mean.margin_main,
        ] {
            *field /= count;
        }
        Some(mean)
    }
}

/// `ln ((exp a + exp b) / 2)` without underflow.
fn log_mean(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    high + (low - high).exp().ln_1p() - std::f64::consts::LN_2
}

/// `ln sum exp` of a row, and the indices of its highest and second highest logit.
fn normaliser(
    model: &'static str,
    logits: &[f32],
) -> Result<(f64, usize, Option<usize>), DivergenceError> {
    let (mut top, mut second) = (0, None);
    for (index, &value) in logits.iter().enumerate() {
        if !value.is_finite() {
            return Err(DivergenceError::NotFinite {
                model,
                index,
                value,
            });
        }
        if index == 0 {
            continue;
        }
        if value > logits[top] {
            second = Some(top);
            top = index;
        } else if second.is_none_or(|second: usize| value > logits[second]) {
            second = Some(index);
        }
    }
    let maximum = f64::from(logits[top]);
    let sum: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - maximum).exp())
        .sum();
    Ok((maximum + sum.ln(), top, second))
}
