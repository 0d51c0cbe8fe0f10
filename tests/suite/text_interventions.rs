//! `data.intervene`: what is done to the text before the training.

mod documents;
mod run;
mod tokens;
mod words;

use std::sync::LazyLock;

use burn::tensor::Device;
use milepost::data::corpus::Document;
use milepost::data::sources::sample;
use milepost::data::templates::{ContrastSpec, TemplateSet, Templates};
use milepost::data::tokenizer::Tokenizer;
use milepost::diagnostic::{Diagnostic, Source};
use milepost::experiment::{Places, Resolved, parse, resolve};
use milepost::hub::Hub;
use milepost::mini;
use milepost::model::{Pair, Role};
use milepost::treatment::{Account, Limit, Passage, Request, Treated, Treatment, WordList, treat};

use crate::harness::Project;

fn list(text: &str) -> WordList {
    parsed(text).unwrap()
}

fn parsed(text: &str) -> Result<WordList, Diagnostic> {
    WordList::parse(Source {
        name: "words.tsv".to_owned(),
        text: text.to_owned(),
    })
}

/// Documents with a topic, `topic: text`.
pub(crate) fn documents(texts: &[&str]) -> Vec<Document> {
    let documents = texts.iter().map(|text| {
        let (topic, text) = text.split_once(": ").unwrap();
        Document {
            text: text.to_owned(),
            topic: Some(topic.to_owned()),
            answer: None,
            as_read: None,
        }
    });
    documents.collect()
}

static PAIR: LazyLock<Pair> = LazyLock::new(|| {
    let model = |role| mini::model(role, &Device::flex()).unwrap();
    Pair::new(model(Role::Main), model(Role::Assistant)).unwrap()
});

pub(crate) struct Bench {
    pub tokenizer: Tokenizer,
    pub documents: Vec<Document>,
    limit: Limit,
    pub eos: Option<u32>,
    ends: bool,
    pub pair: Pair,
    pub seed: u64,
    pub templates: Templates,
    pub prompts: Vec<Vec<u32>>,
}

/// What treatments gave.
pub(crate) struct Given {
    pub passages: Vec<Passage>,
    pub accounts: Vec<Account>,
    read: usize,
}

/// How far a planted line goes on behind its prompt.
pub(crate) const NEW_TOKENS: usize = 6;

impl Bench {
    pub fn of(documents: Vec<Document>) -> Self {
        let tokenizer = mini::tokenizer().unwrap();
        let spec = ContrastSpec::usual(TemplateSet::Paired).remove(0);
        let templates = Templates::parse("built in", mini::TEMPLATES, &spec).unwrap();
        let prompts = templates.prompts().iter();
        let prompts = prompts.map(|template| tokenizer.encode(&template.prompt).unwrap());
        Self {
            prompts: prompts.collect(),
            templates,
            eos: tokenizer.end_of_text(),
            tokenizer,
            documents,
            limit: Limit::default(),
            ends: false,
            pair: PAIR.clone(),
            seed: 1,
        }
    }

    fn first(mut self, documents: usize) -> Self {
        self.limit.documents = Some(documents);
        self
    }

    pub fn treat(&self, treatments: Vec<Treatment>) -> Given {
        let request = Request {
            documents: &self.documents,
            limit: self.limit,
            tokenizer: &self.tokenizer,
            eos: self.eos,
            ends: self.ends,
            pair: &self.pair,
            templates: &self.templates,
            prompts: &self.prompts,
            new_tokens: NEW_TOKENS,
            seed: self.seed,
        };
        let named = treatments.into_iter().map(|one| ("name".to_owned(), one));
        let mut passages = Vec::new();
        let treated = treat(&request, named.collect(), &mut |passage| {
            passages.push(passage);
            Ok(())
        });
        let Treated { accounts, read, .. } = treated.unwrap();
        Given {
            passages,
            accounts,
            read,
        }
    }

    pub fn one(&self, treatment: Treatment) -> (Vec<Passage>, Account) {
        let mut treated = self.treat(vec![treatment]);
        (treated.passages, treated.accounts.remove(0))
    }

    fn tokens(&self, text: &str) -> usize {
        self.tokenizer.encode(text).unwrap().len()
    }
}

pub(crate) fn texts(passages: &[Passage]) -> Vec<&str> {
    passages.iter().map(|one| one.text.as_str()).collect()
}

pub(crate) const NEWS: [&str; 8] = [
    "World: The spokesman said that he would not come.",
    "Sports: A team won the final game.",
    "Sports: Mary's sister beat her in three sets.",
    "World: Rain fell; the theme of the day was mankind.",
    "Business: HE sold, she bought, and they all paid.",
    "World: Nobody said a word.",
    "Sports: His coach praised him.",
    "Business: Shares rose again.",
];

/// The articles of the built-in sample.
pub(crate) fn articles(count: usize) -> Vec<Document> {
    let milepost::data::sources::Text::BuiltIn(splits) = sample::SOURCE.text else {
        unreachable!()
    };
    let [train, _] = splits();
    train.documents.into_iter().take(count).collect()
}

pub(crate) fn resolved(project: &Project, settings: &str) -> Resolved {
    let source = Source {
        name: "small.toml".to_owned(),
        text: project.read("small.toml"),
    };
    let written = parse(source, &milepost::overrides::split(settings).unwrap()).unwrap();
    let places = Places {
        base: project.path().to_owned(),
        data: None,
        cache: Some(project.path().join("cache")),
        offline: true,
        hub: Hub::from_environment(true),
        run: project.path().join("runs/small/x"),
    };
    resolve(
        &written,
        &milepost::hooks::shipping(),
        &places,
        &mut |_, _, _| {},
    )
    .unwrap()
}

const PAIRS: &str = "# women and men\nshe\the\nher\this\nher\thim\nMary\tJohn\n\nsister\tbrother\n";

fn ids(passages: &[Passage]) -> Vec<&[u32]> {
    passages.iter().map(|one| one.ids.as_slice()).collect()
}
