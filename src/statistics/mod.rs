//! Pure functions of columns of numbers: clusters, intervals, gaps, tests, calibration. Nothing here knows models or the names of groups.

pub mod calibration;
pub mod clusters;
pub mod correlation;
pub mod disparity;
pub mod equivalence;
pub mod family;
mod interval;
pub mod log_odds;
pub mod observation;
pub mod rank;
pub mod regression;
mod relabelling;
pub mod sample;
mod standard_error;
pub mod uniformity;
