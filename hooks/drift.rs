//! The hook `drift`: how far each model has moved since the start. It compares the model's next-token distributions at the prompts now to
//! those at step 0, and lists the tokens that gained and lost most.

use milepost::prelude::*;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    tokens: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { tokens: 10 }
    }
}

struct Drift {
    tokens: usize,
}

/// The kind `drift`.
pub fn kind() -> Kind {
    Kind::new(
        "drift",
        "each model now against itself at step 0 at the templates: KL, JS, TV, top-1 agreement, and the tokens that moved most",
        |options: Options| Drift {
            tokens: options.tokens,
        },
    )
    .compares_with_start()
    .option("tokens", "how many tokens that gained and that lost to show")
    .lines(
        "Which of the two models",
        "drift from the start, nats",
        &["drift/main/kl_nats", "drift/assistant/kl_nats"],
    )
    .reports(&["drift/main/js_nats", "drift/main/tv", "drift/main/top1_agreement"])
    .reports(&["drift/assistant/js_nats", "drift/assistant/tv", "drift/assistant/top1_agreement"])
}

impl Hook for Drift {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        for role in Role::BOTH {
            self.of_model(role, context)?;
        }
        Ok(())
    }
}

impl Drift {
    fn of_model(&self, role: Role, context: &mut Context) -> Result<()> {
        let scene = context.scene();
        // A pair of the model now (as main model) and the model at the start (as assistant).
        let both = Pair::new(
            context.pair().get(role).clone(),
            context.start()?.get(role).clone(),
        )?;
        let vocabulary = both.main.config().vocab_size;
        let mut found: Vec<Option<Divergence>> = scene.prompts.iter().map(|_| None).collect();
        let (mut now, mut then) = (vec![0.0; vocabulary], vec![0.0; vocabulary]);
        let go_on = || context.check_deadline();
        each_prompt(&both, &scene.prompts, &go_on, &mut |index, p, q| {
            found[index] = Some(Divergence::between(p, q)?);
            add_probabilities(&mut now, p);
            add_probabilities(&mut then, q);
            Ok(())
        })?;
        let found: Vec<Divergence> = found.into_iter().flatten().collect();
        let Some(mean) = Divergence::mean(found.iter()) else {
            return Ok(());
        };
        for (name, value) in [
            ("kl_nats", mean.kl),
            ("js_nats", mean.js),
            ("tv", mean.tv),
            ("top1_agreement", mean.top1_agreement),
        ] {
            context.scalar(format!("drift/{role}/{name}"), value);
        }
        let kl: Vec<f64> = found.iter().map(|divergence| divergence.kl).collect();
        context.histogram(format!("drift/{role}/per_template_nats"), kl.clone());
        context.per_template(format!("drift_{role}_kl_nats"), kl);
        let table = self.table(&now, &then, found.len() as f64, &scene.tokenizer)?;
        context.text(format!("drift/{role}/tokens"), table);
        Ok(())
    }

    /// The table of the tokens whose mean probability over the prompts rose and fell most. `now` and `then` are sums of probabilities
    /// `[vocab]` over the prompts.
    fn table(
        &self,
        now: &[f64],
        then: &[f64],
        prompts: f64,
        tokenizer: &Tokenizer,
    ) -> Result<String> {
        let mut order: Vec<usize> = (0..now.len()).collect();
        let change = |token: usize| (now[token] - then[token]) / prompts;
        order.sort_by(|&a, &b| change(b).total_cmp(&change(a)).then(a.cmp(&b)));
        let gained = order
            .iter()
            .filter(|&&token| change(token) > 0.0)
            .take(self.tokens);
        let lost = order
            .iter()
            .rev()
            .filter(|&&token| change(token) < 0.0)
            .take(self.tokens);
        let mut table =
            String::from("| token | id | at the start | now | change |\n|---|---|---|---|---|\n");
        for &token in gained.chain(lost) {
            let text = tokenizer.decode_behind(&[token as u32])?;
            // The debug form makes spaces, line ends and incomplete characters visible. In Markdown code, only these two letters need a
            // replacement.
            let text = format!("{text:?}").replace('|', "\\|").replace('`', "'");
            table += &format!(
                "| `{text}` | {token} | {:.5} | {:.5} | {:+.5} |\n",
                then[token] / prompts,
                now[token] / prompts,
                change(token)
            );
        }
        Ok(table)
    }
}

/// Adds the softmax of logits `[vocab]` to `sums`.
fn add_probabilities(sums: &mut [f64], logits: &[f32]) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps = || {
        logits
            .iter()
            .map(|&logit| (f64::from(logit) - f64::from(highest)).exp())
    };
    let total: f64 = exps().sum();
    for (sum, exp) in sums.iter_mut().zip(exps()) {
        *sum += exp / total;
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, probabilities};

    use super::*;

    #[test]
    fn nothing_has_moved_at_the_start_and_later_as_far_as_slow_sums_say() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.run(&kind(), "tokens = 3", [0, 4])?;
        let (then, now) = (bench.pair_at(0), bench.pair_at(4));
        for role in Role::BOTH {
            let value = |name: &str, step| reported.scalar(&format!("drift/{role}/{name}"), step);
            assert_eq!(value("kl_nats", 0)?, 0.0);
            assert_eq!(value("tv", 0)?, 0.0);
            assert_eq!(value("top1_agreement", 0)?, 1.0);
            let (mut kl, mut tv) = (0.0, 0.0);
            for prompt in &bench.scene().prompts {
                let [p, q] = [&now, &then].map(|pair| probabilities(pair.get(role), prompt));
                for (p, q) in p[prompt.len() - 1].iter().zip(&q[prompt.len() - 1]) {
                    kl += p * (p / q).ln() / 8.0;
                    tv += (p - q).abs() / 2.0 / 8.0;
                }
            }
            assert!(kl > 1e-3, "{role}: {kl}");
            assert!((value("kl_nats", 4)? - kl).abs() < 1e-4, "{role}: {kl}");
            assert!((value("tv", 4)? - tv).abs() < 1e-4, "{role}: {tv}");
            let table = reported.text(&format!("drift/{role}/tokens"), 4)?;
            // A heading of two lines, three tokens that gained, three that lost.
            assert_eq!(table.lines().count(), 8, "{table}");
        }
        Ok(())
    }
}
