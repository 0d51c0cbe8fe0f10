//! Values that go from a device to the host. To read one is to wait until the device has done all that was queued on it, so the program reads
//! seldom, much at once, and here alone: the test `readback` counts the reads of training, decoding and measuring.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{DType, Tensor, TensorData};

use crate::device::{DeviceFailed, failed};

/// A tensor's values, row by row, in single precision.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let mut data = data(tensor);
    if data.dtype() != DType::F32 {
        data = data.convert::<f32>();
    }
    // It is of f32 now.
    data.try_into_vec::<f32>().expect("values of f32")
}

/// The values of all these tensors, one after the other, in one read. They are on one device.
pub(crate) fn all_values(tensors: Vec<Tensor<1>>) -> Vec<f32> {
    if tensors.is_empty() {
        return Vec::new();
    }
    values(Tensor::cat(tensors, 0))
}

/// The same of each list, in one read where all are on one device, else in one a list.
pub(crate) fn lists(lists: Vec<Vec<Tensor<1>>>) -> Vec<Vec<f32>> {
    let mut tensors = lists.iter().flatten();
    let device = tensors.next().map(Tensor::device);
    if tensors.any(|tensor| Some(tensor.device()) != device) {
        return lists.into_iter().map(all_values).collect();
    }
    let counts: Vec<usize> = lists
        .iter()
        .map(|list| list.iter().map(|tensor| tensor.dims()[0]).sum())
        .collect();
    let values = all_values(lists.into_iter().flatten().collect());
    let mut rest = values.into_iter();
    let mut take = |count| rest.by_ref().take(count).collect();
    counts.into_iter().map(&mut take).collect()
}

/// A tensor as it is.
pub(crate) fn data<const D: usize>(tensor: Tensor<D>) -> TensorData {
    READS.with_borrow(|reads| {
        if let Some(reads) = reads {
            reads.fetch_add(1, Ordering::Relaxed);
        }
    });
    failed::fault_at_read();
    tensor
        .try_into_data()
        .unwrap_or_else(|error| DeviceFailed::stop(&error.to_string()))
}

thread_local! {
    /// In a thread of a rehearsal the reads so far.
    static READS: RefCell<Option<Arc<AtomicUsize>>> = const { RefCell::new(None) };
}

/// Does `work` as it is done on a graphics card, although its tensors may be on flex: everything is composed of burn's operations. Gives what
/// comes out, and how often a device was read. It is for tests: a machine without a card can so tell what a card would suffer from.
///
/// # Errors
/// When the threads that do the work cannot be started.
#[doc(hidden)]
pub fn rehearsed<T: Send>(
    work: impl FnOnce() -> T + Send,
) -> Result<(T, usize), rayon::ThreadPoolBuildError> {
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = reads.clone();
    // Whatever the work does in parallel stays in these threads.
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .start_handler(move |_| READS.set(Some(counter.clone())))
        .build()?;
    let done = threads.install(work);
    Ok((done, reads.load(Ordering::Relaxed)))
}

/// Whether this thread does the work of [`rehearsed`].
pub(crate) fn is_rehearsed() -> bool {
    READS.with_borrow(Option::is_some)
}
