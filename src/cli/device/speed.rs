//! How fast a device multiplies, copies and answers, and which types it has.

use std::time::{Duration, Instant};

use anyhow::ensure;
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use rand::Rng;
use serde_json::{Value, json};

use super::findings::{Findings, Found};
use crate::random::{Purpose, stream};
use crate::readback::values;

/// The sides of the matrices that are multiplied, until a product takes [`ENOUGH`].
const SIDES: [usize; 5] = [512, 1024, 2048, 4096, 8192];
const ENOUGH: Duration = Duration::from_millis(20);
/// A measure is repeated so often, or until it has taken [`LONG`].
const TIMES: usize = 7;
const LONG: Duration = Duration::from_secs(3);
/// The bytes that are copied.
const COPIED: usize = 64 << 20;

const TYPES: [(&str, DType); 6] = [
    ("f64", DType::F64),
    ("f32", DType::F32),
    ("bf16", DType::BF16),
    ("f16", DType::F16),
    ("i64", DType::I64),
    ("i32", DType::I32),
];

pub(super) fn look(device: &Device, findings: &mut Findings) {
    let has = |dtype: DType| crate::foreign::call(|| device.supports_dtype(dtype)).unwrap_or(false);
    findings.part("types", "types", || {
        let has = TYPES.iter().filter(|(_, dtype)| has(*dtype));
        let names: Vec<&str> = has.map(|(name, _)| *name).collect();
        Ok(Found::new(names.join(" "), json!(names)))
    });
    for (name, of) in [
        ("f32", FloatDType::F32),
        ("bf16", FloatDType::BF16),
        ("f16", FloatDType::F16),
    ] {
        if has(of.into()) {
            let key = format!("product_{name}");
            findings.part(&key, &format!("product, {name}"), || product(device, of));
        }
    }
    findings.part("copied_to", "copied to the device", || copied(device, true));
    findings.part("copied_back", "copied back", || copied(device, false));
    findings.part("number", "a number is read in", || read(device));
}

/// Waits until the device has done everything.
pub(super) fn wait(device: &Device) -> anyhow::Result<()> {
    if *device != Device::flex() {
        device.sync().map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    Ok(())
}

/// The median of the seconds that `work` takes on the device, after a first time that does not count.
pub(super) fn median_seconds(
    device: &Device,
    mut work: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let mut timed = || -> anyhow::Result<f64> {
        let began = Instant::now();
        work()?;
        wait(device)?;
        Ok(began.elapsed().as_secs_f64())
    };
    timed()?;
    let began = Instant::now();
    let mut seconds = vec![timed()?];
    while seconds.len() < TIMES && began.elapsed() < LONG {
        seconds.push(timed()?);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}

/// Numbers between -1 and 1: a card that multiplies ones draws less power, and is faster than it would be at work.
fn numbers(count: usize) -> Vec<f32> {
    let mut rng = stream(1, Purpose::Initialisation, 0, 0);
    let some: Vec<f32> = (0..count.min(1 << 18))
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    some.iter().copied().cycle().take(count).collect()
}

/// The speed of a product of two square matrices of a type, in GFLOP/s: 2 n^3 operations.
fn product(device: &Device, of: FloatDType) -> anyhow::Result<Found> {
    let mut found = (0, 0.0);
    for side in SIDES {
        let data = TensorData::new(numbers(side * side), [side, side]);
        let matrix = Tensor::<2>::from_data(data, device).cast(of);
        let seconds = median_seconds(device, || {
            let product = matrix.clone().matmul(matrix.clone());
            // It is kept until it is there.
            wait(device)?;
            drop(product);
            Ok(())
        })?;
        found = (side, 2.0 * (side as f64).powi(3) / seconds / 1e9);
        if seconds > ENOUGH.as_secs_f64() {
            break;
        }
    }
    let (side, gflops) = found;
    let words = format!("{} GFLOP/s ({side} x {side})", rounded(gflops));
    Ok(Found::new(words, json!({ "side": side, "gflops": gflops })))
}

/// How fast numbers go to the device, or come back from it.
fn copied(device: &Device, there: bool) -> anyhow::Result<Found> {
    if *device == Device::flex() {
        let words = "no copy: tensors are in the program's memory";
        return Ok(Found::new(words, Value::Null));
    }
    let numbers = numbers(COPIED / size_of::<f32>());
    let data = || TensorData::new(numbers.clone(), [numbers.len()]);
    let seconds = if there {
        // The copy that is given away is made before the clock starts.
        let mut given: Vec<TensorData> = (0..=TIMES).map(|_| data()).collect();
        median_seconds(device, || {
            let data = given.pop().unwrap_or_else(data);
            let tensor = Tensor::<1>::from_data(data, device);
            wait(device)?;
            drop(tensor);
            Ok(())
        })?
    } else {
        let tensor = Tensor::<1>::from_data(data(), device);
        median_seconds(device, || {
            let back = values(tensor.clone());
            ensure!(back.len() == numbers.len(), "not all came back");
            Ok(())
        })?
    };
    let speed = COPIED as f64 / seconds / 1e9;
    Ok(Found::new(
        format!("{speed:.2} GB/s"),
        json!({ "gb_per_second": speed }),
    ))
}

/// How long it takes until the program has a number that the device has yet to compute.
fn read(device: &Device) -> anyhow::Result<Found> {
    let one = Tensor::<1>::ones([1], device);
    let seconds = median_seconds(device, || {
        let two = values(one.clone().add_scalar(1.0));
        ensure!(two == [2.0], "1 + 1 came out as {two:?}");
        Ok(())
    })?;
    let micros = seconds * 1e6;
    Ok(Found::new(
        format!("{} microseconds", rounded(micros)),
        json!({ "microseconds": micros }),
    ))
}

/// A number in as many digits as say something.
pub(super) fn rounded(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0}")
    }
}
