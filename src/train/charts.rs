//! The layout of TensorBoard's custom scalars page: main model and assistant over each other, the disparity with its band.

use crate::tensorboard::{Chart, Layout};

/// The charts of every run.
pub(super) fn layout() -> Layout {
    let lines = |title: &str, tags: &[&str]| Chart::Lines {
        title: title.to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    };
    let band = |title: &str, tag: &str| Chart::Band {
        title: title.to_owned(),
        value: tag.to_owned(),
        lower: format!("{tag}_low"),
        upper: format!("{tag}_high"),
    };
    let category = |title: &str, charts| (title.to_owned(), charts);
    Layout {
        categories: vec![
            category(
                "Gender disparity of n_matches",
                vec![
                    band("female - male, 95% interval", "gender/disparity"),
                    lines(
                        "n_matches a prompt",
                        &["gender/n_matches_female", "gender/n_matches_male"],
                    ),
                    band("change since the start, 95% interval", "gender/change"),
                ],
            ),
            category(
                "Main model and assistant",
                vec![
                    lines(
                        "training loss",
                        &["train/main/loss", "train/assistant/loss"],
                    ),
                    lines(
                        "held-out perplexity",
                        &["eval/main/perplexity", "eval/assistant/perplexity"],
                    ),
                    lines(
                        "KL at the templates, nats",
                        &["kl/mean_nats", "kl/female_nats", "kl/male_nats"],
                    ),
                    lines(
                        "assisted decoding",
                        &["decode/assistant_share", "decode/acceptance"],
                    ),
                ],
            ),
        ],
    }
}
