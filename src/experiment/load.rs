//! What an experiment names, read: models, tokenizer, text, templates.

use burn::tensor::Device;

use super::{Places, Written};
use crate::data::blocks::Blocks;
use crate::data::source::Corpus;
use crate::data::templates::Templates;
use crate::data::tokenizer::Tokenizer;
use crate::model::{Gpt2, Pair, Role};

/// The two models on `device`, and the tokenizer that they share.
pub(super) fn load_pair(
    written: &Written,
    places: &Places,
    device: &Device,
) -> anyhow::Result<(Pair, Tokenizer)> {
    let experiment = &written.experiment;
    let load = |role: Role, name: &str| -> anyhow::Result<(Gpt2, Tokenizer)> {
        let (model, tokenizer) = match name {
            "mini:main" => (
                crate::mini::model(Role::Main, device)?,
                crate::mini::tokenizer()?,
            ),
            "mini:assistant" => (
                crate::mini::model(Role::Assistant, device)?,
                crate::mini::tokenizer()?,
            ),
            path => {
                let directory = places.base.join(path);
                if !directory.is_dir() {
                    let message = format!(
                        "no model directory {}; give a directory in Hugging Face layout, `mini:main` or `mini:assistant`",
                        directory.display()
                    );
                    return Err(written.wrong(&["models", role.as_str()], message).into());
                }
                (
                    Gpt2::load(&directory, device)?,
                    Tokenizer::load(&directory)?,
                )
            }
        };
        Ok(match experiment.train.dropout {
            Some(p) => (model.with_dropout(p), tokenizer),
            None => (model, tokenizer),
        })
    };
    let (main, tokenizer) = load(Role::Main, &experiment.models.main)?;
    let (assistant, other) = load(Role::Assistant, &experiment.models.assistant)?;
    if let Some(difference) = tokenizer.difference(&other) {
        let message = format!("the two models have different tokenizers: {difference}");
        return Err(written.wrong(&["models", "assistant"], message).into());
    }
    if tokenizer.vocab_size() > main.config().vocab_size {
        let message = format!(
            "the tokenizer has {} tokens, but the models only {}",
            tokenizer.vocab_size(),
            main.config().vocab_size
        );
        return Err(written.wrong(&["models", "main"], message).into());
    }
    let pair = Pair::new(main, assistant)
        .map_err(|error| written.wrong(&["models", "assistant"], error.to_string()))?;
    Ok((pair, tokenizer))
}

/// The id that ends a text.
pub(super) fn eos(pair: &Pair, tokenizer: &Tokenizer) -> Option<u32> {
    let config = pair.main.config();
    config
        .eos_token_id
        .or_else(|| tokenizer.id(crate::pretrain::END_OF_TEXT))
}

/// Which part of the articles.
#[derive(Clone, Copy)]
pub(super) enum Split {
    Train,
    HeldOut,
}

/// The blocks of a split.
pub(super) fn cut(
    written: &Written,
    corpus: &Corpus,
    split: Split,
    tokenizer: &Tokenizer,
    eos: Option<u32>,
) -> anyhow::Result<Blocks> {
    let data = &written.experiment.data;
    let (articles, limit, name) = match split {
        Split::Train => (&corpus.train, data.train_articles, "training"),
        Split::HeldOut => (&corpus.held_out, data.test_articles, "held-out"),
    };
    let mut ids = Vec::new();
    for article in articles.iter().take(limit.unwrap_or(usize::MAX)) {
        ids.extend(tokenizer.encode(&article.text())?);
        ids.extend(eos.filter(|_| data.end_of_text));
    }
    Blocks::cut(ids, written.experiment.train.block).map_err(|error| {
        let message = format!("the {name} split: {error}");
        written.wrong(&["train", "block"], message).into()
    })
}

/// The templates, and the token ids of their prompts.
pub(super) fn load_templates(
    written: &Written,
    places: &Places,
    tokenizer: &Tokenizer,
    pair: &Pair,
) -> anyhow::Result<(Templates, Vec<Vec<u32>>)> {
    let section = &written.experiment.templates;
    let templates = match section.file.as_str() {
        "builtin" => Templates::parse("built-in templates", crate::mini::TEMPLATES, section.set)?,
        file => Templates::read(&places.base.join(file), section.set)?,
    };
    let prompts = templates.prompts().iter();
    let prompts = prompts.map(|template| tokenizer.encode(&template.prompt));
    let prompts: Vec<Vec<u32>> = prompts.collect::<Result<_, _>>()?;
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let new = written.experiment.decode.max_new_tokens;
    if longest + new > pair.n_positions() + 1 {
        let message = format!(
            "{new} new tokens after the longest prompt of {longest} exceed the {} positions of the models",
            pair.n_positions()
        );
        return Err(written.wrong(&["decode", "max_new_tokens"], message).into());
    }
    Ok((templates, prompts))
}
