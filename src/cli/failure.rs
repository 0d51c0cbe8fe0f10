//! Exit codes and messages of errors.

use super::sweep::SlurmError;
use crate::data::honest::HonestError;
use crate::data::sources::SourceError;
use crate::data::templates::TemplateError;
use crate::data::tokenizer::TokenizerError;
use crate::data::tokens::TokensError;
use crate::decode::DecodeError;
use crate::device::failed::Stopped;
use crate::device::{DeviceError, DeviceFailed, OutOfMemory};
use crate::diagnostic::Diagnostic;
use crate::hook::PreparationError;
use crate::hub::HubError;
use crate::model::WeightsError;
use crate::overrides::OverrideError;
use crate::record::{ManifestError, RecordError, Unusable};
use crate::report::RecordedError;
use crate::tensorboard::TensorboardError;
use crate::thread::NoThread;
use crate::train::RunError;
use crate::treatment::TreatmentError;

/// The exit code of an error, as `milepost --help` lists them.
pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Diagnostic>() || error.is::<OverrideError>() || error.is::<DeviceError>() {
        return 2;
    }
    if let Some(TreatmentError::Tokens(_)) = error.downcast_ref() {
        return 5;
    }
    if error.is::<SourceError>()
        || matches!(error.downcast_ref(), Some(TreatmentError::Source(_)))
        || error.is::<HonestError>()
        || error.is::<TemplateError>()
        || error.is::<TokenizerError>()
        || error.is::<HubError>()
        || error.is::<RecordedError>()
        || error.is::<ManifestError>()
        || error.is::<PreparationError>()
        || is_reading(error.downcast_ref::<WeightsError>())
    {
        return 3;
    }
    let out_of_memory = crate::allocator::OUT_OF_MEMORY as u8;
    let decoding = error.downcast_ref::<DecodeError>();
    let stopped = error.downcast_ref::<Stopped>();
    if error.is::<OutOfMemory>()
        || matches!(stopped, Some(Stopped::OutOfMemory(_)))
        || error.is::<NoThread>()
        || matches!(decoding, Some(DecodeError::OutOfMemory(_)))
    {
        return out_of_memory;
    }
    if error.is::<RecordError>() || error.is::<WeightsError>() || error.is::<TokensError>() {
        return 5;
    }
    if error.is::<SlurmError>() {
        return 8;
    }
    if error.is::<Unusable>() || error.is::<DeviceFailed>() || stopped.is_some() {
        return 4;
    }
    match error.downcast_ref::<RunError>() {
        Some(RunError::Tensorboard(TensorboardError::NoThread(_))) => out_of_memory,
        Some(
            RunError::Record(_)
            | RunError::Tensorboard(_)
            | RunError::Weights(_)
            | RunError::Tokenizer(_),
        ) => 5,
        Some(RunError::OutOfMemory(..) | RunError::NoThread(_)) => out_of_memory,
        Some(_) => 4,
        None => 1,
    }
}

/// The error with its causes. A cause that the message already contains is left out, since most of our errors name their cause.
pub(super) fn message(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |message, cause| {
        let cause = cause.to_string();
        match message.is_empty() {
            true => cause,
            false if message.contains(&cause) => message,
            false => format!("{message}: {cause}"),
        }
    })
}

/// Whether weights could not be read. When they cannot be written, the disk is at fault and not the data.
fn is_reading(error: Option<&WeightsError>) -> bool {
    !matches!(
        error,
        None | Some(WeightsError::Io {
            action: "write",
            ..
        })
    )
}
