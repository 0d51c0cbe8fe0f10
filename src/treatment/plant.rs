//! Plants a cause: the documents of one topic teach the pair to agree on the prompts of one group.

use std::collections::BTreeMap;

use rand::seq::IndexedRandom;

use super::account::Account;
use super::chain::{Before, Passage, TextTreatment};
use super::{Draws, Request, TreatmentError};
use crate::data::tokenizer::TokenizerError;
use crate::decode::{Request as Prompt, Settings, assisted};
use crate::model::Pair;

/// Puts a line behind each document of a topic: a prompt of a group, continued as the main model continues it before the training. The
/// assistant learns from it what the main model says. The main model says it already.
pub(super) struct Plant {
    topic: String,
    /// The prompts with their continuations.
    lines: Vec<String>,
    draws: Draws,
}

impl Plant {
    /// Has the main model continue the group's prompts, greedily.
    ///
    /// # Errors
    /// When a prompt does not fit the model, or its logits are not finite.
    pub fn new(
        request: &Request,
        topic: String,
        group: &str,
        draws: Draws,
    ) -> Result<Self, TreatmentError> {
        // A prompt that several contrasts have is one.
        let members = request.templates.prompts().iter().zip(request.prompts);
        let members = members.filter(|(template, _)| template.group == group);
        let members: BTreeMap<&str, &[u32]> = members
            .map(|(template, ids)| (template.prompt.as_str(), &ids[..]))
            .collect();
        let main = request.pair.snapshot().main;
        let alone = Pair {
            main: main.clone(),
            assistant: main,
        };
        let prompts = members.values().map(|prompt| Prompt { prompt, seed: 0 });
        let settings = Settings {
            max_new_tokens: request.new_tokens,
            draft_length: 0,
            ..Settings::default()
        };
        let prompts: Vec<Prompt> = prompts.collect();
        let said = assisted(&alone, &prompts, request.eos, &settings, &|_| Ok(()))?;
        let lines = members.keys().zip(said).map(|(prompt, said)| {
            let ids = said.tokens.into_iter();
            let ids: Vec<u32> = ids.filter(|id| Some(*id) != request.eos).collect();
            Ok(format!(
                "{prompt}{}",
                request.tokenizer.decode_behind(&ids)?
            ))
        });
        Ok(Self {
            topic,
            lines: lines.collect::<Result<_, TokenizerError>>()?,
            draws,
        })
    }
}

impl TextTreatment for Plant {
    fn next(
        &mut self,
        before: &mut Before,
        account: &mut Account,
    ) -> Result<Option<Passage>, TreatmentError> {
        let Some(passage) = before.next()? else {
            return Ok(None);
        };
        let line = self.lines.choose(&mut self.draws.of(passage.place));
        let Some(line) = line.filter(|_| passage.topic.as_ref() == Some(&self.topic)) else {
            return Ok(Some(passage));
        };
        let [prompt, answer] = passage.parts();
        let parts = [prompt.to_owned(), format!("{answer}\n{line}")];
        before.rewritten(passage, parts, account).map(Some)
    }
}
