//! Operations of our own on flex, each with a backward pass written by hand. On other devices a layer is made of burn's operations.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Shape, Tensor, TensorData};

use crate::readback::is_rehearsed;

/// A tensor of the backend flex.
pub(crate) type FlexTensor = FloatTensor<Flex>;
/// A tensor of flex in training.
pub(crate) type Tracked = FloatTensor<Autodiff<Flex>>;

/// An operation on `N` tensors in single precision.
pub(crate) trait Operation<const N: usize>:
    std::fmt::Debug + Clone + Send + 'static
{
    /// What the backward pass needs.
    type Saved: std::fmt::Debug + Clone + Send + 'static;

    /// The output, and what the backward pass needs where there will be one: where the gradient of an input will be `wanted`. The inputs are
    /// contiguous.
    fn forward(
        &self,
        inputs: [&FlexTensor; N],
        wanted: [bool; N],
    ) -> (FlexTensor, Option<Self::Saved>);

    /// The gradient of each input that is wanted, given the output's, which is contiguous.
    fn backward(
        &self,
        saved: Self::Saved,
        gradient: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// A tensor on flex in single precision, in training or not.
enum OnFlex {
    Tracked(Tracked),
    Plain(FlexTensor),
}

/// Takes tensors of any shape as the inputs of an operation.
#[derive(Default)]
pub(crate) struct Inputs(Vec<Option<OnFlex>>);

impl Inputs {
    /// Adds a tensor.
    pub fn with<const D: usize>(mut self, tensor: Tensor<D>) -> Self {
        self.0.push(input(tensor));
        self
    }

    /// Does `operation` on the tensors. None where they are not as many as it takes, on another device than flex, or of another type.
    pub fn apply<O: Operation<N>, const N: usize, const D: usize>(
        self,
        operation: O,
    ) -> Option<Tensor<D>> {
        let inputs: Vec<OnFlex> = self.0.into_iter().collect::<Option<_>>()?;
        let mut tracked = Vec::new();
        let mut plain = Vec::new();
        for input in inputs {
            match input {
                OnFlex::Tracked(tensor) => tracked.push(tensor),
                OnFlex::Plain(tensor) => plain.push(tensor.to_contiguous()),
            }
        }
        if let Ok(plain) = <[FlexTensor; N]>::try_from(plain) {
            let (output, _) = operation.forward(plain.each_ref(), [false; N]);
            return Some(Tensor::from_primitive::<Flex>(output));
        }
        let tracked = <[Tracked; N]>::try_from(tracked).ok()?;
        Some(in_training(operation, tracked))
    }
}

/// The primitive of a tensor that is on flex, not in training, and in single precision; contiguous.
pub(crate) fn on_flex<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    match input(tensor.clone())? {
        OnFlex::Plain(tensor) => Some(tensor.to_contiguous()),
        OnFlex::Tracked(_) => None,
    }
}

fn input<const D: usize>(tensor: Tensor<D>) -> Option<OnFlex> {
    if tensor.dtype() != DType::F32 || is_rehearsed() {
        return None;
    }
    if let Ok(tensor) = tensor.clone().try_into_primitive::<Autodiff<Flex>>() {
        return Some(OnFlex::Tracked(tensor));
    }
    let plain = tensor.try_into_primitive::<Flex>();
    plain.ok().map(OnFlex::Plain)
}

/// The output of an operation, whose backward pass is remembered where one of its inputs needs it.
fn in_training<O: Operation<N>, const N: usize, const D: usize>(
    operation: O,
    inputs: [Tracked; N],
) -> Tensor<D> {
    let values = inputs
        .each_ref()
        .map(|input| input.primitive().to_contiguous());
    let wanted = inputs.each_ref().map(Tracked::is_tracked);
    let guards = inputs.map(|input| input.into_parts().1);
    let prepared = Glue(operation.clone())
        .prepare::<NoCheckpointing>(guards)
        .compute_bound();
    let output = match prepared.stateful() {
        OpsKind::Tracked(prepared) => {
            let (output, saved) = operation.forward(values.each_ref(), wanted);
            prepared.finish(saved, output)
        }
        OpsKind::UnTracked(prepared) => {
            prepared.finish(operation.forward(values.each_ref(), wanted).0)
        }
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

/// An operation as burn's autodiff knows it.
#[derive(Debug)]
struct Glue<O>(O);

impl<O: Operation<N>, const N: usize> Backward<Flex, N> for Glue<O> {
    type State = Option<O::Saved>;

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let Some(saved) = ops.state else { return };
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let found = self.0.backward(saved, gradient, wanted);
        for (parent, found) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(found)) = (parent, found) {
                gradients.register::<Flex>(parent.id, found);
            }
        }
    }
}

/// The values of a contiguous tensor.
pub(crate) fn slice(tensor: &FlexTensor) -> &[f32] {
    // Both hold for whatever an operation is given.
    tensor.as_slice::<f32>().unwrap_or_default()
}

/// A tensor of these values.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// The shape.
pub(crate) fn shape(tensor: &FlexTensor) -> Shape {
    tensor.layout().shape().clone()
}

/// The last dimension.
pub(crate) fn width(tensor: &FlexTensor) -> usize {
    shape(tensor).last().copied().unwrap_or(1)
}

/// The shape with another last dimension.
pub(crate) fn shape_with_width(tensor: &FlexTensor, width: usize) -> Shape {
    let mut shape = shape(tensor);
    if let Some(last) = shape.iter_mut().last() {
        *last = width;
    }
    shape
}
