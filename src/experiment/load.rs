//! Loads what an experiment names: models, tokenizer, text, templates.

use burn::tensor::Device;

use super::model_source::{ModelSource, find_model};
use super::{Devices, Experiment, Places, Written};
use crate::data::honest;
use crate::data::sources::Request;
use crate::data::store::Store;
use crate::data::templates::{TemplateError, Templates};
use crate::data::tokenizer::Tokenizer;
use crate::diagnostic::Diagnostic;
use crate::download::Progress;
use crate::model::{Ends, Network, Pair, Precision, Role};

/// A pair with its tokenizers, which give the same ids, and where its models come from.
pub(super) struct LoadedPair {
    pub pair: Pair,
    pub tokenizer: Tokenizer,
    pub assistant_tokenizer: Tokenizer,
    pub sources: [ModelSource; 2],
}

/// Loads the two models onto their devices, and their tokenizers. Those that are `trained` get the adapters that are wanted.
pub(super) fn load_pair(
    written: &Written,
    places: &Places,
    devices: &[Device; 2],
    trained: &[Role],
    progress: &mut Progress,
) -> anyhow::Result<LoadedPair> {
    let experiment = &written.experiment;
    let mut load = |role: Role| -> anyhow::Result<(Network, Tokenizer, ModelSource)> {
        let source = find_model(written, places, role, &mut |id| {
            places.hub.get(id, progress)
        })?;
        let model = source.network(&devices[role as usize])?;
        let tokenizer = source.tokenizer()?;
        let model = match experiment.train.dropout {
            Some(p) => model.with_dropout(p),
            None => model,
        };
        let model = if trained.contains(&role) {
            written.adapted(model, role, &source)?
        } else {
            model
        };
        let tokenizer = if experiment.models.begin {
            tokenizer.with_beginning()?
        } else {
            tokenizer
        };
        Ok((model, tokenizer, source))
    };
    let (main, tokenizer, first) = load(Role::Main)?;
    let (assistant, other, second) = load(Role::Assistant)?;
    if let Some(difference) = tokenizer.difference(&other) {
        let message = format!("the two models have different tokenizers: {difference}");
        return Err(written.wrong(&["models", "assistant"], message).into());
    }
    for (role, model) in [(Role::Main, &main), (Role::Assistant, &assistant)] {
        tokenizer
            .check_table(model.config().vocab_size)
            .map_err(|error| written.wrong(&["models", role.as_str()], error.to_string()))?;
    }
    let pair = Pair::over(main, assistant, tokenizer.id_bound())
        .map_err(|error| written.wrong(&["models", "assistant"], error.to_string()))?;
    Ok(LoadedPair {
        pair,
        tokenizer,
        assistant_tokenizer: other,
        sources: [first, second],
    })
}

/// Opens the devices of main model and assistant. If `training`, they have autodiff, and are checked for `train.precision`.
pub(super) fn devices(written: &Written, training: bool) -> anyhow::Result<[Device; 2]> {
    let named = &written.experiment.device;
    let precision = written.experiment.train.precision;
    let open = |role: Role| -> anyhow::Result<Device> {
        let name = named.get(role);
        let device = crate::device::open(name).map_err(|error| {
            let each = ["device", role.as_str()];
            let path = match named {
                Devices::Both(_) => &each[..1],
                Devices::Each(_) => &each[..],
            };
            written.wrong(path, error.to_string())
        })?;
        if !training {
            return Ok(device);
        }
        if let Err(reason) = precision.check(&device) {
            let message = format!("`{name}` cannot train in {}: {reason}", precision.as_str());
            let wrong = written.wrong(&["train", "precision"], message);
            let help = format!("it can in {}", possible(&device));
            return Err(wrong.with_help(help).into());
        }
        Ok(device.autodiff())
    };
    let main = open(Role::Main)?;
    let assistant = if named.get(Role::Main) == named.get(Role::Assistant) {
        main.clone()
    } else {
        open(Role::Assistant)?
    };
    Ok([main, assistant])
}

/// What to say of a precision that costs time where it is asked for.
pub(super) fn slow_precision(experiment: &Experiment) -> Option<String> {
    let precision = experiment.train.precision;
    let mut devices = Role::BOTH
        .map(|role| experiment.device.get(role))
        .into_iter();
    let device = devices.find(|name| crate::device::only_rounds(name))?;
    (precision != Precision::F32).then(|| {
        let name = precision.as_str();
        format!(
            "`train.precision` is {name}: `{device}` rounds to {name} and multiplies in f32, so it takes longer than in f32; a graphics card takes less"
        )
    })
}

/// The precisions in which a device can train.
fn possible(device: &Device) -> String {
    let all = Precision::ALL.into_iter();
    let possible = all.filter(|one| one.check(device).is_ok());
    let possible: Vec<&str> = possible.map(Precision::as_str).collect();
    possible.join(" or ")
}

/// The request for [`sources::resolve`](crate::data::sources::resolve).
///
/// # Errors
/// A diagnostic at a key of `[data]` that cannot be used.
pub(super) fn source_request(written: &Written, places: &Places) -> Result<Request, Diagnostic> {
    let data = &written.experiment.data;
    let source = written.text_source()?;
    Ok(Request {
        source,
        folder: (data.folder.as_ref()).map(|folder| places.base.join(folder)),
        store: store(places),
        builtin_sample: data.builtin_sample,
        files: written.named_files(source, places)?,
    })
}

/// The places where data is looked for.
pub(super) fn store(places: &Places) -> Store {
    Store {
        data: places.data.clone(),
        cache: places.cache.clone(),
        offline: places.offline,
    }
}

/// The tokens that end a continuation: those in the main model's files, or else the tokenizer's.
pub(super) fn ends(pair: &Pair, tokenizer: &Tokenizer) -> Ends {
    match pair.main.ends().ids() {
        [] => tokenizer.end_of_text().into(),
        _ => pair.main.ends().clone(),
    }
}

/// The token that is written behind a document: the first of these.
pub(super) fn eos(pair: &Pair, tokenizer: &Tokenizer) -> Option<u32> {
    ends(pair, tokenizer).first()
}

/// Loads the templates of all contrasts, and encodes their prompts to token ids.
pub(super) fn load_templates(
    written: &Written,
    places: &Places,
    tokenizer: &Tokenizer,
    progress: &mut Progress,
) -> anyhow::Result<(Templates, Vec<Vec<u32>>)> {
    let mut templates = Templates::default();
    for (spec, file) in written.contrasts()? {
        templates.join(match file.as_str() {
            "builtin" => Templates::parse("built-in templates", crate::mini::TEMPLATES, &spec)?,
            "honest" => {
                let path = honest::find(&store(places), progress)?;
                Templates::read(&path, &spec)?
            }
            file => Templates::read(&places.base.join(file), &spec)?,
        });
    }
    let prompts = templates.prompts().iter();
    let prompts = prompts.map(|template| tokenizer.encode(&template.prompt));
    let prompts: Vec<Vec<u32>> = prompts.collect::<Result<_, _>>()?;
    if let Some(empty) = prompts.iter().position(Vec::is_empty) {
        let template = &templates.prompts()[empty];
        let contrasts = templates.contrasts().iter();
        let source = contrasts.filter(|contrast| contrast.prompts.contains(&empty));
        return Err(TemplateError::Line {
            name: source.map(|contrast| contrast.source.as_str()).collect(),
            line: template.line,
            message: format!("the tokenizer makes no token of `{}`", template.prompt),
        }
        .into());
    }
    Ok((templates, prompts))
}
