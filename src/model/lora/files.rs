//! Adapters in files: `adapter_config.json` and `adapter_model.safetensors`, as PEFT has them. PEFT's former `adapter_model.bin` is read, too.

use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{AdapterConfig, Adapters, config, is_of_adapter};
use crate::model::family::Adaptable;
use crate::model::parameters::parameters_of;
use crate::model::tensors::Tensors;
use crate::model::{Network, WeightsError, weights};

/// The name of the file with the weights.
const WEIGHTS: &str = "adapter_model.safetensors";
/// Its name where PyTorch pickled them.
const PICKLED: &str = "adapter_model.bin";
/// What stands in it before the names of a network's parameters.
const PREFIX: &str = "base_model.model.";
/// The key of its metadata with the checksum of the base.
const BASE: &str = "base_sha256";

/// The files of an adapter's directory. As in PEFT, its weights are in `adapter_model.bin` only where there is no safetensors file.
pub(crate) fn adapter_files(directory: &Path) -> [PathBuf; 2] {
    let names = [WEIGHTS, PICKLED].map(|name| directory.join(name));
    let there = names.iter().find(|path| path.exists());
    let weights = there.unwrap_or(&names[0]).clone();
    [directory.join(config::NAME), weights]
}

impl Network {
    /// This network with the adapter of a directory. It must be the one that the adapter belongs to.
    ///
    /// # Errors
    /// When a file cannot be read, the adapter computes what is not supported, or it does not fit the network.
    pub fn with_adapter(self, directory: &Path) -> Result<Self, WeightsError> {
        let AdapterConfig { mut lora, base } = AdapterConfig::read(directory)?;
        // As in PEFT, a name may stand for no layer.
        let layers = self.layer_names();
        lora.target_modules
            .retain(|target| layers.iter().any(|layer| super::names(target, layer)));
        let wrong = |message: String| WeightsError::Content {
            path: directory.join(config::NAME),
            message,
        };
        if lora.target_modules.is_empty() {
            let message = "`target_modules` stands for no layer of the base model";
            return Err(wrong(message.to_owned()));
        }
        // What is drawn here is replaced by what the file has.
        let fresh = self.with_fresh_adapters(&lora, base, &mut ChaCha8Rng::seed_from_u64(0));
        fresh
            .map_err(|error| wrong(error.to_string()))?
            .with_adapter_weights(directory)
    }

    /// The state of this network that was saved in a folder: of all weights, or of its adapters alone.
    ///
    /// # Errors
    /// When a file cannot be read, or is not one of this network.
    pub(crate) fn saved_in(&self, folder: &Path) -> Result<Self, WeightsError> {
        match &self.adapters {
            None => Ok(Self::load(folder, &self.device())?.saying_as(self)),
            Some(_) => self.clone().with_adapter_weights(folder),
        }
    }

    /// The same network with the values of its adapters from a directory.
    fn with_adapter_weights(mut self, directory: &Path) -> Result<Self, WeightsError> {
        let [_, weights] = adapter_files(directory);
        if !weights.exists() {
            return Err(WeightsError::Content {
                path: directory.to_owned(),
                message: format!("an adapter without weights; expected {WEIGHTS}, or {PICKLED}"),
            });
        }
        let mut tensors = Tensors::of_file(&weights, PREFIX)?;
        let filled = self.fill_adapters(&mut tensors);
        filled.map_err(|message| WeightsError::Content {
            path: tensors.origin,
            message,
        })?;
        Ok(self)
    }

    fn fill_adapters(&mut self, tensors: &mut Tensors) -> Result<(), String> {
        let adapters = self.adapters.clone();
        let adapters = adapters.ok_or("the network has no adapters")?;
        let Adapters { lora, base, sha256 } = &*adapters;
        if tensors.said(BASE).is_some_and(|said| said != sha256) {
            return Err(format!(
                "it was trained beside other weights than those of {} (SHA-256)",
                base.name
            ));
        }
        for layer in self.adaptable() {
            let [outer, inner] = layer.shape();
            let Adaptable {
                saved_name,
                lora: Some(adapter),
                ..
            } = layer
            else {
                continue;
            };
            for (part, factor, shape) in [
                ("lora_A", &mut adapter.lora_A, [lora.r, inner]),
                ("lora_B", &mut adapter.lora_B, [outer, lora.r]),
            ] {
                let values = tensors.take(&format!("{saved_name}.{part}.weight"), &shape)?;
                factor.weight = filled(&factor.weight, values);
            }
        }
        tensors.finish(|_| false)
    }

    /// Names and bytes of the files of its adapters.
    pub(in crate::model) fn files_of_adapters(
        &self,
        adapters: &Adapters,
    ) -> Result<[(&'static str, Vec<u8>); 2], WeightsError> {
        let mut parameters = parameters_of(self, is_of_adapter);
        for (name, _) in &mut parameters {
            *name = format!("{PREFIX}{}", self.saved_name(name));
        }
        let said = [(BASE.to_owned(), adapters.sha256.clone())];
        let bytes = weights::to_safetensors(WEIGHTS, &parameters, said)?;
        let is_transposed = self.clone().adaptable().iter().any(|one| one.is_transposed);
        let config = AdapterConfig {
            lora: adapters.lora.clone(),
            base: adapters.base.clone(),
        };
        let config_text = config.to_text(is_transposed).into_bytes();
        Ok([(WEIGHTS, bytes), (config::NAME, config_text)])
    }
}

/// The parameter with these values.
fn filled(param: &Param<Tensor<2>>, values: Vec<f32>) -> Param<Tensor<2>> {
    param.clone().map(|old| {
        let data = TensorData::new(values, old.dims());
        Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())
    })
}
