//! How much of a device's memory the passes of a milestone may take, and what is done when a device has no more.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};

use burn::tensor::Device;

use super::facts::facts;
use crate::foreign::first_words;
use crate::memory;

/// The most bytes that passes take of the machine's memory, and what they take of a card that does not say how much it has.
const MOST: u64 = 1200 << 20;

/// The device has no more memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("out of memory on the device ({0})")]
pub struct OutOfMemory(String);

/// The bytes that keys, values and distributions of all that is read at once may take on a device: at most half of what the machine has
/// free, or an eighth of a card. Results do not depend on it. It is 1200 MiB, the half, the quarter and so on of that, or depends on the card alone, so
/// that the same run reads the same rows together.
pub(crate) fn room(device: &Device) -> usize {
    let bytes = match card(device) {
        Some(Some(total)) => total / 8,
        Some(None) => MOST,
        None => of_machine(memory::host().map(|memory| memory.free)),
    };
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The room on a machine with so many bytes free.
fn of_machine(free: Option<u64>) -> u64 {
    let Some(free) = free else { return MOST };
    let mut room = MOST;
    while room > free / 2 && room > 1 {
        room /= 2;
    }
    room
}

/// The memory of a card, if it is known. None for a device on the processor. Asked once a device.
fn card(device: &Device) -> Option<Option<u64>> {
    type Known = Vec<(Device, Option<Option<u64>>)>;
    static KNOWN: Mutex<Known> = Mutex::new(Vec::new());
    let device = device.clone().inner();
    if device == Device::flex() {
        return None;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, found)) = known.iter().find(|(other, _)| *other == device) {
        return *found;
    }
    let facts = facts(&device);
    let found = facts
        .is_card
        .then(|| facts.memory.map(|memory| memory.total));
    known.push((device, found));
    found
}

/// Does `work` with at most `most` things at once. Where the device runs out of memory, `work` is done anew with half as many, and so on down
/// to one.
///
/// # Errors
/// Those of `work`, and when one alone does not fit.
pub(crate) fn in_halves<T, E: From<OutOfMemory>>(
    most: usize,
    mut work: impl FnMut(usize) -> Result<T, E>,
) -> Result<T, E> {
    let mut at_once = most.max(1);
    loop {
        match caught(|| work(at_once)) {
            Ok(done) => return done,
            Err(error) if at_once == 1 => return Err(error.into()),
            Err(_) => at_once /= 2,
        }
    }
}

/// Calls `read` with some texts, and `take` with what it found. Where the device runs out of memory, their halves are read one after the other,
/// and so on down to one text. What was read and does not fit is never taken.
///
/// # Errors
/// Those of `read` and `take`, and when one text alone does not fit.
pub(crate) fn in_parts<T, E: From<OutOfMemory>>(
    texts: &[usize],
    read: &mut impl FnMut(&[usize]) -> Result<T, E>,
    take: &mut impl FnMut(&[usize], T) -> Result<(), E>,
) -> Result<(), E> {
    match caught(|| read(texts)) {
        Ok(found) => take(texts, found?),
        Err(_) if texts.len() > 1 => {
            let (first, second) = texts.split_at(texts.len() / 2);
            in_parts(first, read, take)?;
            in_parts(second, read, take)
        }
        Err(error) => Err(error.into()),
    }
}

/// Calls `work`. Any other panic than that of a device without memory goes on.
///
/// # Errors
/// When the device has no more memory.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, OutOfMemory> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| match of_panic(panic.as_ref()) {
        Some(error) => error,
        None => resume_unwind(panic),
    })
}

/// The panic of a library whose device has no more memory. None where it is another one.
pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Option<OutOfMemory> {
    of_text(text_of(panic)?)
}

/// What a panic says. None where it says it in no text.
pub(super) fn text_of(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
}

/// The error of a library whose device has no more memory. None where it is another one.
pub(super) fn of_text(text: &str) -> Option<OutOfMemory> {
    // As libtorch has it on a card and on the processor, and cubecl on a card.
    let signs = [
        "out of memory",
        "out-of-memory",
        "can't allocate memory",
        "out of device memory",
        "can't allocate buffer",
    ];
    let lower = text.to_lowercase();
    let line = lower
        .lines()
        .position(|line| signs.iter().any(|sign| line.contains(sign)))?;
    let line = text.lines().nth(line).unwrap_or(text);
    Some(OutOfMemory(first_words(line.trim())))
}

/// Fails as a card without memory does, where more than `MILEPOST_FAULT_ROWS` rows are to be in memory at once. For tests: a card that is full
/// cannot be had.
pub(crate) fn allocate(rows: usize) {
    static LIMIT: OnceLock<Option<usize>> = OnceLock::new();
    let limit = LIMIT.get_or_init(|| std::env::var("MILEPOST_FAULT_ROWS").ok()?.parse().ok());
    if limit.is_some_and(|limit| rows > limit) {
        panic!("CUDA out of memory. Tried to allocate {rows} rows by MILEPOST_FAULT_ROWS");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_room_is_halved_until_it_is_half_of_what_is_free() {
        let mib = |mib: u64| mib << 20;
        assert_eq!(of_machine(None), mib(1200));
        assert_eq!(of_machine(Some(mib(64_000))), mib(1200));
        assert_eq!(of_machine(Some(mib(2400))), mib(1200));
        assert_eq!(of_machine(Some(mib(2399))), mib(600));
        assert_eq!(of_machine(Some(mib(700))), mib(300));
        assert_eq!(of_machine(Some(0)), 1);
        assert!(room(&Device::flex()) as u64 <= MOST);
    }

    proptest! {
        #[test]
        fn what_does_not_fit_is_read_in_parts_and_taken_once(texts in 1..40usize, fits in 0..12usize) {
            let texts: Vec<usize> = (0..texts).rev().collect();
            let mut taken = Vec::new();
            let done: Result<(), OutOfMemory> = in_parts(
                &texts,
                &mut |part| {
                    assert!(part.len() <= fits, "CUDA out of memory");
                    Ok(part.to_vec())
                },
                &mut |part, found| {
                    assert_eq!(part, found);
                    taken.extend(found);
                    Ok(())
                },
            );
            prop_assert_eq!(done.is_ok(), fits > 0);
            let expected = if fits > 0 { texts } else { Vec::new() };
            prop_assert_eq!(taken, expected);
        }
    }

    #[test]
    fn work_that_does_not_fit_is_done_in_halves() {
        let mut tried = Vec::new();
        let done: Result<usize, OutOfMemory> = in_halves(20, |at_once| {
            tried.push(at_once);
            assert!(at_once <= 3, "CUDA out of memory. Tried to allocate 2 GiB");
            Ok(at_once)
        });
        assert_eq!((done, tried), (Ok(2), vec![20, 10, 5, 2]));
        let never: Result<(), OutOfMemory> = in_halves(3, |_| panic!("CUDA out of memory"));
        assert_eq!(
            never.unwrap_err().to_string(),
            "out of memory on the device (CUDA out of memory)"
        );
        // An error of the work is no reason to try again.
        let mut calls = 0;
        let failed: Result<(), OutOfMemory> = in_halves(8, |_| {
            calls += 1;
            Err(OutOfMemory("said by the work".to_owned()))
        });
        assert!(failed.is_err() && calls == 1);
    }

    #[test]
    fn the_words_of_libraries_are_known_and_others_go_on() {
        for (text, words) in [
            (
                "called `Result::unwrap()` on an `Err` value: Torch(\"CUDA out of memory. Tried to allocate 20.00 MiB\\nException raised",
                "Torch(\"CUDA out of memory. Tried to allocate 20.00 MiB",
            ),
            (
                "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
                "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
            ),
            (
                "Error while reading\n  out of device memory allocating 512 bytes\n  0: frame",
                "out of device memory allocating 512 bytes",
            ),
        ] {
            let panic: Box<dyn Any + Send> = Box::new(text.to_owned());
            assert_eq!(
                of_panic(panic.as_ref()),
                Some(OutOfMemory(words.to_owned()))
            );
        }
        let other: Box<dyn Any + Send> = Box::new("index out of bounds");
        assert_eq!(of_panic(other.as_ref()), None);
        let gone_on = catch_unwind(|| caught(|| panic!("index out of bounds")));
        assert!(gone_on.is_err());
    }
}
