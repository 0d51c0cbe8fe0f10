//! The layout of TensorBoard's custom scalars page: main model and assistant over each other, the disparity with its band.

use crate::tensorboard::{Chart, Layout};

/// The charts of a run with these kinds of hooks.
pub(super) fn layout(kinds: &[String]) -> Layout {
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
    let mut layout = Layout {
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
    };
    let has = |name: &str| kinds.iter().any(|kind| kind == name);
    let mut which = Vec::new();
    if has("attribution") {
        for (title, measure) in [
            ("change of n_matches a prompt", "n_matches"),
            ("change of the disparity", "disparity"),
            ("change of KL, nats", "kl_nats"),
        ] {
            let [main, assistant] =
                ["by_main", "by_assistant"].map(|cell| format!("attribution/{measure}/{cell}"));
            which.push(lines(title, &[&main, &assistant]));
        }
    }
    if has("drift") {
        let tags = ["drift/main/kl_nats", "drift/assistant/kl_nats"];
        which.push(lines("drift from the start, nats", &tags));
    }
    if !which.is_empty() {
        layout
            .categories
            .push(category("Which of the two models", which));
    }
    layout
}
