//! How much each training document moved a measure of the pair, to first order, and how far that is to be believed.
//!
//! A measure m depends on the weights of both models. For each model the other one is held fixed. To first order, the gradient g of a step s
//! changes m by `- rate . grad m . P g`, where P is AdamW's preconditioner and `rate` how much of the gradient all later updates take through
//! the first moment. The gradient of a step is a mean over tokens, so each token has its part: the product of its loss's gradient and `w = P grad m`.
//! A document's influence is the sum over its tokens and over the steps that saw them.
//!
//! Two passes along w would give these products by a difference. But P is largest for the weights that training hardly moves, such as those of
//! rare tokens. They make up nearly all of w, so that a step along it moves the others by less than single precision tells apart. So the
//! gradient is made, and all measures are held against it at once.
//!
//! It is TracIn (Pruthi et al. 2020, arXiv 2002.08484) with the optimiser's preconditioner, and with a measure in place of a test loss. What
//! it leaves out is in the score of [`score`]: the linear datamodeling score (Park et al. 2023, arXiv 2303.14186).

mod estimate;
mod goal;
mod of_goal;
mod passes;
pub mod score;
mod seen;
mod spread;
pub mod summary;
pub mod table;

pub use estimate::{Estimate, OfGoal, Request, States, estimate, predictions};
pub use goal::{Goal, measured};
pub use seen::{Recorded, Seen, SeenStep};
pub use spread::{Spread, spread};
