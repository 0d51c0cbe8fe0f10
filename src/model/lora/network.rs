//! Networks with adapters beside their layers.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Uniform};

use super::{Adapters, Base, Lora, LoraError, is_of_adapter};
use crate::checksum::Sum;
use crate::model::Network;
use crate::model::family::Adaptable;
use crate::model::layers::{Adapter, Factor};
use crate::model::parameters::{checkpoint_name, flattened_parameters, numbered};
use crate::readback::values;

/// The layers that have an adapter by default, by `model_type`, as in PEFT.
const USUAL: [(&str, &[&str]); 6] = [
    ("gpt2", &["c_attn"]),
    ("llama", &["q_proj", "v_proj"]),
    ("mistral", &["q_proj", "v_proj"]),
    ("qwen2", &["q_proj", "v_proj"]),
    ("qwen3", &["q_proj", "v_proj"]),
    ("gpt_neox", &["query_key_value"]),
];

impl Network {
    /// The adapters, where there are any.
    pub fn adapters(&self) -> Option<&Lora> {
        self.adapters.as_deref().map(|adapters| &adapters.lora)
    }

    /// What its adapters belong to.
    pub fn base(&self) -> Option<&Base> {
        self.adapters.as_deref().map(|adapters| &adapters.base)
    }

    /// The names of the layers that have an adapter unless an experiment says which. None where PEFT knows none for the `model_type`.
    pub fn usual_targets(&self) -> Option<Vec<String>> {
        let config = self.config_json();
        let model_type = config["model_type"].as_str()?;
        let (_, names) = USUAL.iter().find(|(known, _)| *known == model_type)?;
        Some(names.iter().map(|&name| name.to_owned()).collect())
    }

    /// The names of all dense layers but the head, each once: `c_attn`, `c_proj`, `c_fc`.
    pub fn all_linear(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for layer in self.layer_names() {
            let name = layer.rsplit('.').next().unwrap_or_default().to_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The same network with adapters that add nothing yet. A is drawn from U(-1/sqrt(in), 1/sqrt(in)), which is Kaiming's with a = sqrt(5) (He et al.
    /// 2015, arXiv 1502.01852), and B is 0. All other weights stay as they are from now on.
    ///
    /// # Errors
    /// When a target stands for no layer that can have an adapter.
    pub fn with_fresh_adapters(
        mut self,
        lora: &Lora,
        base: Base,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, LoraError> {
        self.check_targets(lora)?;
        let sha256 = checksum(&self);
        let device = self.device();
        for layer in self.adaptable() {
            if !lora.is_of(&layer.saved_name) {
                continue;
            }
            let [outer, inner] = layer.shape();
            let factor = |values: Vec<f32>, shape: [usize; 2]| Factor {
                weight: Param::from_tensor(Tensor::from_data(
                    TensorData::new(values, shape),
                    &device,
                )),
            };
            *layer.lora = Some(Adapter {
                lora_A: factor(uniform(lora.r * inner, inner, rng), [lora.r, inner]),
                lora_B: factor(vec![0.0; outer * lora.r], [outer, lora.r]),
                scale: lora.scale(),
                dropout: lora.dropout,
            });
        }
        let mut network = numbered(self.map(&mut Freezing(Vec::new())));
        network.adapters = Some(
            Adapters {
                lora: lora.clone(),
                base,
                sha256,
            }
            .into(),
        );
        Ok(network)
    }

    /// The names of the layers that these adapters would stand beside.
    pub fn adapted_by(&self, lora: &Lora) -> Vec<String> {
        let mut names = self.layer_names();
        names.retain(|name| lora.is_of(name));
        names
    }

    /// The same adapters with another dropout of their input.
    pub fn with_adapter_dropout(mut self, p: f64) -> Self {
        for layer in self.adaptable() {
            if let Some(adapter) = layer.lora {
                adapter.dropout = p;
            }
        }
        if let Some(adapters) = self.adapters.as_deref() {
            let mut adapters = adapters.clone();
            adapters.lora.dropout = p;
            self.adapters = Some(adapters.into());
        }
        self
    }

    /// The network without adapters that computes the same: what they add is added to the weights, all of which can then be trained.
    pub fn merged(mut self) -> Self {
        for layer in self.adaptable() {
            let Some(adapter) = layer.lora.take() else {
                continue;
            };
            let added = adapter.product();
            let added = if layer.is_transposed {
                added.transpose()
            } else {
                added
            };
            *layer.weight = layer.weight.clone().map(|weight| {
                if weight.is_autodiff() {
                    Tensor::from_inner(weight.inner() + added.inner())
                } else {
                    weight + added
                }
            });
        }
        self.adapters = None;
        numbered(self.map(&mut Thawing))
    }

    /// The parameters that can be trained: the adapters where there are any, else all. As [`flattened_parameters`].
    pub(crate) fn trained_parameters(&self) -> Vec<(String, Tensor<1>)> {
        let mut all = flattened_parameters(self);
        if self.adapters.is_some() {
            all.retain(|(name, _)| is_of_adapter(name));
        }
        all
    }

    /// Refuses a target that stands for no layer that can have an adapter.
    fn check_targets(&self, lora: &Lora) -> Result<(), LoraError> {
        let layers = self.layer_names();
        let mut targets = lora.target_modules.iter();
        let unknown =
            targets.find(|target| !layers.iter().any(|layer| super::names(target, layer)));
        match unknown {
            None => Ok(()),
            Some(target) => Err(LoraError {
                key: "target_modules",
                message: format!(
                    "`{target}` is no dense layer of the network, which has {}; neither tables of embeddings nor the head can have an adapter",
                    self.all_linear().join(", ")
                ),
            }),
        }
    }
}

/// Numbers as PyTorch draws the first factor of an adapter with this many inputs.
fn uniform(count: usize, inner: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let bound = 1.0 / (inner as f32).sqrt();
    match Uniform::new(-bound, bound) {
        Ok(uniform) => (0..count).map(|_| uniform.sample(rng)).collect(),
        // Only a layer without inputs has no bounds.
        Err(_) => vec![0.0; count],
    }
}

/// SHA-256 of the names and values of all weights.
fn checksum(network: &Network) -> String {
    let mut sum = Sum::default();
    for (name, tensor) in flattened_parameters(network) {
        sum.add(name.as_bytes());
        let bytes: Vec<u8> = values(tensor)
            .into_iter()
            .flat_map(f32::to_le_bytes)
            .collect();
        sum.add(&bytes);
    }
    sum.end().sha256
}

/// Lets only adapters be trained.
struct Freezing(Vec<String>);

impl ModuleMapper for Freezing {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.0.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.0.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if is_of_adapter(&checkpoint_name(&self.0)) {
            param
        } else {
            param.set_require_grad(false)
        }
    }
}

/// Lets all weights be trained.
struct Thawing;

impl ModuleMapper for Thawing {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.set_require_grad(true)
    }
}

impl Adaptable<'_> {
    /// Outputs and inputs.
    pub(super) fn shape(&self) -> [usize; 2] {
        let [outer, inner] = self.weight.val().dims();
        if self.is_transposed {
            [inner, outer]
        } else {
            [outer, inner]
        }
    }
}
