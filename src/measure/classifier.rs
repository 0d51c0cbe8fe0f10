//! A sequence classifier with its tokenizer: it returns the probability of one class for each text.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::data::tokenizer::Tokenizer;
use crate::model::Roberta;

/// How logits become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// As `problem_type` in config.json says. Without it, a sigmoid for a single label and for Detoxify's labels, of which several can be
    /// true at once, else softmax.
    #[default]
    Auto,
    /// Softmax over the labels: a text has one class.
    Softmax,
    /// A sigmoid of each label by itself, as in the Detoxify family.
    Sigmoid,
}

/// A classifier, and the label whose probability it returns.
#[derive(Debug)]
pub struct Classifier {
    model: Roberta,
    tokenizer: Tokenizer,
    sigmoid: bool,
    label: usize,
}

/// Names of labels for hurtful text, in the order in which they are looked for.
const TOXIC: [&str; 4] = ["toxicity", "toxic", "hate", "label_1"];

/// Labels that only Detoxify's models have.
const DETOXIFY: [&str; 2] = ["severe_toxicity", "severe_toxic"];

impl Classifier {
    /// Loads a classifier from its directory. `label` names the class; `auto` takes the first of `toxicity`, `toxic`, `hate` and `LABEL_1`
    /// that there is.
    ///
    /// # Errors
    /// When weights or tokenizer cannot be read, when the tokenizer does not belong to the model, or when there is no such label; the
    /// message lists the labels.
    pub fn load(directory: &Path, head: Head, label: &str) -> anyhow::Result<Self> {
        let model = Roberta::load(directory, &Device::flex())?;
        let tokenizer = Tokenizer::load(directory)?;
        tokenizer.check_table(model.config().vocab_size)?;
        let ends = [model.config().bos_token_id, model.config().eos_token_id];
        let put = tokenizer.ends()?;
        anyhow::ensure!(
            put == ends,
            "{}: config.json begins and ends a text with the tokens {ends:?}, but the tokenizer puts {put:?} around it",
            directory.display()
        );
        let labels: Vec<String> = (model.config().labels().iter())
            .map(|label| label.to_lowercase())
            .collect();
        let place = |wanted: &str| labels.iter().position(|label| label == wanted);
        let found = match label {
            "auto" => TOXIC.iter().find_map(|wanted| place(wanted)),
            label => place(&label.to_lowercase()),
        };
        let Some(found) = found else {
            let labels = model.config().labels().join("`, `");
            anyhow::bail!(
                "{}: no label {label}; set `label` to one of `{labels}`",
                directory.display()
            );
        };
        let sigmoid = match (head, model.config().problem_type.as_deref()) {
            (Head::Sigmoid, _) => true,
            (Head::Softmax, _) => false,
            (Head::Auto, Some(problem)) => problem == "multi_label_classification",
            (Head::Auto, None) => {
                labels.len() == 1 || DETOXIFY.iter().any(|label| place(label).is_some())
            }
        };
        Ok(Self {
            sigmoid,
            label: found,
            model,
            tokenizer,
        })
    }

    /// Encodes a text, with the begin and end tokens around it. A text that is too long for the model is cut at its end.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn tokens(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        let config = self.model.config();
        let mut tokens = vec![config.bos_token_id];
        tokens.extend(self.tokenizer.encode(text)?);
        tokens.truncate(config.longest() - 1);
        tokens.push(config.eos_token_id);
        Ok(tokens)
    }

    /// The probability of the label for each text. `go_on` is called before each batch with the number of texts done.
    ///
    /// # Errors
    /// Those of `go_on`, and when the tokenizer refuses a text or a logit is not finite.
    pub fn scores(
        &self,
        texts: &[&str],
        go_on: &dyn Fn(usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<f64>> {
        let tokens = texts.iter().map(|text| self.tokens(text));
        let tokens: Vec<Vec<u32>> = tokens.collect::<anyhow::Result<_>>()?;
        let logits = self.model.logits(&tokens, go_on)?;
        let scores = logits.iter().map(|logits| {
            let finite = logits.iter().all(|logit| logit.is_finite());
            anyhow::ensure!(finite, "the classifier's logits are not finite");
            Ok(self.probability(logits))
        });
        scores.collect()
    }

    fn probability(&self, logits: &[f32]) -> f64 {
        let own = f64::from(logits[self.label]);
        if self.sigmoid {
            1.0 / (1.0 + (-own).exp())
        } else {
            let others = logits.iter().map(|&logit| (f64::from(logit) - own).exp());
            1.0 / others.sum::<f64>()
        }
    }
}
