//! The devices that tensors can be on. Only this module knows which there are: a new one is an entry of [`KINDS`] with the function that
//! opens it.

#[cfg_attr(
    not(all(feature = "tch", feature = "wgpu")),
    allow(dead_code, reason = "libtorch counts cards, cubecl tells addresses")
)]
mod cards;
mod facts;
pub(crate) mod failed;
pub(crate) mod room;

use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};

pub use crate::memory::Memory;
use crate::readback::is_rehearsed;
pub(crate) use facts::facts;
pub use failed::DeviceFailed;
pub use room::OutOfMemory;

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name is not a device of this program.
    #[error("unknown device `{0}`; the devices are {known}", known = forms())]
    Unknown(String),
    /// The device exists but was left out of this build.
    #[error(
        "device `{name}` is not in this build; build again with `--features {feature}` (make: DEVICE={feature})"
    )]
    NotCompiled {
        /// The device as asked for.
        name: String,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The device is in the build, but does not work on this machine.
    #[error("device `{name}` cannot be used here: {reason}; {remedy}")]
    NotThere {
        /// The device as asked for.
        name: String,
        /// What its library says.
        reason: String,
        /// What may help.
        remedy: &'static str,
    },
}

/// A kind of device: how its name is written, what to do when it does not work, and how it is opened.
struct Kind {
    form: &'static str,
    remedy: &'static str,
    open: fn(&str) -> Option<Result<Device, &'static str>>,
}

/// Every kind. `open` returns None for the name of another kind, and the missing cargo feature when the kind is not in the build.
const KINDS: &[Kind] = &[
    Kind {
        form: "flex",
        remedy: "",
        open: |name| (name == "flex").then(|| Ok(Device::flex())),
    },
    Kind {
        form: "tch",
        remedy: "libtorch must be version 2.9 and on the library path",
        open: |name| (name == "tch").then(|| tch(None)),
    },
    Kind {
        form: "tch:cuda:N",
        remedy: "it needs a libtorch with CUDA, a driver, and a card of that number; `tch` is libtorch on the CPU",
        open: |name| Some(tch(Some(name.strip_prefix("tch:cuda:")?.parse().ok()?))),
    },
    Kind {
        form: "wgpu",
        remedy: "it needs a driver for Vulkan, Metal or DirectX 12 (Debian: mesa-vulkan-drivers for one in software)",
        open: |name| (name == "wgpu").then(wgpu),
    },
    Kind {
        form: "vulkan",
        remedy: "it needs a driver for Vulkan; `wgpu` takes the same card without SPIR-V",
        open: |name| (name == "vulkan").then(vulkan),
    },
    Kind {
        form: "metal",
        remedy: "it needs macOS and a card with Metal",
        open: |name| (name == "metal").then(metal),
    },
];

/// The names of all devices that may be here, in any build: of each kind, and of as many cards as libtorch knows.
pub(crate) fn names() -> Vec<String> {
    let names = KINDS.iter().flat_map(|kind| match kind.form {
        "tch:cuda:N" => (0..cuda_cards().max(1))
            .map(|card| format!("tch:cuda:{card}"))
            .collect(),
        form => vec![form.to_owned()],
    });
    names.collect()
}

fn forms() -> String {
    let forms: Vec<&str> = KINDS.iter().map(|kind| kind.form).collect();
    forms.join(", ")
}

/// Opens a device by name. `flex` is pure Rust on the CPU and the default. The others need the cargo feature of their name: `tch` (libtorch
/// on the CPU), `tch:cuda:0` (libtorch on a graphics card), `wgpu` (any graphics card), `vulkan` and `metal` (one by that interface alone). Any
/// device other than `flex` is tested with a small sum.
///
/// # Errors
/// When the name is unknown, the device is not compiled in, or it does not work on this machine.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    let (kind, device) = find(name)?;
    if name != "flex" {
        let sum = crate::foreign::call_with_threads(|| {
            let ones = Tensor::<1>::ones([8], &device);
            ones.sum().into_scalar::<f32>()
        });
        match sum {
            Ok(8.0) => {}
            Ok(other) => {
                let reason = format!("the sum of eight ones came out as {other}");
                return Err(kind.not_there(name, reason));
            }
            Err(reason) => return Err(kind.not_there(name, reason)),
        }
    }
    Ok(device)
}

/// flex, and the devices that MILEPOST_TEST_DEVICES names.
#[cfg(test)]
pub(crate) fn of_tests() -> Vec<Device> {
    let more = std::env::var("MILEPOST_TEST_DEVICES").unwrap_or_default();
    let names = ["flex"].into_iter().chain(more.split(','));
    let names = names.filter(|name| !name.is_empty());
    names.map(|name| open(name).unwrap()).collect()
}

/// Whether the device of this name has no matrix product of its own in half the bits: it rounds, and multiplies in single precision.
pub(crate) fn only_rounds(name: &str) -> bool {
    name == "flex"
}

/// Whether a device has kernels of our own. Elsewhere layers are composed of burn's operations.
pub(crate) fn has_kernels(device: &Device) -> bool {
    device.clone().inner() == Device::flex() && !is_rehearsed()
}

/// Whether a device is the processor: to make a value there and to send it cost the same.
pub(crate) fn is_host(device: &Device) -> bool {
    let device = device.clone().inner();
    let is_libtorch = tch(None).is_ok_and(|libtorch| device == libtorch);
    (device == Device::flex() || is_libtorch) && !is_rehearsed()
}

/// Whether a device of this name is in the build. It may not work here: that is found out by [`open`] alone.
///
/// # Errors
/// When the name is unknown, or the device is not compiled in.
pub(crate) fn is_in_build(name: &str) -> Result<(), DeviceError> {
    find(name).map(drop)
}

/// The kind of a device and the device, on which nothing was done yet.
fn find(name: &str) -> Result<(&'static Kind, Device), DeviceError> {
    let found = KINDS.iter().find_map(|kind| {
        // Opening can panic, for example where a driver's library is missing.
        let opened = crate::foreign::call_with_threads(|| (kind.open)(name)).transpose()?;
        Some((kind, opened))
    });
    let (kind, opened) = found.ok_or_else(|| DeviceError::Unknown(name.to_owned()))?;
    let device = opened.map_err(|reason| kind.not_there(name, reason))?;
    let device = device.map_err(|feature| DeviceError::NotCompiled {
        name: name.to_owned(),
        feature,
    })?;
    Ok((kind, device))
}

impl Kind {
    fn not_there(&self, name: &str, reason: String) -> DeviceError {
        DeviceError::NotThere {
            name: name.to_owned(),
            reason,
            remedy: self.remedy,
        }
    }
}

/// Waits until a device has done all that was queued on it, and says how long that took. `flex` does everything at once.
pub(crate) fn wait_for(device: &Device) -> Duration {
    let device = device.clone().inner();
    if device == Device::flex() {
        return Duration::ZERO;
    }
    let began = Instant::now();
    // What went wrong on the device is an error of the next value that is read from it.
    let _ = crate::foreign::call(|| device.sync());
    began.elapsed()
}

#[cfg(feature = "tch")]
#[allow(
    deprecated,
    reason = "burn deprecates libtorch in 0.22; it stays behind this feature"
)]
fn tch(card: Option<usize>) -> Result<Device, &'static str> {
    Ok(match card {
        None => Device::libtorch(),
        Some(card) => Device::libtorch_cuda(card),
    })
}

#[cfg(not(feature = "tch"))]
fn tch(_card: Option<usize>) -> Result<Device, &'static str> {
    Err("tch")
}

/// How many cards libtorch knows.
#[cfg(feature = "tch")]
fn cuda_cards() -> usize {
    use burn::tensor::DeviceType;
    // libtorch on the CPU is not among them.
    let cards = crate::foreign::call(|| Device::enumerate(DeviceType::LibTorch).into_vec());
    cards.map_or(0, |cards| cards.len())
}

#[cfg(not(feature = "tch"))]
fn cuda_cards() -> usize {
    0
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Device, &'static str> {
    keep_what_was_tuned();
    Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Device, &'static str> {
    Err("wgpu")
}

#[cfg(feature = "vulkan")]
fn vulkan() -> Result<Device, &'static str> {
    keep_what_was_tuned();
    Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "vulkan"))]
fn vulkan() -> Result<Device, &'static str> {
    Err("vulkan")
}

#[cfg(feature = "metal")]
fn metal() -> Result<Device, &'static str> {
    keep_what_was_tuned();
    Ok(Device::metal(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "metal"))]
fn metal() -> Result<Device, &'static str> {
    Err("metal")
}

/// Keeps the kernels that cubecl has found by trial in the user's cache, so that the next run does not try again and takes the same ones.
/// cubecl's own place is the `target` of whichever crate surrounds the current folder. What a `cubecl.toml` says of another place, and
/// cubecl's variables, hold.
#[cfg(feature = "wgpu")]
fn keep_what_was_tuned() {
    use burn::cubecl::config::cache::CacheConfig;
    use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    if matches!(config.environment.path, CacheConfig::Target) {
        config.environment.path = CacheConfig::Global;
    }
    // Only the first call has an effect.
    CubeClRuntimeConfig::try_set(config);
}
