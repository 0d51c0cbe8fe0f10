//! Divergences between the next-token distributions of main model and assistant, in log space and double precision.

/// Divergences between the distributions p (main model) and q (assistant) at one position. Logarithms are natural, so divergences and
/// entropies are in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// KL(main || assistant) = sum p (ln p - ln q).
    pub kl: f64,
    /// `kl / |V|`, the value of PyTorch's `F.kl_div(log q, p, reduction="batchmean")` for 1-D tensors.
    pub kl_batchmean: f64,
    /// KL(assistant || main) = sum q (ln q - ln p).
    pub kl_reverse: f64,
    /// Jensen-Shannon divergence: the mean of KL(p || m) and KL(q || m) with m = (p + q) / 2. At most ln 2.
    pub js: f64,
    /// Total variation distance, half the sum of |p - q|.
    pub tv: f64,
    /// sum min(p, q) = 1 - tv, the expected acceptance of one sampled draft token (Leviathan et al. 2023, arXiv 2211.17192).
    pub acceptance_expected: f64,
    /// Whether both models would choose the same token. Of equal logits, the one with the lowest index is chosen.
    pub top1_agreement: bool,
    /// Entropy of the main model's distribution, -sum p ln p.
    pub entropy_main: f64,
    /// Entropy of the assistant's distribution, -sum q ln q.
    pub entropy_assistant: f64,
    /// The main model's highest probability minus its second highest.
    pub margin_main: f64,
}

/// The means of the fields of [`Divergence`] over several positions; `top1_agreement` is a share.
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
    /// A token has no logit.
    #[error("there is no token {0}: there are logits of {1} tokens")]
    Token(u32, usize),
    /// There are not equally many logits at each position.
    #[error("{0} logits are not those of {1} positions")]
    Positions(usize, usize),
    /// A logit is NaN or infinite.
    #[error("logit {index} of the {model} model is {value}")]
    NotFinite {
        /// `main` or `assistant`.
        model: &'static str,
        /// The token's id.
        index: usize,
        /// The value.
        value: f32,
    },
}

impl Divergence {
    /// The divergence between two rows of logits, each `[vocab]`.
    ///
    /// # Errors
    /// When the rows differ in length, are empty, or hold NaN or infinity.
    pub fn between(main: &[f32], assistant: &[f32]) -> Result<Self, DivergenceError> {
        if main.len() != assistant.len() || main.is_empty() {
            return Err(DivergenceError::Length(main.len(), assistant.len()));
        }
        let (p_top, p_second) = top_two("main", main)?;
        let (q_top, _) = top_two("assistant", assistant)?;
        let (p_highest, q_highest) = (f64::from(main[p_top]), f64::from(assistant[q_top]));
        // The exponentials are kept, so that each logit costs one `exp`. Over a real vocabulary they are most of the work.
        let (mut p_sum, mut q_sum) = (0.0, 0.0);
        let logits = main.iter().zip(assistant);
        let exps: Vec<(f64, f64)> = logits
            .clone()
            .map(|(&a, &b)| {
                let p = (f64::from(a) - p_highest).exp();
                let q = (f64::from(b) - q_highest).exp();
                p_sum += p;
                q_sum += q;
                (p, q)
            })
            .collect();
        let (p_scale, q_scale) = (1.0 / p_sum, 1.0 / q_sum);
        let (p_shift, q_shift) = (p_highest + p_sum.ln(), q_highest + q_sum.ln());
        let (mut kl, mut kl_reverse, mut js, mut tv) = (0.0, 0.0, 0.0, 0.0);
        let (mut entropy_main, mut entropy_assistant) = (0.0, 0.0);
        for ((&a, &b), (p, q)) in logits.zip(&exps) {
            // Computed from the logits, since p and q may have underflowed.
            let (log_p, log_q) = (f64::from(a) - p_shift, f64::from(b) - q_shift);
            let (p, q) = (p * p_scale, q * q_scale);
            kl += p * (log_p - log_q);
            kl_reverse += q * (log_q - log_p);
            tv += (p - q).abs();
            entropy_main -= p * log_p;
            entropy_assistant -= q * log_q;
            let m = 0.5 * (p + q);
            // Equal terms add exactly 0 this way. Where m is 0, both have underflowed and add nothing.
            if log_p != log_q && m > 0.0 {
                let log_m = m.ln();
                js += p * (log_p - log_m) + q * (log_q - log_m);
            }
        }
        let tv = 0.5 * tv;
        let p = |index: usize| exps[index].0 * p_scale;
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

    /// The means over several positions. None when there are none.
    pub fn mean<'a>(all: impl Iterator<Item = &'a Self>) -> Option<MeanDivergence> {
        let all: Vec<MeanDivergence> = all.map(|one| MeanDivergence::from(*one)).collect();
        MeanDivergence::mean(all.iter())
    }
}

impl From<Divergence> for MeanDivergence {
    fn from(one: Divergence) -> Self {
        Self {
            kl: one.kl,
            kl_batchmean: one.kl_batchmean,
            kl_reverse: one.kl_reverse,
            js: one.js,
            tv: one.tv,
            acceptance_expected: one.acceptance_expected,
            top1_agreement: f64::from(u8::from(one.top1_agreement)),
            entropy_main: one.entropy_main,
            entropy_assistant: one.entropy_assistant,
            margin_main: one.margin_main,
        }
    }
}

impl MeanDivergence {
    /// The means of several means, each with the same weight. None when there are none.
    pub fn mean<'a>(all: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let mut mean = Self::default();
        let mut count = 0.0;
        for one in all {
            count += 1.0;
            for (sum, value) in mean.fields().into_iter().zip(one.clone().fields()) {
                *sum += *value;
            }
        }
        for sum in mean.fields() {
            *sum /= count;
        }
        (count > 0.0).then_some(mean)
    }

    fn fields(&mut self) -> [&mut f64; 10] {
        [
            &mut self.kl,
            &mut self.kl_batchmean,
            &mut self.kl_reverse,
            &mut self.js,
            &mut self.tv,
            &mut self.acceptance_expected,
            &mut self.top1_agreement,
            &mut self.entropy_main,
            &mut self.entropy_assistant,
            &mut self.margin_main,
        ]
    }
}

/// The tokens with the highest logit (of equal ones the lowest index) and the second highest. A vocabulary of one token has no second.
pub(super) fn top_two(
    model: &'static str,
    logits: &[f32],
) -> Result<(usize, Option<usize>), DivergenceError> {
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
    Ok((top, second))
}
