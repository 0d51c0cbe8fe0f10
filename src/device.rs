//! Where tensors live. The one place that knows which devices exist: a new one is a new arm of [`open`].

use burn::tensor::Device;

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name is not a device of this program.
    #[error("unknown device `{0}`; this build knows: {known}", known = KNOWN.join(", "))]
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
}

/// The devices that this build can open, by the name that `--device` takes.
pub const KNOWN: &[&str] = &[
    "flex",
    #[cfg(feature = "tch")]
    "tch",
];

/// Opens a device by name: `flex` (pure Rust, CPU, the default) or, with the cargo feature of that name, `tch` (libtorch on the CPU).
///
/// # Errors
/// When the name is unknown or the device is not compiled in.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    match name {
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "tch")]
        "tch" => Ok(libtorch()),
        #[cfg(not(feature = "tch"))]
        "tch" => Err(DeviceError::NotCompiled {
            name: name.to_owned(),
            feature: "tch",
        }),
        _ => Err(DeviceError::Unknown(name.to_owned())),
    }
}

#[cfg(feature = "tch")]
#[allow(
    deprecated,
    reason = "burn deprecates libtorch in 0.22; it stays behind this feature"
)]
fn libtorch() -> Device {
    Device::libtorch()
}
