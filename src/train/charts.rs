//! The layout of TensorBoard's custom scalars page: the loop's own chart, and the charts that the run's hooks declare.

use crate::hook::Shows;
use crate::tensorboard::{Chart, Layout};

/// The charts of a run whose hooks show `shows`. Charts of one category are grouped, and categories come in the order in which they are
/// first named.
pub(super) fn layout(shows: &[Shows]) -> Layout {
    let loss = Chart::Lines {
        title: "training loss".to_owned(),
        tags: ["train/main/loss", "train/assistant/loss"]
            .map(str::to_owned)
            .to_vec(),
    };
    let mut categories = vec![("Main model and assistant".to_owned(), vec![loss])];
    for (category, chart) in shows.iter().flat_map(|shows| &shows.charts) {
        let known = categories.iter_mut().find(|(name, _)| name == category);
        match known {
            Some((_, charts)) => charts.push(chart.clone()),
            None => categories.push((category.clone(), vec![chart.clone()])),
        }
    }
    Layout { categories }
}
