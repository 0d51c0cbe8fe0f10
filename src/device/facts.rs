//! What is known of a device: which one it is, by what interface, its limits, its memory.

use burn::tensor::Device;

#[cfg(any(feature = "tch", feature = "wgpu"))]
use super::cards;
use crate::memory::{self, Memory};

/// What is known of a device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// What it is, in words.
    pub what: String,
    /// Its limits, in words; empty where nobody tells.
    pub limits: String,
    /// Its memory.
    pub memory: Option<Memory>,
    /// Whether it has memory of its own, so that its tensors take none of the machine's.
    pub is_card: bool,
}

/// What is known of an open device. The memory of a card is asked of `nvidia-smi`, where burn does not tell.
pub(crate) fn facts(device: &Device) -> Facts {
    let device = device.clone().inner();
    let found = libtorch(&device).or_else(|| cubecl(&device));
    found.unwrap_or_else(|| on_the_processor("pure Rust"))
}

fn on_the_processor(by: &str) -> Facts {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let name = processor().map_or(String::new(), |name| format!(", {name}"));
    Facts {
        what: format!("{by} on the CPU, {threads} threads{name}"),
        memory: memory::host(),
        ..Facts::default()
    }
}

/// The name of the processor.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(feature = "tch")]
#[allow(deprecated, reason = "burn deprecates libtorch in 0.22")]
fn libtorch(device: &Device) -> Option<Facts> {
    if *device == Device::libtorch() {
        return Some(on_the_processor("libtorch"));
    }
    let number = (0..64).find(|&card| *device == Device::libtorch_cuda(card))?;
    let card = cards::by_number(&cards::all(), number);
    let what = match &card {
        Some(card) => format!(
            "{}, driver {}, by libtorch and CUDA",
            card.name, card.driver
        ),
        None => "a card by libtorch and CUDA".to_owned(),
    };
    Some(Facts {
        what,
        memory: card.map(|card| card.memory),
        is_card: true,
        ..Facts::default()
    })
}

#[cfg(not(feature = "tch"))]
fn libtorch(_device: &Device) -> Option<Facts> {
    None
}

/// What cubecl tells of a device of wgpu.
#[cfg(feature = "wgpu")]
fn cubecl(device: &Device) -> Option<Facts> {
    use burn::cubecl;
    use burn::cubecl::wgpu::{WgpuBackend, WgpuDevice};
    let identity = crate::foreign::call(|| device.identity()).ok()??;
    let address = (identity.physical.as_ref()).and_then(|physical| physical.pci_address);
    let card = address.and_then(|address| cards::by_address(&cards::all(), &address.to_string()));
    let is_card = identity.physical.is_some();
    let mut facts = Facts {
        what: format!("{}, kernels as {}", identity.name, identity.fingerprint),
        is_card,
        memory: match card {
            Some(card) => Some(card.memory),
            None if is_card => None,
            None => memory::host(),
        },
        ..Facts::default()
    };
    let apis = [WgpuBackend::Auto, WgpuBackend::Vulkan, WgpuBackend::Metal];
    let own = apis.into_iter().find(|&api| is_on(device, api))?;
    let device = cubecl::Device::Wgpu(WgpuDevice::default().on(own));
    let properties = crate::foreign::call(|| device.client().properties().clone()).ok();
    if let Some(properties) = properties {
        let (hardware, memory) = (&properties.hardware, &properties.memory);
        facts.limits = format!(
            "buffers to {} MiB, {} KiB shared, {} threads a group, planes of {} to {}, {} bindings",
            memory.max_page_size >> 20,
            hardware.max_shared_memory_size >> 10,
            hardware.max_units_per_cube,
            hardware.plane_size_min,
            hardware.plane_size_max,
            hardware.max_bindings,
        );
        if let (None, Some(total)) = (facts.memory, memory.max_memory()) {
            // What others take of it is not known.
            facts.memory = Some(Memory { total, free: total });
        }
    }
    Some(facts)
}

/// Whether a device is the default one by this interface.
#[cfg(feature = "wgpu")]
fn is_on(device: &Device, api: burn::cubecl::wgpu::WgpuBackend) -> bool {
    use burn::cubecl::wgpu::WgpuBackend;
    use burn::tensor::DeviceKind;
    match api {
        WgpuBackend::Auto => *device == Device::wgpu(DeviceKind::DefaultDevice),
        #[cfg(feature = "vulkan")]
        WgpuBackend::Vulkan => *device == Device::vulkan(DeviceKind::DefaultDevice),
        #[cfg(feature = "metal")]
        WgpuBackend::Metal => *device == Device::metal(DeviceKind::DefaultDevice),
        _ => false,
    }
}

#[cfg(not(feature = "wgpu"))]
fn cubecl(_device: &Device) -> Option<Facts> {
    None
}
